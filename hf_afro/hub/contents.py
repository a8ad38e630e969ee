"""What of a folder is published: which files, with what taken out, which stay at home, and which are refused."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hf_afro.files import is_leftover, read_limited
from hf_afro.hub.formats import refusal_of, safetensors_metadata
from hf_afro.hub.model_notes import model_notes
from hf_afro.hub.traces import Traces
from hf_afro.model_folders import TOKENIZER_FILES, has_any

CARD_FILE = "README.md"
KINDS = ("model", "dataset")
_INDEX = "model.safetensors.index.json"
_LONGEST_TEXT = 256 << 20  # bytes; a tokenizer of 250,000 pieces has 17 MB
_LONGEST_CARD = 2 << 20
_TEXTS = (".md", ".txt", ".yaml", ".yml", ".py", ".csv", ".tsv", ".html", ".svg", ".jinja", ".jsonl", ".toml", ".cff")
_OF_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_VOCABULARIES = ("vocab.txt", "merges.txt", "vocab.json", "added_tokens.json")
# Where a library writes down what something was loaded from.
_ORIGINS = ("_name_or_path", "name_or_path")
_ADAPTER, _ORIGIN_OF_ADAPTER = "adapter_config.json", "base_model_name_or_path"

_STATE = "state of the training, not of the model"
_LEFT_OUT: tuple[tuple[tuple[str, ...], str], ...] = (
    (("training_args.bin",), "a pickle of the trainer's arguments, which may hold a token"),
    (("optimizer*.pt", "optimizer*.bin", "scheduler.pt", "scaler.pt", "rng_state*.pth", "trainer_state.json"), _STATE),
    (("global_step*", "pytorch_model_fsdp*", "zero_to_fp32.py", "latest"), _STATE),
    (("checkpoint-*", "last-checkpoint"), "a checkpoint of the training"),
    (("runs", "logs", "wandb", "*.log", "events.out.tfevents*"), "a log"),
    (("hf_afro_run.json", "manifest.json"), "how and where a command was run"),
    ((".*", "_*", "*.lock", "*.tmp", "*.pyc"), "hidden or passing"),
)
_PICKLED_WEIGHTS = ("pytorch_model*.bin", "pytorch_model.bin.index.json", "adapter_model.bin")


@dataclass(frozen=True)
class PublishedFile:
    """A file that is published.

    Attributes:
        path: In the repository, with ``/``.
        size: In bytes.
        source: The file here, where it goes as it is.
        content: What goes, where that is another thing than the file here.
        taken_out: What was taken out of it, in words.
    """

    path: str
    size: int
    source: Path | None = None
    content: bytes | None = None
    taken_out: tuple[str, ...] = ()

    @property
    def data(self) -> str | bytes:
        """What the client is given to send."""
        return self.content if self.content is not None else str(self.source)


@dataclass(frozen=True)
class Contents:
    """What a push sends.

    Attributes:
        files: In the order of their paths.
        left_out: Why a file or folder stays at home, by its path.
        notes: What somebody who publishes this should know.
        card: The text of the card, None where there is none.
    """

    files: tuple[PublishedFile, ...]
    left_out: dict[str, str]
    notes: tuple[str, ...]
    card: str | None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def gather(
    folder: str | os.PathLike[str],
    *,
    kind: str = "model",
    card: str | os.PathLike[str] | None = None,
    base_model: str | None = None,
    token: str | None = None,
) -> Contents:
    """Look through a folder and decide what of it is published; nothing is written and nobody is asked.

    Args:
        folder: What a trainer, a command or `save_pretrained` left; its checkpoints, optimizer states, logs and the
            trainer's pickled arguments stay at home.
        kind: `model` or `dataset`.
        card: A card to publish as README.md in place of the folder's own: a file, or its folder.
        base_model: What an adapter's model is called on the Hub, where the folder names it by a local path.
        token: A token that no file may hold, beside the one that the machine is logged in with.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If something in it may not be published: a pickle or other weights than safetensors, damaged
            weights, a link to another place, a local path in text that cannot be cut, a token. All are named.
    """
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is no folder; expected one that holds a model, or counts")
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected {' or '.join(KINDS)}")
    left_out: dict[str, str] = {}
    sources = {path.relative_to(root).as_posix(): path for path in _files(root, root, left_out)}
    if card is not None:
        sources[CARD_FILE] = _card_file(Path(card))
    traces = Traces(root, (token,))
    files, refused = [], []
    for path, source in sorted(sources.items()):
        try:
            files.append(_published(root, path, source, traces, base_model))
        except ValueError as error:
            refused.append(f"{path}: {error}")
    card_files = [one for one in files if one.path == CARD_FILE]
    text = _text_of(card_files[0], sources[CARD_FILE]) if card_files else None
    refused += _missing(root, kind, sources)
    if refused:
        raise ValueError(
            f"{root} cannot be published as it is: " + "; ".join(refused) + ". Nothing was sent; mend it, or save the "
            "model again with save_pretrained into a new folder"
        )
    return Contents(tuple(files), left_out, tuple(_notes(root, kind, text)), text)


def _text_of(file: PublishedFile, source: Path) -> str:
    return file.content.decode() if file.content is not None else read_limited(source, _LONGEST_CARD)


def _files(folder: Path, root: Path, left_out: dict[str, str]) -> Iterator[Path]:
    """Yield the files to be published, noting those that are left out."""
    for path in sorted(folder.iterdir()):
        reason = _reason(path)
        if reason:
            left_out[path.relative_to(root).as_posix()] = reason
        elif path.is_dir() and not path.is_symlink():
            yield from _files(path, root, left_out)
        else:
            yield path


def _reason(path: Path) -> str:
    """Say why a file or folder is not published; nothing where it is."""
    for patterns, reason in _LEFT_OUT:
        if any(fnmatch.fnmatchcase(path.name, pattern) for pattern in patterns):
            return reason
    if is_leftover(path):
        return "hidden or passing"
    pickled = any(fnmatch.fnmatchcase(path.name, pattern) for pattern in _PICKLED_WEIGHTS)
    return "pickled weights, beside the same in safetensors" if pickled and _has_safetensors(path.parent) else ""


def _has_safetensors(folder: Path) -> bool:
    return has_any(folder, ("*.safetensors",))


def _card_file(card: Path) -> Path:
    file = card / CARD_FILE if card.is_dir() else card
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; expected a card, or the folder that `hf-afro card` wrote")
    return file


def _published(root: Path, path: str, source: Path, traces: Traces, base_model: str | None) -> PublishedFile:
    """Return a file as it is published, or raise a ValueError that says why it may not be."""
    if source.is_symlink() or not source.is_file():
        raise ValueError("is a link, or no plain file, and could lead anywhere; put a copy of the file there")
    refusal = refusal_of(source)
    if refusal:
        raise ValueError(refusal)
    size = source.stat().st_size
    if source.suffix == ".safetensors":
        _refuse_traces(json.dumps(safetensors_metadata(source)), traces, "its header")
    elif source.suffix == ".json" and source.name not in _VOCABULARIES:
        return _published_json(path, source, traces, base_model)
    elif source.suffix in _TEXTS and source.name not in _VOCABULARIES:
        if path == CARD_FILE:
            return _published_card(source, traces, _local_origin(root), base_model)
        _refuse_traces(read_limited(source, _LONGEST_TEXT), traces, "it")
    else:
        _refuse_bytes(source, traces)
    return PublishedFile(path, size, source)


def _published_card(source: Path, traces: Traces, origin: str, base_model: str | None) -> PublishedFile:
    """Return a card; PEFT's own names the folder that an adapter's model came from, which is replaced."""
    text = read_limited(source, _LONGEST_CARD)
    taken_out = []
    if origin and base_model is not None and origin in text:
        text = text.replace(origin, base_model)
        taken_out.append(f"the path {origin}, now {base_model}")
    _refuse_traces(text, traces, "it")
    _check_card(text)
    content = text.encode()
    if not taken_out:
        return PublishedFile(CARD_FILE, len(content), source)
    return PublishedFile(CARD_FILE, len(content), content=content, taken_out=tuple(taken_out))


def _local_origin(root: Path) -> str:
    """Return the folder that an adapter's model came from; nothing where it is a name, or there is no adapter."""
    if not (root / _ADAPTER).is_file():
        return ""
    try:
        origin = json.loads(read_limited(root / _ADAPTER, _LONGEST_TEXT))[_ORIGIN_OF_ADAPTER]
    except (ValueError, KeyError, TypeError):  # told where the file itself is read
        return ""
    return origin if isinstance(origin, str) and _is_local(origin) else ""


def _published_json(path: str, source: Path, traces: Traces, base_model: str | None) -> PublishedFile:
    text = read_limited(source, _LONGEST_TEXT)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is no JSON ({error})") from error
    if traces.has_token(text):
        raise ValueError("holds a token of the Hub; take it out, and revoke the token if the file was ever shown")
    taken_out: list[str] = []
    if isinstance(value, dict):
        value = _without_origins(source.name, value, traces, base_model, taken_out)
    clean, places = traces.cleaned(value, tokenizer=source.name in _OF_TOKENIZERS)
    taken_out += [f"the path {place}" for place in dict.fromkeys(places)]
    if not taken_out:
        return PublishedFile(path, source.stat().st_size, source)
    content = (json.dumps(clean, indent=2, ensure_ascii=False) + "\n").encode()
    return PublishedFile(path, len(content), content=content, taken_out=tuple(taken_out))


def _without_origins(
    name: str, value: dict[str, Any], traces: Traces, base_model: str | None, taken_out: list[str]
) -> dict[str, Any]:
    """Take out where a model was loaded from, and tell an adapter where its model is, if those are local."""
    value = dict(value)
    for key in _ORIGINS:
        if isinstance(value.get(key), str) and _is_local(value[key]):
            taken_out.append(f"{key} {value.pop(key)!r}")
    origin = value.get(_ORIGIN_OF_ADAPTER)
    if name != _ADAPTER or not isinstance(origin, str) or not _is_local(origin):
        return value
    if base_model is None:
        raise ValueError(
            f"{_ORIGIN_OF_ADAPTER} is {os.path.basename(origin)!r}, a local folder; publish that model, and say with "
            "base_model what it is called on the Hub"
        )
    taken_out.append(f"{_ORIGIN_OF_ADAPTER} {origin!r}, now {base_model}")
    return {**value, _ORIGIN_OF_ADAPTER: base_model}


def _is_local(name: str) -> bool:
    """Tell a folder from a name on the Hub, which is ``model`` or ``owner/model``; one that is here is a folder."""
    elsewhere = os.path.isabs(name) or name.startswith((".", "~")) or "\\" in name
    return elsewhere or name.count("/") > 1 or Path(name).exists()


def _refuse_traces(text: str, traces: Traces, where: str) -> None:
    if traces.has_token(text):
        raise ValueError(f"{where} holds a token of the Hub; take it out, and revoke it if the file was ever shown")
    place = traces.first_path(text)
    if place is not None:
        line = text.count("\n", 0, text.index(place)) + 1
        raise ValueError(f"{where} names the local path {place} (line {line}); take it out")


def _refuse_bytes(source: Path, traces: Traces) -> None:
    """Look through a file that is no text, or a vocabulary, whose pieces are no paths, a block at a time."""
    if source.name in _VOCABULARIES:
        if traces.has_token(read_limited(source, _LONGEST_TEXT)):
            raise ValueError("it holds a token of the Hub; take it out, and revoke it if the file was ever shown")
        return
    overlap = b""
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            found = traces.in_bytes(overlap + block, pieces=source.suffix == ".model")
            if found is not None:
                raise ValueError(f"it holds {found}; make it again so that it does not")
            overlap = block[-256:]


def _check_card(text: str) -> None:
    """Raise a ValueError unless the front matter of a card, if any, is a mapping in YAML."""
    if not text.startswith("---\n"):
        return
    front, end, _ = text[4:].partition("\n---")
    try:
        metadata = yaml.safe_load(front)
    except yaml.YAMLError as error:
        raise ValueError(f"its front matter is no YAML: {' '.join(str(error).split())}") from error
    if not end or not isinstance(metadata, dict | None):
        raise ValueError("its front matter is no mapping between two lines of ---; expected `name: value` lines")


def _missing(root: Path, kind: str, sources: dict[str, Path]) -> list[str]:
    """Return what has to be there and is not."""
    if kind == "dataset":
        return [] if set(sources) - {CARD_FILE} else ["it holds nothing to publish"]
    of_model = (root / "config.json").is_file() and _has_safetensors(root)
    of_adapter = (root / _ADAPTER).is_file() and (root / "adapter_model.safetensors").is_file()
    if not of_model and not of_adapter:
        return ["it holds no model: expected config.json and weights in safetensors, or those of an adapter"]
    if _INDEX not in sources or (root / "model.safetensors").is_file():
        return []
    try:
        index = json.loads(read_limited(root / _INDEX, _LONGEST_TEXT))
        shards = sorted({*index["weight_map"].values()} - set(sources))
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{_INDEX} is no index of shards"]
    return [f"it lacks {', '.join(map(str, shards))}, which {_INDEX} names"] if shards else []


def _notes(root: Path, kind: str, card: str | None) -> Iterator[str]:
    if card is None:
        how = "; hf-afro card writes one" if kind == "model" else ""
        yield f"there is no card (README.md): nobody will know what this is, nor what they may do with it{how}"
    elif not card.startswith("---\n"):
        yield "the card has no front matter: the Hub will not know its licence, languages and base model"
    if kind == "model" and not (root / _ADAPTER).is_file() and not has_any(root, TOKENIZER_FILES):
        yield "there is no tokenizer: transformers makes one of five tokens up in its place, and says nothing"
    if kind == "model":
        yield from model_notes(root, card)

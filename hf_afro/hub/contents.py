"""Decide which files of a folder are published, cleaned, skipped or refused."""

from __future__ import annotations

import fnmatch
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hf_afro.files import read_limited
from hf_afro.hub.scan import VOCABULARIES, Traces, safetensors_metadata, unsafe_format
from hf_afro.model_folders import TOKENIZER_FILES, has_any
from hf_afro.sentence_modules import MODULES_FILE

CARD_FILE = "README.md"
_INDEX = "model.safetensors.index.json"
_LONGEST_TEXT, _LONGEST_CARD = 256 << 20, 2 << 20  # bytes; the tokenizer.json of 250,000 tokens has 17 MB
_TEXTS = (".md", ".txt", ".yaml", ".yml", ".py", ".csv", ".tsv", ".html", ".svg", ".jinja", ".jsonl", ".toml", ".cff")
_ORIGINS = ("_name_or_path", "name_or_path")  # where transformers notes what was loaded
_CONFIG, _ADAPTER, _ADAPTER_ORIGIN = "config.json", "adapter_config.json", "base_model_name_or_path"
RESULTS_FOLDER = ".eval_results"
"""The Hub reads scores on benchmarks from the YAML files in this folder."""
_STUDENT, _STUDENT_CODE = "afro-student", "modeling_afro_student.py"

_STATE = "state of the training, not of the model"
_SKIPPED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("training_args.bin",), "a pickle of the trainer's arguments, which may hold a token"),
    (("optimizer*.pt", "optimizer*.bin", "scheduler.pt", "scaler.pt", "rng_state*.pth", "trainer_state.json"), _STATE),
    (("global_step*", "pytorch_model_fsdp*", "zero_to_fp32.py", "latest", "hidden_projection.safetensors"), _STATE),
    (("checkpoint-*", "last-checkpoint"), "a training checkpoint"),
    (("runs", "logs", "wandb", "*.log", "events.out.tfevents*"), "a log"),
    (("hf_afro_run.json", "manifest.json"), "how and where a command was run"),
    ((".*", "_*", "*.lock", "*.tmp", "*.pyc"), "hidden or temporary"),
)
_PICKLED_WEIGHTS = (
    ("pytorch_model*.bin", "pytorch_model.bin.index.json", "adapter_model.bin"),
    "pickled weights, beside the same in safetensors",
)


@dataclass(frozen=True)
class PublishedFile:
    """A file to publish.

    Attributes:
        path: Its path in the repository, with ``/``.
        size: Its size in bytes.
        source: The local file.
        content: The content to publish instead of the local file, if it was cleaned.
        taken_out: Descriptions of what was removed from it.
    """

    path: str
    size: int
    source: Path
    content: bytes | None = None
    taken_out: tuple[str, ...] = ()

    @property
    def data(self) -> str | bytes:
        """The file as huggingface_hub takes it."""
        return str(self.source) if self.content is None else self.content


@dataclass(frozen=True)
class Contents:
    """The contents of a push.

    Attributes:
        files: The files, sorted by path.
        left_out: The reason for each file or folder that is skipped, by path.
        notes: Notes for the publisher.
        card: The text of the card, None if there is none.
    """

    files: tuple[PublishedFile, ...]
    left_out: dict[str, str]
    notes: tuple[str, ...]
    card: str | None

    @property
    def size(self) -> int:
        """The total size in bytes."""
        return sum(file.size for file in self.files)


def gather(
    folder: str | os.PathLike[str],
    *,
    kind: str = "model",
    card: str | os.PathLike[str] | None = None,
    base_model: str | None = None,
    token: str | None = None,
) -> Contents:
    """Decide which files of a folder are published, without writing files or contacting the Hub.

    Args:
        folder: The output of a trainer, a command or `save_pretrained`. Checkpoints, optimizer states, logs and the
            trainer's pickled arguments are skipped.
        kind: `model` or `dataset`.
        card: A card to publish as README.md instead of the folder's own: a file or its folder. The scores on
            benchmarks beside it, in `.eval_results`, are published as well.
        base_model: The name on the Hub of an adapter's model, if the adapter names a local folder.
        token: A token that no file may contain, in addition to the one this machine is logged in with.

    Raises:
        NotADirectoryError: If the folder does not exist.
        ValueError: If a file must not be published: a pickle, weights in a format other than safetensors, a damaged
            file, a link, a token, or a local path outside of JSON. The message names all such files.
    """
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is not a folder; expected the folder of a model, an adapter or data")
    if kind not in ("model", "dataset"):
        raise ValueError(f"kind is {kind!r}; expected model or dataset")
    if kind == "model":
        _check_one_model(root)
    left_out: dict[str, str] = {}
    sources = {path.relative_to(root).as_posix(): path for path in _walk(root, root, left_out)}
    if card is not None:
        sources[CARD_FILE] = own = Path(card, CARD_FILE) if Path(card).is_dir() else Path(card)
        if not own.is_file():
            raise FileNotFoundError(f"{own} does not exist; expected a card, or a folder that holds one")
        results = sorted((own.parent / RESULTS_FOLDER).glob("*.yaml"))
        sources |= {f"{RESULTS_FOLDER}/{path.name}": path for path in results}
    traces, files, refused = Traces(root, token), [], []
    for path, source in sorted(sources.items()):
        try:
            files.append(_published(root, path, source, traces, base_model))
        except (ValueError, zipfile.BadZipFile) as error:
            refused.append(f"{path}: {error}")
    refused += _missing(root, kind, sources)
    if refused:
        raise ValueError(f"Cannot publish {root}: {'; '.join(refused)}. Nothing was sent")
    texts = [file.content or file.source.read_bytes() for file in files if file.path == CARD_FILE]
    text = texts[0].decode() if texts else None
    return Contents(tuple(files), left_out, tuple(_notes(root, kind, text)), text)


def _check_one_model(root: Path) -> None:
    """Refuse a folder that is no model itself and holds some, such as the adapters of several languages."""
    if any((root / name).is_file() for name in (_CONFIG, _ADAPTER, MODULES_FILE)):
        return
    found = {path.parent for name in (_CONFIG, _ADAPTER) for path in root.rglob(name)}
    inside = sorted(path.relative_to(root).as_posix() for path in found if not _is_left_out(path, root))
    if inside:
        what = "adapters" if all((root / name / _ADAPTER).is_file() for name in inside) else "models"
        raise ValueError(
            f"{root} is no model itself and holds the {what} {', '.join(inside)}; push each by itself, as in "
            f"`hf-afro push {root / inside[0]}`. Nothing was sent"
        )


def _is_left_out(path: Path, root: Path) -> bool:
    return any(_skipped(one) for one in (path, *path.parents) if one != root and one.is_relative_to(root))


def _walk(folder: Path, root: Path, left_out: dict[str, str]) -> Iterator[Path]:
    """Yield the files to publish and note those that are skipped."""
    for path in sorted(folder.iterdir()):
        if reason := _skipped(path):
            left_out[path.relative_to(root).as_posix()] = reason
        elif path.is_dir() and not path.is_symlink():
            yield from _walk(path, root, left_out)
        else:
            yield path


def _skipped(path: Path) -> str:
    """Return the reason to skip a file or folder, or an empty string."""
    if path.name == RESULTS_FOLDER and path.is_dir():
        return ""
    rules = _SKIPPED if not has_any(path.parent, ("*.safetensors",)) else (*_SKIPPED, _PICKLED_WEIGHTS)
    found = (why for names, why in rules if any(fnmatch.fnmatchcase(path.name, name) for name in names))
    return next(found, "")


def _published(root: Path, path: str, source: Path, traces: Traces, base_model: str | None) -> PublishedFile:
    """Return a file as it is published, or raise a ValueError with the reason and the remedy."""
    if source.is_symlink() or not source.is_file():
        raise ValueError("is a link or not a regular file; put a copy of the file there")
    _refuse(unsafe_format(source))
    if source.suffix == ".safetensors":
        _refuse(traces.in_text(json.dumps(safetensors_metadata(source))))
    elif source.name in VOCABULARIES or source.suffix not in (".json", *_TEXTS):
        _refuse(traces.in_binary(source))
    elif path == CARD_FILE:
        return _card(root, source, traces, base_model)
    elif source.suffix == ".json":
        return _json(path, source, traces, base_model)
    else:
        _refuse(traces.in_text(read_limited(source, _LONGEST_TEXT)))
    return PublishedFile(path, source.stat().st_size, source)


def _refuse(reason: str) -> None:
    if reason:
        raise ValueError(reason)


def _json(path: str, source: Path, traces: Traces, base_model: str | None) -> PublishedFile:
    """Remove local paths from a JSON file, and replace an adapter's local model by its name on the Hub."""
    value, taken_out = _parsed(source), []
    _refuse(traces.token_in(json.dumps(value, ensure_ascii=False)))
    if isinstance(value, dict):
        for key in _ORIGINS:
            if _is_local(value.get(key)):
                taken_out.append(f"{key} {value.pop(key)!r}")
        if source.name == _ADAPTER and _is_local(origin := value.get(_ADAPTER_ORIGIN, "")):
            if base_model is None:
                raise ValueError(
                    f"{_ADAPTER_ORIGIN} is the local folder {Path(origin).name!r}; publish that model, and pass its "
                    "name on the Hub as base_model"
                )
            taken_out.append(f"{_ADAPTER_ORIGIN} {origin!r}, now {base_model}")
            value[_ADAPTER_ORIGIN] = base_model
    value, places = traces.cleaned(source.name, value)
    taken_out += [f"the path {place}" for place in dict.fromkeys(places)]
    if not taken_out:
        return PublishedFile(path, source.stat().st_size, source)
    content = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
    return PublishedFile(path, len(content), source, content, tuple(taken_out))


def _parsed(source: Path) -> Any:
    text = read_limited(source, _LONGEST_TEXT)
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from error


def _is_local(name: Any) -> bool:
    """Tell a local folder from a name on the Hub, ``model`` or ``owner/model``. A name that exists here is local."""
    if not isinstance(name, str):
        return False
    return name.startswith(("/", ".", "~")) or "\\" in name or name.count("/") > 1 or Path(name).exists()


def _card(root: Path, source: Path, traces: Traces, base_model: str | None) -> PublishedFile:
    """Check a card. PEFT's own card names the local folder of an adapter's model, which is replaced."""
    text = read_limited(source, _LONGEST_CARD)
    try:
        origin = _parsed(root / _ADAPTER)[_ADAPTER_ORIGIN]
    except (OSError, ValueError, KeyError, TypeError):  # no adapter, or one that is refused itself
        origin = None
    taken_out = []
    if base_model is not None and _is_local(origin) and origin in text:
        text = text.replace(origin, base_model)
        taken_out.append(f"the path {origin}, now {base_model}")
    _refuse(traces.in_text(text))
    if text.startswith("---\n"):
        front, end, _ = text[4:].partition("\n---")
        try:
            metadata = yaml.safe_load(front)
        except yaml.YAMLError as error:
            raise ValueError(f"its front matter is not YAML: {' '.join(str(error).split())}") from error
        if not end or not isinstance(metadata, dict | None):
            raise ValueError("its front matter is not a mapping; expected lines of `name: value` between two of ---")
    content = text.encode()
    return PublishedFile(CARD_FILE, len(content), source, content if taken_out else None, tuple(taken_out))


def _missing(root: Path, kind: str, sources: dict[str, Path]) -> list[str]:
    """Return descriptions of missing parts."""
    if kind == "dataset":
        return [] if set(sources) - {CARD_FILE} else ["it holds nothing to publish"]
    is_model = (root / _CONFIG).is_file() and has_any(root, ("*.safetensors",))
    is_adapter = (root / _ADAPTER).is_file() and (root / "adapter_model.safetensors").is_file()
    if not is_model and not is_adapter:
        return ["it holds no model; expected config.json and *.safetensors, or an adapter. Use save_pretrained"]
    if _INDEX not in sources or (root / "model.safetensors").is_file():
        return []
    try:
        shards = sorted({*_parsed(root / _INDEX)["weight_map"].values()} - set(sources))
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{_INDEX} is not an index of shards"]
    return [f"it lacks {', '.join(map(str, shards))}, which {_INDEX} names"] if shards else []


def _notes(root: Path, kind: str, card: str | None) -> Iterator[str]:
    """Yield notes for the publisher of a folder."""
    if card is None:
        how = "; hf-afro card writes one" if kind == "model" else ""
        yield f"there is no card (README.md): nobody will know what this is or how it may be used{how}"
    elif not card.startswith("---\n"):
        yield "the card has no front matter: the Hub will not know its licence, languages and base model"
    if kind != "model":
        return
    if not (root / _ADAPTER).is_file() and not has_any(root, TOKENIZER_FILES):
        yield "there is no tokenizer: transformers silently creates one with five tokens"
    config = _parsed(root / _CONFIG) if (root / _CONFIG).is_file() else None
    if isinstance(config, dict) and config.get("model_type") == _STUDENT:
        if "auto_map" not in config or not (root / _STUDENT_CODE).is_file():
            yield (
                f"an {_STUDENT} loads only after `import hf_afro`; `hf-afro export {root.name} --to remote-code` adds "
                "its code for everyone else"
            )

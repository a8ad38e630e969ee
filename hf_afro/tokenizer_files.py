"""Compare a tokenizer that transformers built with the tokenizer.json it was built from, and refuse a difference.

Since transformers 5 most tokenizer classes take only the vocabulary from tokenizer.json and build the steps around it
from their own defaults and from tokenizer_config.json. Where that file lacks a setting, text is split in another way
than tokenizer.json says: a cased BERT without ``do_lower_case`` is lower-cased.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FILE = "tokenizer.json"
_READS_THE_FILE = '"tokenizer_class": "PreTrainedTokenizerFast"'
# The settings of tokenizer_config.json from which transformers makes the fields of a BertNormalizer.
_BERT_SETTINGS = {
    "lowercase": "do_lower_case",
    "strip_accents": "strip_accents",
    "handle_chinese_chars": "tokenize_chinese_chars",
}
# What the converter of transformers 4 wrote for SentencePiece models in place of a split at white space. Text is split
# alike, once a precompiled normalizer has made all white space spaces.
_METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
_MARKS_SPACES = [
    {"type": "Strip", "strip_left": False, "strip_right": True},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
]
_MOST_SHOWN = 4  # differences
_LONGEST_VALUE = 120  # characters of a value
_MISSING = object()


def check_built_as_written(tokenizer: PreTrainedTokenizerBase, name: str, **settings: Any) -> None:
    """Refuse a tokenizer that was not built as the tokenizer.json of its folder says.

    Args:
        tokenizer: What AutoTokenizer built.
        name: The folder, or the repository of the Hub, it was loaded from. Of a repository the file in the cache is
            read. Without a tokenizer.json, as with a SentencePiece model alone, there is nothing to compare with.
        **settings: Those it was loaded with, such as ``revision``.

    Raises:
        ValueError: If normalizer, pre-tokenizer or model differ; the message names the part, both values and the fix.
    """
    path = _file_of(name, settings)
    if path is not None and hasattr(tokenizer, "backend_tokenizer"):
        check_built_from(tokenizer, json.loads(path.read_text("utf-8")), name)


def check_built_from(tokenizer: PreTrainedTokenizerBase, file: dict[str, Any], name: str) -> None:
    """Refuse a tokenizer that was not built as a tokenizer.json says, given what it holds.

    Only what decides how text is split is compared: the normalizer, the pre-tokenizer, and the type, the settings, the
    pieces and the merges of the model. Two spellings of one thing are equal: what older versions of the tokenizers
    library wrote, a sequence of one step, and settings without an effect.

    Args:
        tokenizer: What was built.
        file: The content of tokenizer.json.
        name: Where it is from, for the message.

    Raises:
        ValueError: If there is a difference.
    """
    written, built = _parts(file), _parts(json.loads(tokenizer.backend_tokenizer.to_str()))
    for part, expected in written.items():
        found = built[part]
        if found != expected:
            raise ValueError(
                f"{type(tokenizer).__name__} does not split text as the {_FILE} of {name} says, since transformers "
                f"built it anew and its {part} differs: {_shown(expected, found)}. {_remedy(expected, found)}"
            )


def _file_of(name: str, settings: dict[str, Any]) -> Path | None:
    """Return the tokenizer.json that a tokenizer was loaded from, None where there is none."""
    if Path(name).is_dir():
        path = Path(name, settings.get("subfolder") or "", _FILE)
        return path if path.is_file() else None
    from transformers.utils import cached_file

    # It was loaded just now, so that the file, if there is one, is in the cache.
    where = {key: settings[key] for key in ("revision", "cache_dir", "subfolder", "repo_type") if key in settings}
    found = cached_file(
        name,
        _FILE,
        local_files_only=True,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        **where,
    )
    return None if found is None else Path(found)


def _parts(state: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a backend in JSON form that decide how text is split, each in one spelling."""
    from tokenizers import Tokenizer

    model = state["model"]
    vocab, unknown_id = model["vocab"], model.get("unk_id")
    # The library writes each part in the spelling of today; of a vocabulary it only needs to be given the form.
    small = {**model, "vocab": [["", 0.0]] if isinstance(vocab, list) else {}}
    small |= {"merges": []} if "merges" in model else {}
    small |= {"unk_id": 0} if unknown_id is not None else {}
    around = {"truncation": None, "padding": None, "post_processor": None, "decoder": None, "added_tokens": []}
    read = json.loads(Tokenizer.from_str(json.dumps({**state, **around, "model": small})).to_str())
    splits = list(map(_split_as, _steps(read["pre_tokenizer"], "pretokenizers")))
    normalizes = list(map(_normalized_as, _steps(read["normalizer"], "normalizers")))
    precompiled = any(step["type"] == "Precompiled" for step in normalizes)
    if splits == [_METASPACE] and normalizes[-2:] == _MARKS_SPACES and precompiled:
        splits, normalizes = [{"type": "WhitespaceSplit"}, _METASPACE], normalizes[:-2]
    if splits and splits[0]["type"] == "WhitespaceSplit":
        normalizes = [step for step in normalizes if not _only_moves_spaces(step)]
    return {
        "normalizer": normalizes,
        "pre_tokenizer": splits,
        "model": {**_model_as(read["model"]), "unk_id": unknown_id},
        "vocabulary": [piece for piece, _ in vocab] if isinstance(vocab, list) else vocab,
        "merges": [tuple(one.split(" ")) if isinstance(one, str) else tuple(one) for one in model.get("merges", ())],
    }


def _steps(step: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    """Return the single steps of a normalizer or pre-tokenizer, in order."""
    if step is None:
        return []
    return [leaf for part in step[inner] for leaf in _steps(part, inner)] if step["type"] == "Sequence" else [step]


def _split_as(step: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a pre-tokenizer what moves only the places of pieces in the text."""
    return {name: value for name, value in step.items() if (step["type"], name) != ("ByteLevel", "trim_offsets")}


def _normalized_as(step: dict[str, Any]) -> dict[str, Any]:
    """Spell out that a BertNormalizer strips accents where it lower-cases and nothing else is said."""
    if step["type"] == "BertNormalizer" and step["strip_accents"] is None:
        return {**step, "strip_accents": step["lowercase"]}
    return step


def _only_moves_spaces(step: dict[str, Any]) -> bool:
    """Say whether a normalizer's step changes nothing where text is split at white space next."""
    return step["type"] == "Strip" or step == {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}


def _model_as(model: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a model, those without an effect made alike."""
    settings = {name: value for name, value in model.items() if name not in ("vocab", "merges", "unk_id")}
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if name in settings:
            settings[name] = settings[name] or None
    if model["type"] == "BPE" and model["unk_token"] is None:
        settings["fuse_unk"] = False  # there is no unknown token to be fused
    return settings


def _shown(written: Any, built: Any) -> str:
    """Say how two values differ, by their first places that do."""
    first = itertools.islice(_differences(written, built), _MOST_SHOWN)
    return "; ".join(f"{where}{_brief(one)} in {_FILE}, {_brief(other)} as built" for where, one, other in first)


def _differences(written: Any, built: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the places in which two values differ, with what each has there."""
    if isinstance(written, dict) and isinstance(built, dict):
        for name in dict.fromkeys((*written, *built)):
            one, other = written.get(name, _MISSING), built.get(name, _MISSING)
            if one != other:
                yield f"{where}{name} is ", one, other
    elif _types(written) is not None and _types(written) == _types(built):
        for one, other in zip(written, built, strict=True):
            yield from _differences(one, other, f"{one['type']}.")
    elif written != built:
        yield where, written, built


def _types(steps: Any) -> list[str] | None:
    """Return the types of a list of steps, None for another value."""
    is_steps = isinstance(steps, list) and all(isinstance(step, dict) for step in steps)
    return [step["type"] for step in steps] if is_steps else None


def _brief(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    types = _types(value)
    if types is not None:
        return f"[{', '.join(types)}]" if types else "no step"
    text = f"a list of {len(value)}" if isinstance(value, list) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _remedy(written: Any, built: Any) -> str:
    fields = list(_bert_fields(written, built))
    given = f"{', '.join(fields)}, or {_READS_THE_FILE}," if fields else _READS_THE_FILE
    return (
        f"If {_FILE} is right, add {given} to tokenizer_config.json (for a repository of the Hub, in a downloaded "
        "copy); if the model was trained with the tokenizer as built, save that one with save_pretrained"
    )


def _bert_fields(written: Any, built: Any) -> Iterable[str]:
    """Yield the settings of tokenizer_config.json that make a BertNormalizer what the file says."""
    for where, value, _ in _differences(written, built):
        field = where.removeprefix("BertNormalizer.").removesuffix(" is ")
        if where.startswith("BertNormalizer.") and field in _BERT_SETTINGS:
            yield f'"{_BERT_SETTINGS[field]}": {json.dumps(value)}'

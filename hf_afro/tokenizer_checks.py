"""Checks of tokenizers: built as their tokenizer.json says, and able to read the text they are given.

Since transformers 5 most tokenizer classes take only the vocabulary from tokenizer.json and build the steps around it
from their own defaults and from tokenizer_config.json. If that file lacks a setting, text is split in another way than
tokenizer.json says: a cased BERT without ``do_lower_case`` is lower-cased.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

HIGH_UNKNOWN_SHARE = 0.01
"""Share of unknown tokens in a language's text above which a warning is logged.

In up to 1,500 lines of each of 23 languages, most of them African, XLM-R's tokenizer left at most 0.07 % unknown
(Yoruba), and nothing in 20 of them; the threshold is well above that. A WordPiece tokenizer makes one unknown token of
a whole word, so that an even higher share of the text is lost.
"""

_FILE = "tokenizer.json"
_READS_THE_FILE = '"tokenizer_class": "PreTrainedTokenizerFast"'
# The settings of tokenizer_config.json from which transformers makes the fields of a BertNormalizer.
_BERT_SETTINGS = {
    "lowercase": "do_lower_case",
    "strip_accents": "strip_accents",
    "handle_chinese_chars": "tokenize_chinese_chars",
}
# The converter of transformers 4 wrote these steps for SentencePiece models instead of a split at white space. Both
# split text alike once a precompiled normalizer has turned all white space into spaces.
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
        tokenizer: A tokenizer that AutoTokenizer built.
        name: Folder or Hub repository it was loaded from; for a repository the cached file is read. Without a
            tokenizer.json, as for a SentencePiece model alone, nothing is compared.
        **settings: Arguments it was loaded with, such as ``revision``.

    Raises:
        ValueError: If normalizer, pre-tokenizer or model differ; the message names the part, both values and the fix.
    """
    path = _file_of(name, settings)
    if path is not None and hasattr(tokenizer, "backend_tokenizer"):
        check_built_from(tokenizer, json.loads(path.read_text("utf-8")), name)


def check_built_from(tokenizer: PreTrainedTokenizerBase, file: dict[str, Any], name: str) -> None:
    """Refuse a tokenizer that was not built as a tokenizer.json says, given its content.

    Only parts that decide how text is split are compared: normalizer, pre-tokenizer, and the type, settings,
    vocabulary and merges of the model. Different spellings of one thing are equal: forms written by older versions
    of the tokenizers library, a sequence of one step, and settings without effect.

    Args:
        tokenizer: The tokenizer that was built.
        file: The content of tokenizer.json.
        name: Its origin, for the message.

    Raises:
        ValueError: If there is a difference.
    """
    written, built = _parts(file), _parts(json.loads(tokenizer.backend_tokenizer.to_str()))
    for part, expected in written.items():
        found = built[part]
        if found != expected:
            raise ValueError(
                f"{type(tokenizer).__name__} does not split text as the {_FILE} of {name} says, because transformers "
                f"rebuilt it and its {part} differs: {_shown(expected, found)}. {_remedy(expected, found)}"
            )


def differing_steps(original: dict[str, Any], cut: dict[str, Any]) -> dict[str, str]:
    """Compare what decides how two tokenizers of one kind split text, besides their tokens and merges.

    Args:
        original: The backend of one tokenizer in JSON form.
        cut: That of another one, whose ids may differ.

    Returns:
        The first differences by part: `normalizer`, `pre_tokenizer` or `model`; empty if there is none.
    """
    before, after = _parts(original), _parts(cut)
    for parts in (before, after):
        parts["model"].pop("unk_id")
    return {
        part: _shown(before[part], after[part], "in the original", "in the cut")
        for part in ("normalizer", "pre_tokenizer", "model")
        if before[part] != after[part]
    }


def _file_of(name: str, settings: dict[str, Any]) -> Path | None:
    """Return the tokenizer.json that a tokenizer was loaded from; None if there is none."""
    if Path(name).is_dir():
        path = Path(name, settings.get("subfolder") or "", _FILE)
        return path if path.is_file() else None
    from transformers.utils import cached_file

    # The tokenizer was loaded just now, so that the file, if there is one, is in the cache.
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
    """Return the parts of a backend's JSON form that decide how text is split, in a canonical spelling."""
    from tokenizers import Tokenizer

    model = state["model"]
    vocab, unknown_id = model["vocab"], model.get("unk_id")
    # The library rewrites each part in its current spelling; for that, an empty vocabulary of the same form will do.
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
    """Drop from a pre-tokenizer the setting that only moves the offsets of tokens."""
    return {name: value for name, value in step.items() if (step["type"], name) != ("ByteLevel", "trim_offsets")}


def _normalized_as(step: dict[str, Any]) -> dict[str, Any]:
    """Spell out the default of a BertNormalizer, which strips accents if it lower-cases."""
    if step["type"] == "BertNormalizer" and step["strip_accents"] is None:
        return {**step, "strip_accents": step["lowercase"]}
    return step


def _only_moves_spaces(step: dict[str, Any]) -> bool:
    """Return whether a normalizer's step has no effect if text is split at white space next."""
    return step["type"] == "Strip" or step == {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}


def _model_as(model: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a model, with those that have no effect unified."""
    settings = {name: value for name, value in model.items() if name not in ("vocab", "merges", "unk_id")}
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if name in settings:
            settings[name] = settings[name] or None
    if model["type"] == "BPE" and model["unk_token"] is None:
        settings["fuse_unk"] = False  # there is no unknown token to fuse
    return settings


def _shown(written: Any, built: Any, here: str = f"in {_FILE}", there: str = "as built") -> str:
    """Describe the first differences between two values."""
    first = itertools.islice(_differences(written, built), _MOST_SHOWN)
    return "; ".join(f"{where}{_brief(one)} {here}, {_brief(other)} {there}" for where, one, other in first)


def _differences(written: Any, built: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the places where two values differ, with both values."""
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
    """Return the types of a list of steps; None for any other value."""
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
        f"If {_FILE} is right, add {given} to tokenizer_config.json (for a Hub repository, in a downloaded copy); if "
        "the model was trained with the tokenizer as built, save that one with save_pretrained"
    )


def _bert_fields(written: Any, built: Any) -> Iterable[str]:
    """Yield the settings of tokenizer_config.json that reproduce the BertNormalizer of the file."""
    for where, value, _ in _differences(written, built):
        field = where.removeprefix("BertNormalizer.").removesuffix(" is ")
        if where.startswith("BertNormalizer.") and field in _BERT_SETTINGS:
            yield f'"{_BERT_SETTINGS[field]}": {json.dumps(value)}'


def warn_of_unknown(shares: Mapping[str, float]) -> None:
    """Log a warning that names the languages with a high share of unknown tokens, whose text is lost to the model.

    Args:
        shares: Share of unknown tokens in all tokens, by language.
    """
    high = {language: share for language, share in shares.items() if share > HIGH_UNKNOWN_SHARE}
    if high:
        named = ", ".join(f"{language} {share:.2%}" for language, share in sorted(high.items()))
        logger.warning(
            "the tokenizer does not know much of the text in some languages (share of unknown tokens: %s); a model "
            "cannot learn from it: use a tokenizer that knows their script, or add tokens with extend_vocabulary",
            named,
        )

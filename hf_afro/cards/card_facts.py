"""`CardFacts`: everything on a model card besides the scores; saved, loaded and checked."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from hf_afro.cards.citations import METHODS
from hf_afro.files import read_limited, write_whole
from hf_afro.languages import find_language
from hf_afro.reports import EvalReport

FORMAT = 1
_LONGEST = 64 << 20  # bytes
FACTS_FILE = "card_facts.json"

HEADS = {
    "kept": "The masked-LM head was trained together with the model.",
    "not_trained_here": "The masked-LM head is that of the base model and was not trained further.",
    "fitted_after_distillation": (
        "The masked-LM head was fitted after distillation, which trains no head: predictions of masked words, and the "
        "bits per byte, come from that short fit."
    ),
    "drawn": (
        "The masked-LM head was initialized at random and never trained: fine-tune this encoder, do not use it to "
        "fill masks."
    ),
    "untrained": "There is no trained masked-LM head: fine-tune this encoder, do not use it to fill masks.",
}
"""States of the masked-LM head, and the sentence about each on the card."""

_UNCLEAR_LICENCES = ("other", "unknown")
_LISTS = ("base_model", "languages", "methods", "limits")


def _is_list(value: Any, of: type) -> bool:
    return isinstance(value, list) and all(isinstance(one, of) for one in value)


def _is_table(value: Any, of: type) -> bool:
    return isinstance(value, dict) and _is_list(list(value.values()), of)


# The expected JSON of each fact, in words and as a check; all others are text.
_TEXT: tuple[str, Callable[[Any], bool]] = ("text", lambda value: isinstance(value, str))
_FORMS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(_LISTS, ("a list of strings", lambda value: _is_list(value, str))),
    "from_scratch": ("true or false", lambda value: isinstance(value, bool)),
    "licence": ("text or null", lambda value: value is None or isinstance(value, str)),
    "text": ("a list of objects with a name", lambda value: _is_list(value, dict)),
    "settings": ("an object that maps stages to settings", lambda value: _is_table(value, dict)),
    "removed": ("an object that maps languages to reasons and lines", lambda value: _is_table(value, dict)),
    "found": ("an object that maps languages to languages and lines", lambda value: _is_table(value, dict)),
    "searched": ("a whole number or null", lambda value: value is None or type(value) is int),
    "vocabulary": ("an object that maps languages to figures", lambda value: _is_table(value, dict)),
    "efficiency": ("an object that maps files to figures", lambda value: _is_table(value, dict)),
    "tokens_seen": ("an object that maps languages to integers", lambda value: _is_table(value, int)),
    "provenance": ("an object", lambda value: isinstance(value, dict)),
}


@dataclass(frozen=True)
class TextSource:
    """Text that a model was trained on.

    Attributes:
        name: Its name.
        licence: Its licence; None if unknown.
        url: Its address.
        hub_id: Its id if it is a dataset on the Hub.
    """

    name: str
    licence: str | None = None
    url: str | None = None
    hub_id: str | None = None


@dataclass(frozen=True)
class CardFacts:
    """Everything on a card besides the scores. Empty fields are unknown, and the card says so.

    Attributes:
        model_name: The name or Hub id of the model.
        base_model: The base models, as names on the Hub; several if the teacher is another model.
        from_scratch: Whether the base model was trained from random weights in the same work.
        languages: ISO 639-3 codes.
        licence: The licence as the Hub writes it, such as `apache-2.0`.
        text: The text it was trained on.
        methods: How it was made, in order: keys of `hf_afro.cards.citations.METHODS`.
        head: A key of `HEADS`, or empty.
        settings: The settings of each stage: ``{stage: {name: value}}``.
        removed: Lines read and dropped from the text: ``{language: {reason: lines}}``.
        found: Of these, lines in another language than their file's: ``{language: {language found: lines}}``.
        searched: Number of evaluation sentences searched for in the text; None if not recorded.
        tokens_seen: Tokens trained on by language, with repetitions.
        vocabulary: The result of pruning, ``{language: {figure: value}}``; see `vocabulary_figures`.
        efficiency: Size, speed and loss of each exported file, ``{file: {name: value}}``, such as
            ``{"onnx/model.onnx": {"bytes": 75000000, "largest difference from torch": 2.6e-6}}``.
        limits: Further sentences about limits, beside those that follow from the facts.
        notice: A notice at the top of the card.
        provenance: Other provenance to show.
    """

    model_name: str
    base_model: tuple[str, ...] = ()
    from_scratch: bool = False
    languages: tuple[str, ...] = ()
    licence: str | None = None
    text: tuple[TextSource, ...] = ()
    methods: tuple[str, ...] = ()
    head: str = ""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    removed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    found: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    searched: int | None = None
    tokens_seen: Mapping[str, int] = field(default_factory=dict)
    vocabulary: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    efficiency: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    notice: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown:
            raise ValueError(f"unknown methods {unknown}; expected any of {', '.join(METHODS)}")
        if self.head and self.head not in HEADS:
            raise ValueError(f"unknown head {self.head!r}; expected one of {', '.join(HEADS)}, or nothing")
        named = {"languages": self.languages, "tokens_seen": self.tokens_seen, "vocabulary": self.vocabulary}
        for name, codes in named.items():
            wrong = [code for code in codes if find_language(code).iso639_3 != code]
            if wrong:
                raise ValueError(f"{name} has {wrong}; expected ISO 639-3 codes, see hf_afro.find_language")

    @classmethod
    def of_report(cls, report: EvalReport) -> CardFacts:
        """Return the facts in a report: the name, and the languages and base model of its provenance."""
        named = report.provenance.get("languages") or dict.fromkeys(score.language for score in report.scores)
        base = report.provenance.get("base_model") or ()
        return cls(
            report.name,
            base_model=(base,) if isinstance(base, str) else tuple(base),
            languages=tuple(find_language(code).iso639_3 for code in named),
        )

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the facts into a folder as JSON, atomically, and return the file."""
        path = Path(folder) / FACTS_FILE
        write_whole(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n")
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CardFacts:
        """Read facts from their file or its folder.

        Raises:
            ValueError: If the file does not hold facts of this format, or one is unknown.
        """
        path = Path(path)
        file = path / FACTS_FILE if path.is_dir() else path
        try:
            facts = json.loads(read_limited(file, _LONGEST))
        except ValueError as error:
            raise ValueError(f"{file} holds no facts for a card: {error}; expected JSON, in UTF-8") from error
        if not isinstance(facts, dict) or facts.pop("format", None) != FORMAT:
            raise ValueError(f'{file} does not hold facts for a card; expected an object with "format": {FORMAT}')
        known = [one.name for one in dataclasses.fields(cls)]
        unknown = [name for name in facts if name not in known]
        if unknown or "model_name" not in facts:
            raise ValueError(
                f"{file} has {unknown or 'no model_name'}; expected model_name and any of {', '.join(known)}"
            )
        for name, value in facts.items():
            words, fits = _FORMS.get(name, _TEXT)
            if not fits(value):
                raise ValueError(f"{file}: {name} is {json.dumps(value, ensure_ascii=False)}; expected {words}")
        for name in _LISTS:
            facts[name] = tuple(facts.get(name, ()))
        try:
            facts["text"] = tuple(TextSource(**source) for source in facts.get("text", ()))
        except TypeError as error:
            raise ValueError(f"{file}, text: {error}; expected a list of objects with a name") from error
        try:
            return cls(**facts)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error


def vocabulary_figures(provenance: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the figures of a pruned vocabulary by language, for `CardFacts.vocabulary`.

    Args:
        provenance: The provenance of a `hf_afro.VocabularyMap` by `select_tokens`; for others the result is empty.
            Unknown tokens are listed if any language has some.
    """
    any_unknown = any(figures.get("unknown_rate") for figures in provenance.get("coverage", {}).values())
    return {
        language: {
            "running tokens counted": figures["running_tokens"],
            # Rounded down: a share just below a floor must not seem to reach it.
            "share of them kept": math.floor(figures["coverage"] * 10_000 + 1e-6) / 10_000,
            **(
                {"share of them unknown": math.ceil(figures["unknown_rate"] * 10_000 - 1e-6) / 10_000}
                if any_unknown
                else {}
            ),
            "tokens kept for it alone": figures["kept_for_it_alone"],
        }
        for language, figures in provenance.get("coverage", {}).items()
    }


def inherited_licence(base_models: Sequence[str]) -> str | None:
    """Return the licence that the cards of all base models state; None if there is no base model.

    Args:
        base_models: Folders with a card, or names on the Hub.

    Raises:
        ValueError: If a card cannot be read or has no known licence, or the licences differ.
    """
    licences = {name: _licence_of(name) for name in base_models}
    if len(set(licences.values())) > 1:
        said = ", ".join(f"{name} {licence}" for name, licence in licences.items())
        raise ValueError(f"the licences of the base models differ: {said}")
    return next(iter(licences.values()), None)


def _licence_of(name: str) -> str:
    card = Path(name) / "README.md"
    try:
        licence = ModelCard.load(card if Path(name).is_dir() else name, ignore_metadata_errors=True).data.license
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, ValueError) as error:
        raise ValueError(f"the licence of {name} is unknown, since its card could not be read ({error})") from error
    if not licence or licence in _UNCLEAR_LICENCES:
        raise ValueError(f"the card of {name} has no known licence ({licence})")
    return str(licence)

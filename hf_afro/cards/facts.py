"""`CardFacts`: what a card says beside the scores; a trainer or a recipe fills it in, and it knows neither."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hf_afro.cards.citations import METHODS
from hf_afro.files import read_limited, write_whole
from hf_afro.languages import find_language
from hf_afro.reports import EvalReport

FORMAT = 1
_LONGEST = 64 << 20  # bytes
FACTS_FILE = "card_facts.json"

HEADS = {
    "kept": "Its masked-language-model head was trained along with it.",
    "not_trained_here": "Its masked-language-model head is that of the model it was made from, not trained anew.",
    "fitted_after_distillation": (
        "Its masked-language-model head was fitted after the distillation, which trains no head: predictions of "
        "masked words come from that short fit, and bits a byte measure it too."
    ),
    "drawn": (
        "Its masked-language-model head was drawn at random and never trained: it is an encoder to be fine-tuned, not "
        "to fill masks."
    ),
    "untrained": "It has no trained masked-language-model head: it is an encoder to be fine-tuned, not to fill masks.",
}
"""What may have become of the masked-language-model head, and how a card says so."""


_LISTS = ("base_model", "languages", "methods", "limits")


def _is_list(value: Any, of: type) -> bool:
    return isinstance(value, list) and all(isinstance(one, of) for one in value)


def _is_table(value: Any, of: type) -> bool:
    return isinstance(value, dict) and _is_list(list(value.values()), of)


# What the facts are in JSON, in words and as a test; those not named are text.
_TEXT: tuple[str, Callable[[Any], bool]] = ("text", lambda value: isinstance(value, str))
_FORMS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(_LISTS, ("a list of words", lambda value: _is_list(value, str))),
    "from_scratch": ("true or false", lambda value: isinstance(value, bool)),
    "licence": ("text or null", lambda value: value is None or isinstance(value, str)),
    "text": ("a list of objects with a name", lambda value: _is_list(value, dict)),
    "settings": ("an object of settings for each stage", lambda value: _is_table(value, dict)),
    "removed": ("an object of reasons and lines for each language", lambda value: _is_table(value, dict)),
    "vocabulary": ("an object of figures for each language", lambda value: _is_table(value, dict)),
    "efficiency": ("an object of figures for each form", lambda value: _is_table(value, dict)),
    "tokens_seen": ("a whole number for each language", lambda value: _is_table(value, int)),
    "provenance": ("an object", lambda value: isinstance(value, dict)),
}


@dataclass(frozen=True)
class TextSource:
    """Text that a model learnt from.

    Attributes:
        name: What it is called.
        licence: Its licence; None where it is not known.
        url: Where it is found.
        hub_id: Its id where it is a dataset on the Hub.
    """

    name: str
    licence: str | None = None
    url: str | None = None
    hub_id: str | None = None


@dataclass(frozen=True)
class CardFacts:
    """What a card says beside the scores. What is empty is not claimed: the card says that it is not known.

    Attributes:
        model_name: The name or Hub id of the model.
        base_model: What it was made from, as names on the Hub; more than one where a teacher is another model.
        from_scratch: Whether the model that it goes back to was trained from random weights along the way.
        languages: ISO 639-3 codes.
        licence: As the Hub writes it, such as `apache-2.0`.
        text: What it learnt from.
        methods: How it was made, in order: keys of `hf_afro.cards.citations.METHODS`.
        head: A key of `HEADS`, or empty.
        settings: The settings of each stage: ``{stage: {name: value}}``.
        removed: Lines read and taken out of the text: ``{language: {reason: lines}}``.
        tokens_seen: Tokens trained on, by language, repetitions included.
        vocabulary: What pruning kept, by language: ``{language: {figure: value}}``, see `vocabulary_figures`.
        efficiency: What it weighs, takes and loses in each form it was exported to: ``{form: {name: value}}``, such
            as ``{"onnx/model.onnx": {"bytes": 75000000, "largest difference from torch": 2.6e-6}}``.
        limits: Sentences about limits beyond those that follow from the facts.
        notice: What must stand above everything else.
        provenance: Whatever else says where the model comes from.
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
            raise ValueError(f"unknown state of the head {self.head!r}; expected {', '.join(HEADS)} or nothing")
        named = {"languages": self.languages, "tokens_seen": self.tokens_seen, "vocabulary": self.vocabulary}
        for name, codes in named.items():
            wrong = [code for code in codes if find_language(code).iso639_3 != code]
            if wrong:
                raise ValueError(f"{name} has {wrong}; expected ISO 639-3 codes, see hf_afro.find_language")

    @classmethod
    def of_report(cls, report: EvalReport) -> CardFacts:
        """Return what a report alone tells: the name, and the languages and the base model of its provenance."""
        named = report.provenance.get("languages") or dict.fromkeys(score.language for score in report.scores)
        base = report.provenance.get("base_model") or ()
        return cls(
            report.name,
            base_model=(base,) if isinstance(base, str) else tuple(base),
            languages=tuple(find_language(code).iso639_3 for code in named),
        )

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the facts into a folder as JSON; the file appears whole or not at all."""
        path = Path(folder) / FACTS_FILE
        write_whole(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n")
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CardFacts:
        """Read facts from their file or its folder.

        Raises:
            ValueError: If the file does not hold facts of this format, or one of them is not known.
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
    """Return what a card says of a pruned vocabulary, by language, from what its map says of how it was chosen.

    Args:
        provenance: Of a `hf_afro.VocabularyMap` that `select_tokens` made; another says nothing. Unknown tokens are
            told of where a language has any.
    """
    told = any(figures.get("unknown_rate") for figures in provenance.get("coverage", {}).values())
    return {
        language: {
            "running tokens counted": figures["running_tokens"],
            # Never rounded up: what is just below a floor must not seem to reach it.
            "share of them kept": math.floor(figures["coverage"] * 10_000 + 1e-6) / 10_000,
            **({"share of them unknown": math.ceil(figures["unknown_rate"] * 10_000 - 1e-6) / 10_000} if told else {}),
            "tokens kept for it alone": figures["kept_for_it_alone"],
        }
        for language, figures in provenance.get("coverage", {}).items()
    }

"""Language identification: whether lines are in the language of their file, by a classifier of the user's choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hf_afro.corpora.cleaning_report import OTHER_LANGUAGE, UNCERTAIN_LANGUAGE
from hf_afro.languages import find_language, same_language

Identifier = Callable[[Sequence[str]], Iterable[tuple[str, float]]]
"""Takes lines, and returns for each the code or tag of its most probable language and the probability, 0 to 1. The
result for a line must not depend on the other lines. To work in several processes it must be picklable."""

THRESHOLD = 0.5
"""The least probability, unless another is asked for."""

DATATROVE_MODELS = {"datatrove:glotlid": "GlotLID", "datatrove:ft176": "FT176LID"}
"""Names that `identifier_named` takes besides files, and the classes of datatrove that they stand for."""


@dataclass(frozen=True)
class LanguageCheck:
    """Judges lines by their language.

    A line is dropped as `UNCERTAIN_LANGUAGE` if the probability of its most probable language is below the threshold,
    and as `OTHER_LANGUAGE` if that language is not that of the file. Codes are compared by `same_language`; scripts
    are not compared.

    Attributes:
        identify: The classifier; see `Identifier`. One that takes a single line is wrapped as
            ``lambda lines: [one(line) for line in lines]``.
        threshold: The least probability, 0 to 1.

    Example:
        >>> check = LanguageCheck(FastTextIdentifier("glotlid/model.bin"), threshold=0.5)
        >>> prepare_corpora(read_corpora("texts"), language_check=check)
    """

    identify: Identifier
    threshold: float = THRESHOLD

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is a probability, 0 to 1; received {self.threshold}")

    @property
    def settings(self) -> dict[str, Any]:
        """What a cleaning report records: the name of the classifier and the threshold."""
        name = getattr(self.identify, "name", None) or getattr(self.identify, "__name__", type(self.identify).__name__)
        return {"language_id": name, "language_id_threshold": self.threshold}

    def judge(self, lines: Sequence[str], language: str) -> list[tuple[str | None, str]]:
        """Judge each line of a file.

        Args:
            lines: The lines.
            language: The language of the file, in any code.

        Returns:
            For each line the reason to drop it, None if it is kept, and the language found: its ISO 639-3 code, or the
            classifier's own label if it names no language.

        Raises:
            ValueError: If the language is unknown, or the classifier does not return one result per line.
        """
        own = find_language(language).iso639_3
        found = list(self.identify(lines)) if lines else []
        if len(found) != len(lines):
            raise ValueError(
                f"the language identifier returned {len(found)} results for {len(lines)} lines; expected one pair of "
                "language and probability per line"
            )
        return [self._judged(language_of(label), probability, own) for label, probability in found]

    def _judged(self, found: str, probability: float, own: str) -> tuple[str | None, str]:
        if not probability >= self.threshold:  # NaN is uncertain too
            return UNCERTAIN_LANGUAGE, found
        return (None if same_language(found, own) else OTHER_LANGUAGE), found

    def check_knows(self, languages: Iterable[str]) -> None:
        """Refuse languages that the classifier cannot find, if it says in `labels` what it can find.

        Args:
            languages: ISO 639-3 codes.

        Raises:
            ValueError: If there is one, all of whose lines would be dropped.
        """
        labels = getattr(self.identify, "labels", None)
        if labels is None:
            return
        known = {language_of(label) for label in labels}
        if missing := [code for code in languages if not any(same_language(code, one) for one in known)]:
            raise ValueError(
                f"{self.settings['language_id']} does not know {', '.join(missing)}, so all lines would be dropped; "
                "use a classifier that does, such as GlotLID, or leave the languages out"
            )


@cache
def language_of(label: str) -> str:
    """Return the ISO 639-3 code of a classifier's label; the label itself if it names no language.

    Example:
        >>> language_of("__label__swh_Latn"), language_of("sw"), language_of("zxx_Zxxx")
        ('swa', 'swa', 'zxx')
    """
    code = label.removeprefix("__label__").replace("-", "_").partition("_")[0].lower()
    try:
        return find_language(code).iso639_3
    except ValueError:
        return code


@dataclass(frozen=True)
class FastTextIdentifier:
    """A fastText model, such as GlotLID or lid.176, with labels like ``__label__swh_Latn`` or ``__label__sw``.

    Each process loads the model once.

    Attributes:
        path: The model file.

    Raises:
        ModuleNotFoundError: If the package `fasttext` is missing.
        ValueError: If the file is no fastText model.

    References:
        Joulin et al., "Bag of tricks for efficient text classification", EACL 2017.
        Kargaran et al., "GlotLID: language identification for low-resource languages", Findings of EMNLP 2023.
    """

    path: str

    def __post_init__(self) -> None:
        _fasttext_model(str(self.path))  # found to be missing or damaged now, not at the first line

    @property
    def name(self) -> str:
        """The name of the file, without the folders it is in."""
        return Path(self.path).name

    @property
    def labels(self) -> list[str] | None:
        """The labels of the model; None if the installed `fasttext` does not tell them."""
        return getattr(_fasttext_model(str(self.path)), "labels", None)

    def __call__(self, lines: Sequence[str]) -> list[tuple[str, float]]:
        """Return the most probable label of each line and its probability."""
        # A lone surrogate, which JSON can hold, has no UTF-8 form.
        texts = [line.replace("\n", " ").encode("utf-8", "replace").decode("utf-8") for line in lines]
        # Given a list, `predict` works with every version of numpy; given one line, that of fasttext 0.9.3 does not.
        labels, probabilities = _fasttext_model(str(self.path)).predict(texts, k=1)
        return [
            (own[0], float(shares[0])) if len(own) else ("und", 0.0)
            for own, shares in zip(labels, probabilities, strict=True)
        ]


@cache
def _fasttext_model(path: str) -> Any:
    try:
        import fasttext
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path} is read by the package fasttext ({error}); install it with: pip install 'hf_afro[language_id]'",
            name=error.name,
        ) from error
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a fastText model, such as GlotLID's model.bin")
    try:
        return fasttext.load_model(path)
    except ValueError as error:
        raise ValueError(f"{path} is no fastText model ({error}); expected one such as GlotLID's model.bin") from error


@dataclass(frozen=True)
class DatatroveIdentifier:
    """A language-identification model of datatrove: `GlotLID`, `FT176LID`, or the one of a `LanguageFilter`.

    Only its ``predict(document)`` is called, which returns the best pair of language and score first, as the classes
    of `datatrove.utils.lid` do. The languages and the threshold of a `LanguageFilter` are not used: each file has a
    language of its own.

    Attributes:
        model: The model, or the filter.
    """

    model: Any

    @property
    def name(self) -> str:
        """The name of the model's class."""
        return type(self._model).__name__

    @property
    def _model(self) -> Any:
        return self.model if hasattr(self.model, "predict") else self.model.model

    def __call__(self, lines: Sequence[str]) -> list[tuple[str, float]]:
        """Return the best label of each line and its score."""
        return [self._model.predict(SimpleNamespace(text=line))[0] for line in lines]


def identifier_named(name: str) -> Identifier:
    """Return the classifier that a setting names: a fastText model by its file, or one of `DATATROVE_MODELS`.

    Raises:
        ModuleNotFoundError: If a package that it needs is missing.
        ValueError: If the file is no fastText model.
    """
    if name not in DATATROVE_MODELS:
        return FastTextIdentifier(name)
    try:
        from datatrove.utils import lid
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} needs datatrove ({error}); install it with: pip install 'hf_afro[cluster,language_id]'",
            name=error.name,
        ) from error
    return DatatroveIdentifier(getattr(lid, DATATROVE_MODELS[name])(k=1))

"""Small tasks with labels for free, filled in from templates and written in the forms of the published sets."""

from __future__ import annotations

import csv
import io
import os
import random
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from hf_afro.languages import find_languages
from hf_afro.sample.filling import Sentence, fill, pick

DEFAULT_SIZES: Mapping[str, int] = {"train": 240, "dev": 60, "test": 120}
"""Examples of each split, for every task and language."""

# Every third example of the test split is made of templates and names that training never saw.
_HELD_OUT_EVERY = 3
_SENTENCES_OF_A_TEXT = 3
_TRIES = 200


@dataclass
class _Source:
    """Draws sentences of one task and language, never the same one twice, whatever the split.

    Attributes:
        slots: The values of each slot.
        generator: Draws templates and values.
        used: The sentences drawn so far.
    """

    slots: Mapping[str, Sequence[str]]
    generator: random.Random
    used: set[str] = field(default_factory=set)

    def sentence(self, templates: Sequence[str], held_out: bool, but: Iterable[str] = ()) -> tuple[str, Sentence]:
        """Return a template and a sentence made of it, of another template than those named where that can be.

        Raises:
            ValueError: If no new sentence comes up, because more are asked for than the templates can give.
        """
        for _ in range(_TRIES):
            template = pick(templates, self.generator, held_out)
            filled = fill(template, self.slots, self.generator, held_out)
            if filled.text not in self.used and template not in but:
                self.used.add(filled.text)
                return template, filled
        raise ValueError(
            f"found no new sentence after {len(self.used)} and {_TRIES} tries; ask for smaller sizes than these"
        )


def task_languages() -> tuple[str, ...]:
    """Return the ISO 639-3 codes of the languages that have templates, sorted."""
    names = [entry.name for entry in files("hf_afro.sample").joinpath("templates").iterdir()]
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def write_tasks(
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    sizes: Mapping[str, int] = DEFAULT_SIZES,
    languages: Iterable[str] | None = None,
) -> Path:
    """Write named entities, news topics and sentiments in the forms of MasakhaNER, MasakhaNEWS and AfriSenti.

    The files are ``ner/<iso>/<split>.txt``, ``topic/<iso>/<split>.tsv`` and ``sentiment/<iso>/<split>.tsv``. They are
    a pure function of the seed, the sizes and the version of hf_afro; each language has its own random numbers. No
    sentence is in two splits. Topics and sentiments are balanced, and every third example of the test split is made
    of templates and names that the other splits do not see.

    Args:
        folder: Made where it does not exist; files of these names in it are written over.
        seed: Chooses templates and names.
        sizes: Examples of each split.
        languages: In any code; None for all that have templates, see `task_languages`.

    Returns:
        The folder.

    Raises:
        ValueError: If a language has no templates, a size is below one or more than the templates can give.

    Example:
        >>> import tempfile
        >>> folder = write_tasks(tempfile.mkdtemp(), sizes={"train": 4}, languages=["sw"])
        >>> (folder / "sentiment" / "swa" / "train.tsv").read_text(encoding="utf-8").split()[:2]
        ['tweet', 'label']
    """
    for split, size in sizes.items():
        if size < 1:
            raise ValueError(f"the size of {split!r} is {size}; expected 1 or more examples")
    known = task_languages()
    chosen = known if languages is None else tuple(find_languages(languages))
    if unknown := [language for language in chosen if language not in known]:
        raise ValueError(f"no templates for {', '.join(unknown)}; expected some of {', '.join(known)}")
    root = Path(folder)
    for language in chosen:
        templates = _templates(language)
        for task, make in _TASKS.items():
            source = _Source(templates["slots"], random.Random(f"hf_afro {seed} {language} {task}"))
            place = root / task / language
            place.mkdir(parents=True, exist_ok=True)
            for name, text in make(source, templates[task], sizes, language):
                (place / name).write_text(text, encoding="utf-8", newline="\n")
    return root


def _templates(language: str) -> dict[str, Any]:
    path = files("hf_afro.sample").joinpath("templates", f"{language}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _held_out(split: str, index: int) -> bool:
    return split == "test" and index % _HELD_OUT_EVERY == 0


def _ner(
    source: _Source, templates: Mapping[str, Sequence[str]], sizes: Mapping[str, int], language: str
) -> Iterable[tuple[str, str]]:
    """Yield the CoNLL files: a line `token TAG`, and an empty line after each sentence."""
    for split, size in sizes.items():
        sentences = []
        for index in range(size):
            _, sentence = source.sentence(templates["sentences"], _held_out(split, index))
            sentences.append("".join(f"{token} {tag}\n" for token, tag in sentence.tagged()))
        yield f"{split}.txt", "\n".join(sentences) + "\n"


def _topic(
    source: _Source, templates: Mapping[str, Sequence[str]], sizes: Mapping[str, int], language: str
) -> Iterable[tuple[str, str]]:
    """Yield the quoted TSV files; the address of each text is under example.org, which nobody can own."""
    for split, size in sizes.items():
        rows = [("category", "headline", "text", "url")]
        for index, label in enumerate(_labels(source, templates, size)):
            used: list[str] = []
            sentences: list[str] = []
            # Of the held-out templates there are only two a label: a headline and a text of one sentence.
            for _ in range(2 if _held_out(split, index) else _SENTENCES_OF_A_TEXT):
                template, sentence = source.sentence(templates[label], _held_out(split, index), but=used)
                used.append(template)
                sentences.append(sentence.text)
            headline, *body = sentences
            url = f"https://example.org/{language}/{split}/{index + 1}"
            rows.append((label, headline.rstrip(".።"), " ".join(body), url))
        table = io.StringIO()
        csv.writer(table, delimiter="\t", lineterminator="\n").writerows(rows)
        yield f"{split}.tsv", table.getvalue()


def _sentiment(
    source: _Source, templates: Mapping[str, Sequence[str]], sizes: Mapping[str, int], language: str
) -> Iterable[tuple[str, str]]:
    """Yield the TSV files without quotes."""
    for split, size in sizes.items():
        lines = ["tweet\tlabel\n"]
        for index, label in enumerate(_labels(source, templates, size)):
            _, sentence = source.sentence(templates[label], _held_out(split, index))
            lines.append(f"{sentence.text}\t{label}\n")
        yield f"{split}.tsv", "".join(lines)


def _labels(source: _Source, templates: Mapping[str, Sequence[str]], size: int) -> list[str]:
    """Return as many labels as examples, each as often as the others, in an order of their own."""
    names = sorted(templates)
    labels = [names[index % len(names)] for index in range(size)]
    keys = [source.generator.random() for _ in labels]
    return [label for _, label in sorted(zip(keys, labels, strict=True))]


_TASKS: dict[str, Callable[..., Iterable[tuple[str, str]]]] = {"ner": _ner, "topic": _topic, "sentiment": _sentiment}

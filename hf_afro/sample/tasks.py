"""Small labelled tasks, made from templates and written in the formats of the published sets."""

from __future__ import annotations

import csv
import io
import os
import random
import string
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import regex

from hf_afro.languages import find_languages

DEFAULT_SIZES: Mapping[str, int] = {"train": 240, "dev": 60, "test": 120}
"""Examples per split, for every task and language."""

ENTITIES = {"person": "PER", "man": "PER", "woman": "PER", "organisation": "ORG", "place": "LOC", "date": "DATE"}
"""The slots whose values are named entities, with their MasakhaNER type; other slots have none."""

# Every third test example is made from templates and names that training never sees.
_HELD_OUT_EVERY = 3
_SENTENCES_PER_TEXT = 3
_TRIES = 200

# Letters with their marks stay together, as do the parts of a word around an apostrophe or a hyphen; a Hausa or
# Oromo word may begin with the apostrophe.
_TOKEN = regex.compile(r"['’]?[\p{L}\p{M}\p{N}]+(?:['’\-][\p{L}\p{M}\p{N}]+)*|[^\s]")


@dataclass(frozen=True)
class Sentence:
    """A filled template.

    Attributes:
        text: The sentence, capitalised.
        spans: Start, end (in characters, end excluded) and type of every entity, in order.
    """

    text: str
    spans: tuple[tuple[int, int, str], ...] = ()

    def tagged(self) -> list[tuple[str, str]]:
        """Split the sentence into tokens with their IOB2 tags.

        A prefix written together with a name belongs to the token and so to the entity, as in the published Amharic
        data.
        """
        pairs = []
        last = None
        for match in _TOKEN.finditer(self.text):
            span = next((s for s in self.spans if match.start() < s[1] and s[0] < match.end()), None)
            tag = "O" if span is None else f"{'I' if span == last else 'B'}-{span[2]}"
            pairs.append((match.group(), tag))
            last = span
        return pairs


def pick(values: Sequence[str], generator: random.Random, held_out: bool) -> str:
    """Choose from the last quarter of the values, which is held out, or from the rest.

    Fewer than four values have nothing held out. Only `Random.random` is used, the one method whose values Python
    guarantees across versions.
    """
    cut = len(values) - len(values) // 4
    pool = values[cut:] if held_out and cut < len(values) else values[:cut]
    return pool[int(generator.random() * len(pool))]


def fill(template: str, slots: Mapping[str, Sequence[str]], generator: random.Random, held_out: bool) -> Sentence:
    """Fill the slots of a template with values, and capitalise the sentence.

    Args:
        template: Text with slots, such as ``"{person} lives in {place}."``.
        slots: The values of each slot; a value may have slots of its own.
        generator: Draws the values.
        held_out: Use values that the training split never sees, see `pick`.

    Raises:
        ValueError: If the template names an unknown slot.
    """
    text, spans = _filled(template, slots, generator, held_out)
    return Sentence(text[:1].upper() + text[1:], spans)


def _filled(
    template: str, slots: Mapping[str, Sequence[str]], generator: random.Random, held_out: bool
) -> tuple[str, tuple[tuple[int, int, str], ...]]:
    """Return the filled text and its spans; slots inside a value are no spans of their own."""
    text = ""
    spans: list[tuple[int, int, str]] = []
    for literal, slot, _, _ in string.Formatter().parse(template):
        text += literal
        if slot is None:
            continue
        if slot not in slots:
            raise ValueError(f"unknown slot {slot!r} in the template {template!r}; expected one of {', '.join(slots)}")
        value, _ = _filled(pick(slots[slot], generator, held_out), slots, generator, held_out)
        if slot in ENTITIES:
            spans.append((len(text), len(text) + len(value), ENTITIES[slot]))
        text += value
    return text, tuple(spans)


@dataclass
class _Source:
    """Draws sentences for one task and language, never the same one twice in any split.

    Attributes:
        slots: The values of each slot.
        generator: Draws templates and values.
        used: The sentences drawn so far.
    """

    slots: Mapping[str, Sequence[str]]
    generator: random.Random
    used: set[str] = field(default_factory=set)

    def sentence(self, templates: Sequence[str], held_out: bool, but: Iterable[str] = ()) -> tuple[str, Sentence]:
        """Return a template and a new sentence made from it, avoiding the templates in `but`.

        Raises:
            ValueError: If no new sentence is found, because the templates cannot give so many.
        """
        for _ in range(_TRIES):
            template = pick(templates, self.generator, held_out)
            filled = fill(template, self.slots, self.generator, held_out)
            if filled.text not in self.used and template not in but:
                self.used.add(filled.text)
                return template, filled
        raise ValueError(f"no new sentence after {len(self.used)} sentences and {_TRIES} tries; ask for smaller sizes")


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
    """Write named entities, news topics and sentiment in the formats of MasakhaNER, MasakhaNEWS and AfriSenti.

    The files are ``ner/<iso>/<split>.txt``, ``topic/<iso>/<split>.tsv`` and ``sentiment/<iso>/<split>.tsv``. They are
    a pure function of the seed, the sizes and the version of hf_afro, and each language has its own random numbers. No
    sentence is in two splits. Topics and sentiment are balanced, and every third test example is made from templates
    and names that the other splits do not use.

    Args:
        folder: Created if needed; existing files of these names are overwritten.
        seed: Chooses templates and names.
        sizes: Examples per split.
        languages: In any code; None for all of `task_languages`.

    Returns:
        The folder.

    Raises:
        ValueError: If a language has no templates, or a size is below one or more than the templates can give.

    Example:
        >>> import tempfile
        >>> folder = write_tasks(tempfile.mkdtemp(), sizes={"train": 4}, languages=["sw"])
        >>> (folder / "sentiment" / "swa" / "train.tsv").read_text(encoding="utf-8").split()[:2]
        ['tweet', 'label']
    """
    for split, size in sizes.items():
        if size < 1:
            raise ValueError(f"the size of {split!r} is {size}; expected at least 1 example")
    known = task_languages()
    chosen = known if languages is None else tuple(find_languages(languages))
    if unknown := [language for language in chosen if language not in known]:
        raise ValueError(f"no templates for {', '.join(unknown)}; expected some of {', '.join(known)}")
    root = Path(folder)
    for language in chosen:
        templates = _templates(language)
        for task, make in _MAKERS.items():
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
) -> Iterator[tuple[str, str]]:
    """Yield the CoNLL files: `token TAG` on each line, and an empty line after each sentence."""
    for split, size in sizes.items():
        sentences = []
        for index in range(size):
            _, sentence = source.sentence(templates["sentences"], _held_out(split, index))
            sentences.append("".join(f"{token} {tag}\n" for token, tag in sentence.tagged()))
        yield f"{split}.txt", "\n".join(sentences) + "\n"


def _topic(
    source: _Source, templates: Mapping[str, Sequence[str]], sizes: Mapping[str, int], language: str
) -> Iterator[tuple[str, str]]:
    """Yield the quoted TSV files; addresses are under example.org, which nobody can own."""
    for split, size in sizes.items():
        rows = [("category", "headline", "text", "url")]
        for index, label in enumerate(_labels(source, templates, size)):
            used: list[str] = []
            sentences: list[str] = []
            # There are only two held-out templates per label: a headline and a text of one sentence.
            for _ in range(2 if _held_out(split, index) else _SENTENCES_PER_TEXT):
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
) -> Iterator[tuple[str, str]]:
    """Yield the TSV files without quotes."""
    for split, size in sizes.items():
        lines = ["tweet\tlabel\n"]
        for index, label in enumerate(_labels(source, templates, size)):
            _, sentence = source.sentence(templates[label], _held_out(split, index))
            lines.append(f"{sentence.text}\t{label}\n")
        yield f"{split}.tsv", "".join(lines)


def _labels(source: _Source, templates: Mapping[str, Sequence[str]], size: int) -> list[str]:
    """Return one label per example, balanced and shuffled."""
    names = sorted(templates)
    labels = [names[index % len(names)] for index in range(size)]
    keys = [source.generator.random() for _ in labels]
    return [label for _, label in sorted(zip(keys, labels, strict=True))]


_MAKERS: dict[str, Callable[..., Iterator[tuple[str, str]]]] = {"ner": _ner, "topic": _topic, "sentiment": _sentiment}
TASKS = tuple(_MAKERS)
"""The tasks of the sample."""

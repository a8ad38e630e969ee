"""Counts of the lines that cleaning dropped, by language and reason: merged, saved and shown as Markdown."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from hf_afro.files import write_whole
from hf_afro.version import __version__

JSON_FILE, PAGE_FILE = "cleaning.json", "cleaning.md"

READ = "read"
"""Key of the lines read, beside the reasons of the lines dropped."""

EMPTY = "empty"
EVALUATION = "evaluation sentence"
CONTAINS = "holds an evaluation sentence"
OVERLAP = "shares 8 words with an evaluation sentence"
NO_LETTER = "only numbers or punctuation"
TOO_SHORT = "too few tokens"
OTHER_LANGUAGE = "another language"
UNCERTAIN_LANGUAGE = "language uncertain"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near-duplicate"
LEAKED = (EVALUATION, CONTAINS, OVERLAP)
"""The reasons that concern evaluation sets."""

_ALL = "all"
_MEGABYTE = 1e6


@dataclass
class Tally:
    """Counts of one language, updated line by line.

    Attributes:
        lines: Lines read under `READ`, and lines dropped under their reason.
        words: Their words, split at white space, under the same keys.
        num_bytes: Their UTF-8 bytes without line feeds, under the same keys.
        leaks: Lines dropped for an evaluation set, by set; a line may count for several sets.
        found: Lines dropped as `OTHER_LANGUAGE`, by the language found.
    """

    lines: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    num_bytes: Counter[str] = field(default_factory=Counter)
    leaks: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)

    def add(self, text: str, reason: str | None, sets: Iterable[str] = (), found: str | None = None) -> None:
        """Count a line as read, and as dropped if there is a reason.

        Args:
            text: The line, after normalization.
            reason: The reason to drop it; None if it is kept.
            sets: The evaluation sets that it matches.
            found: The language found in a line that is dropped as `OTHER_LANGUAGE`.
        """
        self._count(READ, text)
        if reason is not None:
            self.drop(text, reason, sets)
        if found is not None:
            self.found[found] += 1

    def drop(self, text: str, reason: str, sets: Iterable[str] = ()) -> None:
        """Count a line as dropped that was counted as read before."""
        self._count(reason, text)
        self.leaks.update(sets)

    def _count(self, name: str, text: str) -> None:
        self.lines[name] += 1
        self.words[name] += len(text.split())
        self.num_bytes[name] += len(text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class CleaningReport:
    """Counts of cleaning and decontamination, by language and reason; reports of parts of a corpus can be merged.

    Attributes:
        read: Lines read, by ISO 639-3 code.
        dropped: Lines dropped, by code and reason.
        settings: The settings of the run, as `clean` takes them.
        fingerprints: Fingerprints of the sources, by code; see `TextSource.fingerprint`.
        version: The version of hf_afro that wrote the report.
        words: Words read (under `READ`) and dropped (under the reasons), by code.
        num_bytes: UTF-8 bytes, in the same way.
        leaks: Lines dropped for an evaluation set, by code and set; a line may count for several sets.
        found: Lines dropped as another language, by code and language found.
    """

    read: Mapping[str, int]
    dropped: Mapping[str, Mapping[str, int]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    version: str = __version__
    words: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    num_bytes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    leaks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    found: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @classmethod
    def from_tallies(
        cls,
        tallies: Mapping[str, Tally],
        *,
        settings: Mapping[str, Any] | None = None,
        fingerprints: Mapping[str, str] | None = None,
    ) -> CleaningReport:
        """Build a report from counts.

        Args:
            tallies: The counts of each language, by ISO 639-3 code.
            settings: The settings of the run.
            fingerprints: The fingerprint of each language's source.
        """
        dropped = {
            code: {name: n for name, n in tally.lines.items() if name != READ} for code, tally in tallies.items()
        }
        return cls(
            read={code: tally.lines[READ] for code, tally in tallies.items()},
            dropped=_sorted(dropped),
            settings=dict(settings or {}),
            fingerprints={code: (value,) for code, value in (fingerprints or {}).items()},
            words=_sorted({code: tally.words for code, tally in tallies.items()}),
            num_bytes=_sorted({code: tally.num_bytes for code, tally in tallies.items()}),
            leaks=_sorted({code: tally.leaks for code, tally in tallies.items()}),
            found=_sorted({code: tally.found for code, tally in tallies.items() if tally.found}),
        )

    @property
    def kept(self) -> dict[str, int]:
        """Lines kept, by language."""
        return {language: n - sum(self.dropped[language].values()) for language, n in self.read.items()}

    @property
    def kept_words(self) -> dict[str, int]:
        """Words kept, by language."""
        return _kept(self.words)

    @property
    def kept_bytes(self) -> dict[str, int]:
        """UTF-8 bytes kept, by language."""
        return _kept(self.num_bytes)

    @property
    def leaked(self) -> dict[str, int]:
        """Lines dropped for an evaluation set, by language."""
        return {code: sum(reasons.get(name, 0) for name in LEAKED) for code, reasons in self.dropped.items()}

    def merge(self, other: CleaningReport) -> CleaningReport:
        """Add the report of another part of the corpus, such as another shard, in any order.

        Raises:
            ValueError: If the two were made with different settings or versions.
        """
        for name in ("settings", "version"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"the reports differ in {name}: {mine} and {theirs}; clean all parts in the same way")
        codes = sorted({*self.read, *other.read})
        return CleaningReport(
            read={language: self.read.get(language, 0) + other.read.get(language, 0) for language in codes},
            dropped=_added(self.dropped, other.dropped),
            settings=self.settings,
            fingerprints={
                language: tuple(sorted({*self.fingerprints.get(language, ()), *other.fingerprints.get(language, ())}))
                for language in sorted({*self.fingerprints, *other.fingerprints})
            },
            version=self.version,
            words=_added(self.words, other.words),
            num_bytes=_added(self.num_bytes, other.num_bytes),
            leaks=_added(self.leaks, other.leaks),
            found=_added(self.found, other.found),
        )

    @classmethod
    def merged(cls, reports: Iterable[CleaningReport]) -> CleaningReport:
        """Merge the reports of all parts of a corpus.

        Raises:
            ValueError: If there are none, or they differ in settings or version.
        """
        parts = list(reports)
        if not parts:
            raise ValueError("there are no cleaning reports to merge; expected one per part of the text")
        return reduce(CleaningReport.merge, parts)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON, atomically."""
        write_whole(path, json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CleaningReport:
        """Read a report that `save` wrote.

        Raises:
            ValueError: If the file is not such a report.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            fingerprints = {language: tuple(parts) for language, parts in values.pop("fingerprints").items()}
            return cls(**values, fingerprints=fingerprints)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a cleaning report as CleaningReport.save writes it: {error!r}") from error


def most_found(report: CleaningReport, most: int = 5) -> dict[str, dict[str, int]]:
    """Return the lines in another language by language and language found: the most frequent ones, and `others`."""
    shortened = {}
    for code, counts in report.found.items():
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        rest = sum(lines for _, lines in ranked[most:])
        shortened[code] = dict(ranked[:most]) | ({"others": rest} if rest else {})
    return shortened


def found_in_words(report: CleaningReport) -> dict[str, str]:
    """Return `most_found` as text by language, such as "eng 1,200, nya 3"."""
    return {
        code: ", ".join(f"{other} {lines:,}" for other, lines in counts.items())
        for code, counts in most_found(report).items()
    }


def save_report(report: CleaningReport, folder: str | os.PathLike[str]) -> None:
    """Write `cleaning.json`, which can be loaded, and `cleaning.md`, a page to read, into a folder."""
    report.save(Path(folder) / JSON_FILE)
    write_whole(Path(folder) / PAGE_FILE, cleaning_page(report))


def cleaning_page(report: CleaningReport) -> str:
    """Return a report as Markdown: sizes, lines dropped by reason, by evaluation set, and by language found."""
    parts = ["# Cleaning report", _sizes(report)]
    if any(report.dropped.values()):
        parts += ["## Lines dropped, by reason", _by_name(report.dropped)]
    if any(report.leaks.values()):
        parts += [
            "## Lines dropped for evaluation sentences, by set",
            "A line that matches several sets counts for each of them.",
            _by_name(report.leaks, sums=False),
        ]
    if any(report.found.values()):
        rows = [
            [code, f"{sum(report.found[code].values()):,}", shown] for code, shown in found_in_words(report).items()
        ]
        parts += ["## Lines in another language", _table(["language", "lines", "languages found"], rows)]
    settings = [f"- {name}: {value}" for name, value in report.settings.items()]
    parts += ["## Settings", "\n".join([*settings, f"- hf_afro: {report.version}"])]
    return "\n\n".join(parts) + "\n"


def _sizes(report: CleaningReport) -> str:
    kept, kept_words, kept_bytes = report.kept, report.kept_words, report.kept_bytes
    rows = {
        code: (
            (read, kept[code]),
            (report.words.get(code, {}).get(READ, 0), kept_words.get(code, 0)),
            (report.num_bytes.get(code, {}).get(READ, 0), kept_bytes.get(code, 0)),
        )
        for code, read in report.read.items()
    }
    if len(rows) > 1:
        columns = zip(*rows.values(), strict=True)
        rows[_ALL] = tuple(tuple(map(sum, zip(*pairs, strict=True))) for pairs in columns)  # type: ignore[assignment]
    header = ["language", "lines read", "kept", "share", "words read", "kept", "MB read", "kept"]
    return _table(
        header,
        [
            [
                code,
                *(f"{count:,}" for count in lines),
                f"{lines[1] / lines[0]:.1%}" if lines[0] else "",
                *(f"{count:,}" for count in words),
                *(f"{size / _MEGABYTE:,.2f}" for size in sizes),
            ]
            for code, (lines, words, sizes) in rows.items()
        ],
    )


def _by_name(counts: Mapping[str, Mapping[str, int]], *, sums: bool = True) -> str:
    """Return a table with one row per language and one column per name, and sums."""
    own = {code: dict(row) for code, row in counts.items() if row}
    total: Counter[str] = sum(map(Counter, own.values()), Counter())
    if len(own) > 1:
        own[_ALL] = dict(total)
    rows = [[code, *(f"{row[name]:,}" if name in row else "" for name in total)] for code, row in own.items()]
    if sums:
        rows = [[*row, f"{sum(own[row[0]].values()):,}"] for row in rows]
    return _table(["language", *total, *([_ALL] if sums else [])], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _sorted(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Drop zeros, and sort by reason, so that the order does not depend on the text."""
    return {code: {name: n for name, n in sorted(own.items()) if n} for code, own in counts.items()}


def _added(one: Mapping[str, Mapping[str, int]], other: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    codes = sorted({*one, *other})
    return _sorted({code: Counter(one.get(code, {})) + Counter(other.get(code, {})) for code in codes})


def _kept(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {code: 2 * own.get(READ, 0) - sum(own.values()) for code, own in counts.items()}

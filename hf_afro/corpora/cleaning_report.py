"""What cleaning took out, by language and reason: counted while text goes through, saved, and added up over parts."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from hf_afro.files import write_whole
from hf_afro.version import __version__

READ = "read"
"""The count of lines that came in, beside the counts of lines dropped, one a reason."""

EMPTY = "empty"
EVALUATION = "evaluation sentence"
CONTAINS = "holds an evaluation sentence"
OVERLAP = "shares 8 words with an evaluation sentence"
NO_LETTER = "only numbers or punctuation"
TOO_SHORT = "too few tokens"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near-duplicate"
LEAKED = (EVALUATION, CONTAINS, OVERLAP)
"""The reasons of lines that hold something of an evaluation set."""


@dataclass
class Tally:
    """Counts of one language, added to line by line.

    Attributes:
        lines: Under `READ` every line that came in, and under its reason every line dropped.
        words: Their words, parts between white space, under the same names.
        num_bytes: Their bytes in UTF-8, line feeds left out.
        leaks: Lines dropped that hold something of an evaluation set, by set; a line may count for several.
    """

    lines: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    num_bytes: Counter[str] = field(default_factory=Counter)
    leaks: Counter[str] = field(default_factory=Counter)

    def add(self, text: str, reason: str | None, sets: Iterable[str] = ()) -> None:
        """Count a line that came in, and why it is dropped where it is.

        Args:
            text: The line, as it is compared: in normal form C where that is asked for.
            reason: Why it is dropped; None where it stays.
            sets: The evaluation sets that it holds something of.
        """
        self._count(READ, text)
        if reason is not None:
            self.drop(text, reason, sets)

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
    """What cleaning and decontamination took out, by language and reason; parts of a corpus add up.

    Attributes:
        read: Lines that came in, by ISO 639-3 code.
        dropped: Lines dropped, by code and reason.
        settings: The settings of the run, as `clean` takes them.
        fingerprints: Of the sources read, by code; see `TextSource.fingerprint`.
        version: The version of hf_afro that made the report.
        words: Words that came in and were dropped, by code; under `READ` and the reasons.
        num_bytes: The same in UTF-8 bytes.
        leaks: Lines dropped that hold something of an evaluation set, by code and set; a line may count for several.
    """

    read: Mapping[str, int]
    dropped: Mapping[str, Mapping[str, int]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    version: str = __version__
    words: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    num_bytes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    leaks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @classmethod
    def from_tallies(
        cls,
        tallies: Mapping[str, Tally],
        *,
        settings: Mapping[str, Any] | None = None,
        fingerprints: Mapping[str, str] | None = None,
    ) -> CleaningReport:
        """Make a report of what was counted, language by language.

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
        )

    @property
    def kept(self) -> dict[str, int]:
        """Lines that stayed, by language."""
        return {language: n - sum(self.dropped[language].values()) for language, n in self.read.items()}

    @property
    def kept_words(self) -> dict[str, int]:
        """Words that stayed, by language."""
        return _kept(self.words)

    @property
    def kept_bytes(self) -> dict[str, int]:
        """UTF-8 bytes that stayed, by language."""
        return _kept(self.num_bytes)

    @property
    def leaked(self) -> dict[str, int]:
        """Lines that held something of an evaluation set, by language."""
        return {code: sum(reasons.get(name, 0) for name in LEAKED) for code, reasons in self.dropped.items()}

    def merge(self, other: CleaningReport) -> CleaningReport:
        """Add the report of another part of the corpus, such as another shard; in any order the result is the same.

        Raises:
            ValueError: If the two were made with different settings or versions; their counts would not compare.
        """
        for name in ("settings", "version"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"the reports differ in {name}: {mine} and {theirs}; clean all parts the same way")
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
        )

    @classmethod
    def merged(cls, reports: Iterable[CleaningReport]) -> CleaningReport:
        """Add up the reports of all parts of a corpus.

        Raises:
            ValueError: If there are none, or they differ in settings or version.
        """
        parts = list(reports)
        if not parts:
            raise ValueError("there are no cleaning reports to add up; expected one a part of the text")
        return reduce(CleaningReport.merge, parts)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON; the file appears whole or not at all."""
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


def _sorted(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Leave out what is zero, in an order that does not hang on the text."""
    return {code: {name: n for name, n in sorted(own.items()) if n} for code, own in counts.items()}


def _added(one: Mapping[str, Mapping[str, int]], other: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    codes = sorted({*one, *other})
    return _sorted({code: Counter(one.get(code, {})) + Counter(other.get(code, {})) for code in codes})


def _kept(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {code: 2 * own.get(READ, 0) - sum(own.values()) for code, own in counts.items()}

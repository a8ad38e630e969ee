"""Lines that teach nothing are taken out of adaptation text, and every one of them is counted by its reason."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import regex

from hf_afro.files import write_whole
from hf_afro.version import __version__

READ = "read"
"""The count of lines that came in, beside the counts of lines dropped, one a reason."""

EMPTY = "empty"
EVALUATION = "evaluation sentence"
NO_LETTER = "only numbers or punctuation"
TOO_SHORT = "too few tokens"
DUPLICATE = "duplicate"
REASONS = (EMPTY, EVALUATION, NO_LETTER, TOO_SHORT, DUPLICATE)

# Numbers and punctuation of every script, symbols (currency, emoji) and white space hold no letter.
_LETTER = regex.compile(r"\p{L}")


def reason_to_drop(line: str, min_tokens: int = 6) -> str | None:
    """Say why a line is dropped for what it holds, None where it stays.

    A line goes when it is empty, when it has no letter of any script (only numbers, punctuation, symbols), or when it
    has fewer tokens than asked for. Tokens are parts between white space, so a script that is written without spaces,
    as Chinese is, wants `min_tokens=1`.

    Args:
        line: One line, without its line feed.
        min_tokens: The fewest white-space tokens of a line that stays.

    Returns:
        `EMPTY`, `NO_LETTER`, `TOO_SHORT` or None, in this order of precedence.

    References:
        Alabi et al., "Adapting pre-trained language models to African languages via multilingual adaptive
        fine-tuning", COLING 2022, section 3.1.
    """
    tokens = line.split(maxsplit=min_tokens)
    if not tokens:
        return EMPTY
    if not _LETTER.search(line):
        return NO_LETTER
    return TOO_SHORT if len(tokens) < min_tokens else None


def clean(
    lines: Iterable[str],
    counts: Counter[str],
    *,
    min_tokens: int = 6,
    nfc: bool = False,
    drop_duplicates: bool = False,
    evaluation: Container[str] = (),
) -> Iterator[str]:
    """Yield the lines that stay, counting those that do not while going through them.

    Args:
        lines: The lines of one language.
        counts: Is added to: `READ` for every line that came in, and its reason for every line dropped.
        min_tokens: See `reason_to_drop`.
        nfc: Bring lines to Unicode normal form C, before they are compared with one another.
        drop_duplicates: Drop a line that came before, character by character; 16 bytes a line are kept to know it.
        evaluation: What knows the evaluation sentences; see `hf_afro.corpora.decontamination.EvaluationSentences`. It
            is asked before the rest, so that the count of leaked sentences does not depend on the other settings.

    Yields:
        Lines, unchanged but for `nfc`.
    """
    seen: set[bytes] = set()
    for line in lines:
        counts[READ] += 1
        text = unicodedata.normalize("NFC", line) if nfc else line
        reason = EVALUATION if text in evaluation else reason_to_drop(text, min_tokens)
        if reason is None and drop_duplicates:
            digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
            reason = DUPLICATE if digest in seen else None
            seen.add(digest)
        if reason is None:
            yield text
        else:
            counts[reason] += 1


@dataclass(frozen=True)
class CleaningReport:
    """What cleaning and decontamination took out, by language and reason; parts of a corpus add up.

    Attributes:
        read: Lines that came in, by ISO 639-3 code.
        dropped: Lines dropped, by code and reason.
        settings: The settings of the run, as `clean` takes them.
        fingerprints: Of the sources read, by code; see `TextSource.fingerprint`.
        version: The version of hf_afro that made the report.
    """

    read: Mapping[str, int]
    dropped: Mapping[str, Mapping[str, int]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    version: str = __version__

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, Counter[str]],
        *,
        settings: Mapping[str, Any] | None = None,
        fingerprints: Mapping[str, str] | None = None,
    ) -> CleaningReport:
        """Make a report of what `clean` counted, language by language.

        Args:
            counts: The counter of each language, by ISO 639-3 code.
            settings: The settings `clean` was given.
            fingerprints: The fingerprint of each language's source.
        """
        return cls(
            read={language: counter[READ] for language, counter in counts.items()},
            dropped={
                language: {reason: n for reason, n in sorted(counter.items()) if reason != READ and n}
                for language, counter in counts.items()
            },
            settings=dict(settings or {}),
            fingerprints={language: (value,) for language, value in (fingerprints or {}).items()},
        )

    @property
    def kept(self) -> dict[str, int]:
        """Lines that stayed, by language."""
        return {language: n - sum(self.dropped[language].values()) for language, n in self.read.items()}

    def merge(self, other: CleaningReport) -> CleaningReport:
        """Add the report of another part of the corpus, such as another shard.

        Raises:
            ValueError: If the two were made with different settings or versions; their counts would not compare.
        """
        for name in ("settings", "version"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"the reports differ in {name}: {mine} and {theirs}; clean all parts the same way")
        languages = sorted({*self.read, *other.read})
        dropped = {
            language: dict(
                sorted((Counter(self.dropped.get(language, {})) + Counter(other.dropped.get(language, {}))).items())
            )
            for language in languages
        }
        return CleaningReport(
            read={language: self.read.get(language, 0) + other.read.get(language, 0) for language in languages},
            dropped=dropped,
            settings=self.settings,
            fingerprints={
                language: tuple(sorted({*self.fingerprints.get(language, ()), *other.fingerprints.get(language, ())}))
                for language in sorted({*self.fingerprints, *other.fingerprints})
            },
            version=self.version,
        )

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

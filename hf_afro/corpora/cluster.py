"""Cleaning, decontamination and counting on a cluster, as a datatrove pipeline (extra `cluster`).

Each task takes its share of the files, judges every line by the same `LineRules` as on one machine, and writes the
kept lines, a report and token counts. Lines are judged independently, so the reports and counts of all tasks add up to
those of a single process. Duplicates can only be found in the whole text: use `datatrove.pipeline.dedup` or
`prepare_corpora` on the output.

    steps = clean_steps("text", "cleaned", LineRules(evaluation=sentences), count=partial(count_tokens, tokenizer=...))
    LocalPipelineExecutor(steps, tasks=8, logging_dir="logs").run()  # or Slurm or Ray, of datatrove.executor
    report = collect_reports("cleaned")   # and `hf-afro prune --counts cleaned/counts/*.npz`
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Protocol

from hf_afro.corpora.cleaning import LineRules
from hf_afro.corpora.cleaning_report import CleaningReport, Tally, save_report
from hf_afro.corpora.decontamination import in_batches
from hf_afro.corpora.reading import Errors, TextSource, check_errors, lines_of, read_lines, suffix_of
from hf_afro.files import remove_leftovers_of, written_whole
from hf_afro.languages import find_language

try:
    from datatrove.data import Document
    from datatrove.pipeline.base import PipelineStep
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"hf_afro.corpora.cluster needs datatrove ({error}); install it with: pip install 'hf_afro[cluster]'",
        name=error.name,
    ) from error

TEXT, REPORTS, COUNTS = "text", "reports", "counts"
"""Subfolders of the output folder."""


class Counts(Protocol):
    """The result of a counting function, such as `hf_afro.TokenCounts`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the counts to a file."""


class ReadLines(PipelineStep):
    """Read this task's share of the files: one document per line, with its language and file as metadata.

    Args:
        folder: A folder with ``<language>.<suffix>``, or parts as ``<language>/<any name>.<suffix>``; the suffixes are
            those of `read_corpora`.
        errors: Handling of bytes that are not UTF-8; see `read_corpora`.

    Raises:
        ValueError: If `errors` is unknown.
    """

    type = "hf_afro"
    name = "read lines"

    def __init__(self, folder: str | os.PathLike[str], errors: Errors = "fail") -> None:
        super().__init__()
        check_errors(errors)
        self.folder, self.errors = Path(folder), errors

    def run(self, data: Iterable[Document] | None = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the lines of every `world_size`-th file, starting with number `rank`.

        Raises:
            ValueError: If there is no text, a file is not named by its language, or bytes are not UTF-8.
        """
        yield from data or ()
        for path, language in files_of(self.folder)[rank::world_size]:
            file = str(path.relative_to(self.folder))
            for number, line in enumerate(read_lines(path, self.errors)):
                yield Document(text=line, id=f"{file}:{number}", metadata={"language": language, "file": file})


class CleanLines(PipelineStep):
    """Drop lines by `LineRules`, and write one report per task.

    Args:
        output: The output folder; the report is ``reports/<task>-of-<tasks>.json`` in it.
        rules: The rules.
    """

    type = "hf_afro"
    name = "clean and decontaminate"

    def __init__(self, output: str | os.PathLike[str], rules: LineRules) -> None:
        super().__init__()
        self.output, self.rules = Path(output), rules

    def run(self, data: Iterable[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the lines that are kept, in order."""
        tallies: dict[str, Tally] = defaultdict(Tally)
        for language, documents in groupby(data, lambda document: document.metadata["language"]):
            for batch in in_batches(documents):
                verdicts = self.rules.judge([document.text for document in batch], language)
                for document, verdict in zip(batch, verdicts, strict=True):
                    tallies[language].add(*verdict)
                    self.stat_update("kept" if verdict.reason is None else verdict.reason, unit="line")
                    if verdict.reason is None:
                        document.text = verdict.text
                        yield document
        check = self.rules.language_check
        settings = {
            "min_tokens": self.rules.min_tokens,
            "nfc": self.rules.nfc,
            "evaluation_sentences": len(self.rules.evaluation or ()),
            **({} if check is None else check.settings),
        }
        report = CleaningReport.from_tallies(dict(sorted(tallies.items())), settings=settings)
        report.save(_part(self.output, REPORTS, rank, world_size, "json"))


class WriteLines(PipelineStep):
    """Write lines, one file ``text/<language>/<name>.txt`` per file read, and count their tokens.

    Args:
        output: The output folder; `read_corpora` reads its subfolder `text`.
        count: Counts the tokens of ``{language: lines}``, such as ``functools.partial(count_tokens, tokenizer=...)``;
            the counts of each task are saved in `counts`. None: nothing is counted.
    """

    type = "hf_afro"
    name = "write lines, count tokens"

    def __init__(
        self, output: str | os.PathLike[str], count: Callable[[Mapping[str, Iterable[str]]], Counts] | None = None
    ) -> None:
        super().__init__()
        self.output, self.count = Path(output), count

    def run(self, data: Iterable[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Write all lines atomically, then count them."""
        written: dict[str, list[Path]] = defaultdict(list)
        for file, documents in groupby(data, lambda document: document.metadata["file"]):
            first = next(documents)
            language = first.metadata["language"]
            path = self.output / TEXT / language / _plain_name(file)
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers_of(path)
            with written_whole(path) as own, own.open("w", encoding="utf-8", newline="\n") as opened:
                for document in chain([first], documents):
                    opened.write(f"{document.text}\n")
                    yield document
            written[language].append(path)
        if self.count is not None and written:
            texts = {
                language: TextSource(language, str(self.output), partial(lines_of, paths))
                for language, paths in sorted(written.items())
            }
            self.count(texts).save(_part(self.output, COUNTS, rank, world_size, "npz"))


def clean_steps(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    rules: LineRules,
    *,
    count: Callable[[Mapping[str, Iterable[str]]], Counts] | None = None,
    errors: Errors = "fail",
) -> list[PipelineStep]:
    """Return the steps that read, clean, decontaminate, write and count; see the classes of this module.

    Args:
        folder: See `ReadLines`.
        output: A different folder, which all tasks can reach under this path.
        rules: See `CleanLines`.
        count: See `WriteLines`; must be picklable.
        errors: See `ReadLines`.

    Raises:
        ValueError: If the folder has no text, or `errors` is unknown.
    """
    files_of(Path(folder))
    return [ReadLines(folder, errors), CleanLines(output, rules), WriteLines(output, count)]


def collect_reports(output: str | os.PathLike[str]) -> CleaningReport:
    """Merge the reports of all tasks, and save the result into the output folder.

    Raises:
        ValueError: If a report is missing, or there are reports of runs with different numbers of tasks.
    """
    folder = Path(output) / REPORTS
    parts = sorted(folder.glob("*-of-*.json"))
    runs = sorted({path.stem.split("-of-")[1] for path in parts})
    if len(runs) > 1:
        raise ValueError(
            f"{folder} holds reports of runs with {', '.join(str(int(tasks)) for tasks in runs)} tasks; remove all "
            f"but those of the last run, and their counts in {folder.with_name(COUNTS)}"
        )
    if not parts or len(parts) != int(runs[0]):
        raise ValueError(
            f"{folder} holds the reports of {len(parts)} of {int(runs[0]) if runs else 'all'} tasks; run the pipeline "
            "again to complete the others"
        )
    report = CleaningReport.merged(map(CleaningReport.load, parts))
    save_report(report, output)
    return report


def files_of(folder: Path) -> list[tuple[Path, str]]:
    """Return the text files of a folder with their ISO 639-3 codes, sorted by name.

    Raises:
        ValueError: If there are none, or one is not named by its language.
    """
    files = []
    for path in sorted(path for path in folder.rglob("*") if suffix_of(path) and path.is_file()):
        inside = path.relative_to(folder).parts
        code = inside[0] if len(inside) > 1 else path.name[: -len(suffix_of(path) or "")]
        try:
            files.append((path, find_language(code).iso639_3))
        except ValueError as error:
            raise ValueError(
                f"{path}: text files are named by their language. {error} Move other files away."
            ) from error
    if not files:
        raise ValueError(f"{folder} has no text; expected files such as swa.txt or swa/part-1.jsonl.gz")
    return files


def _plain_name(file: str) -> str:
    """Return ``swa%2Fpart.jsonl.gz.txt`` for ``swa/part.jsonl.gz``, a unique name for every file of a folder."""
    return f"{file.replace('%', '%25').replace(os.sep, '%2F')}.txt"


def _part(output: Path, kind: str, rank: int, world_size: int, suffix: str) -> Path:
    return output / kind / f"{rank:05}-of-{world_size:05}.{suffix}"

"""Cleaning, decontamination and counting of text past one machine, as a pipeline of datatrove (extra `cluster`).

A task takes its share of the files, judges every line by the rules that one machine has (`LineRules`), writes what
stays, a report and the counts of its share. Reports and counts of all tasks add up to those of one process, since
lines are judged one by one. Duplicates need to see all text: datatrove's own blocks (`datatrove.pipeline.dedup`) take
them out of the folder written here, or `prepare_corpora` does.

    steps = clean_steps("text", "cleaned", LineRules(evaluation=sentences), count=partial(count_tokens, tokenizer=...))
    executor("local", steps, tasks=8, logging_dir="logs").run()
    report = collect_reports("cleaned")   # and `hf-afro prune --counts cleaned/counts/*.npz`
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal, Protocol

from hf_afro.corpora.cleaning import LineRules
from hf_afro.corpora.cleaning_page import save_report
from hf_afro.corpora.cleaning_report import CleaningReport, Tally
from hf_afro.corpora.decontamination import in_batches
from hf_afro.corpora.files import Errors, check_errors, read_lines, suffix_of
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

Kind = Literal["local", "slurm", "ray"]

TEXT, REPORTS, COUNTS = "text", "reports", "counts"
"""Folders in the folder that the steps write to."""


class Counts(Protocol):
    """What a counting function gives: something that can be saved, as `hf_afro.TokenCounts`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file."""


class ReadLines(PipelineStep):
    """Reads this task's share of the files: a document a line, its language and file beside it.

    Args:
        folder: Holds ``<language>.<suffix>``, or parts as ``<language>/<any name>.<suffix>``; the suffixes are those
            of `read_corpora`.
        errors: What is done with bytes that are not UTF-8; see `read_corpora`.

    Raises:
        ValueError: If `errors` is none of the ways there are.
    """

    type = "hf_afro"
    name = "read lines"

    def __init__(self, folder: str | os.PathLike[str], errors: Errors = "fail") -> None:
        super().__init__()
        check_errors(errors)
        self.folder, self.errors = Path(folder), errors

    def run(self, data: Iterable[Document] | None = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the lines of every so many-th file.

        Raises:
            ValueError: If there is no text, a file is not named by its language, or bytes are not UTF-8.
        """
        yield from data or ()
        for path, language in files_of(self.folder)[rank::world_size]:
            file = str(path.relative_to(self.folder))
            for number, line in enumerate(read_lines(path, self.errors)):
                yield Document(text=line, id=f"{file}:{number}", metadata={"language": language, "file": file})


class CleanLines(PipelineStep):
    """Judges every line, drops those that have to go, and leaves a report a task.

    Args:
        output: The folder for the report, ``reports/<task>-of-<tasks>.json`` in it.
        rules: What is asked of a line.
    """

    type = "hf_afro"
    name = "clean and decontaminate"

    def __init__(self, output: str | os.PathLike[str], rules: LineRules) -> None:
        super().__init__()
        self.output, self.rules = Path(output), rules

    def run(self, data: Iterable[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the lines that stay, in their order."""
        tallies: dict[str, Tally] = defaultdict(Tally)
        for batch in in_batches(data):
            verdicts = self.rules.judge([document.text for document in batch])
            for document, (text, reason, sets) in zip(batch, verdicts, strict=True):
                tallies[document.metadata["language"]].add(text, reason, sets)
                self.stat_update("kept" if reason is None else reason, unit="line")
                if reason is None:
                    document.text = text
                    yield document
        settings = {
            "min_tokens": self.rules.min_tokens,
            "nfc": self.rules.nfc,
            "evaluation_sentences": len(self.rules.evaluation or ()),
        }
        report = CleaningReport.from_tallies(dict(sorted(tallies.items())), settings=settings)
        report.save(_part(self.output, REPORTS, rank, world_size, "json"))


class WriteLines(PipelineStep):
    """Writes the lines it is given, a file for each one read: ``text/<language>/<name>.txt``; and counts them.

    Args:
        output: The folder; `read_corpora` reads the `text` in it.
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
        """Write all lines, then count those written; what a task leaves is there whole or not at all."""
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
            texts = {language: _Lines(paths) for language, paths in sorted(written.items())}
            self.count(texts).save(_part(self.output, COUNTS, rank, world_size, "npz"))


class _Lines:
    """The lines of several files, as often as wanted."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __iter__(self) -> Iterator[str]:
        for path in self._paths:
            yield from read_lines(path)


def clean_steps(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    rules: LineRules,
    *,
    count: Callable[[Mapping[str, Iterable[str]]], Counts] | None = None,
    errors: Errors = "fail",
) -> list[PipelineStep]:
    """Return the steps that read, clean, decontaminate, write and count; see the classes of this file.

    Args:
        folder: See `ReadLines`.
        output: Another folder, which all tasks reach under this name.
        rules: See `CleanLines`.
        count: See `WriteLines`; must travel to other processes.
        errors: See `ReadLines`.

    Raises:
        ValueError: If the folder has no text, or `errors` is none of the ways there are.
    """
    files_of(Path(folder))
    return [ReadLines(folder, errors), CleanLines(output, rules), WriteLines(output, count)]


def executor(kind: Kind, steps: list[PipelineStep], *, tasks: int, logging_dir: str, **settings: Any) -> Any:
    """Return what runs the steps by its method `run()`; tasks that ended well are not run again.

    Args:
        kind: `local`, processes of this machine; `slurm`, an array of jobs; `ray`, tasks of a Ray cluster, which needs
            `ray` installed.
        steps: See `clean_steps`.
        tasks: How many parts the files are shared out to; more than there are files leaves some idle.
        logging_dir: Where logs, and marks of the tasks that ended, are kept; on a disk all machines reach.
        **settings: Of datatrove's executor: `workers`, how many tasks run at once; for Slurm `time` and `partition`,
            which it must have, `cpus_per_task`, `mem_per_cpu_gb`, `venv_path`; for Ray `cpus_per_task`.

    Raises:
        ValueError: If there is no such kind, or Slurm is given no time or partition.

    Example:
        ``executor("slurm", steps, tasks=500, logging_dir="/shared/logs", time="04:00:00", partition="cpu").run()``
    """
    if kind == "local":
        from datatrove.executor import LocalPipelineExecutor

        return LocalPipelineExecutor(steps, tasks=tasks, logging_dir=logging_dir, **settings)
    if kind == "slurm":
        from datatrove.executor import SlurmPipelineExecutor

        missing = [name for name in ("time", "partition") if name not in settings]
        if missing:
            raise ValueError(
                f"Slurm is given no {' and no '.join(missing)}; expected such as time='04:00:00', partition='cpu'"
            )
        settings = {"job_name": "hf_afro", "mem_per_cpu_gb": 4, **settings}
        return SlurmPipelineExecutor(steps, tasks=tasks, logging_dir=logging_dir, **settings)
    if kind == "ray":
        from datatrove.executor import RayPipelineExecutor

        return RayPipelineExecutor(steps, tasks=tasks, logging_dir=logging_dir, **settings)
    raise ValueError(f"kind is {kind!r}; expected local, slurm or ray")


def collect_reports(output: str | os.PathLike[str]) -> CleaningReport:
    """Add up the reports of all tasks, and write the sum into the folder as one machine would.

    Raises:
        ValueError: If a task has left none, or there are reports of runs with other numbers of tasks.
    """
    folder = Path(output) / REPORTS
    parts = sorted(folder.glob("*-of-*.json"))
    runs = sorted({path.stem.split("-of-")[1] for path in parts})
    if len(runs) > 1:
        raise ValueError(
            f"{folder} holds reports of runs of {', '.join(str(int(tasks)) for tasks in runs)} tasks; remove those of "
            f"all runs but the last, and their counts in {folder.with_name(COUNTS)}"
        )
    if not parts or len(parts) != int(runs[0]):
        raise ValueError(
            f"{folder} holds the reports of {len(parts)} of {int(runs[0]) if runs else 'all'} tasks; run the same "
            "pipeline again, it goes on with those that have not ended"
        )
    report = CleaningReport.merged(map(CleaningReport.load, parts))
    save_report(report, output)
    return report


def files_of(folder: Path) -> list[tuple[Path, str]]:
    """Return the files of a folder that `ReadLines` reads and the ISO 639-3 code of each, sorted by name.

    Raises:
        ValueError: If there is none, or one is not named by its language.
    """
    files = []
    for path in sorted(path for path in folder.rglob("*") if suffix_of(path) and path.is_file()):
        inside = path.relative_to(folder).parts
        code = inside[0] if len(inside) > 1 else path.name[: -len(suffix_of(path) or "")]
        try:
            files.append((path, find_language(code).iso639_3))
        except ValueError as error:
            raise ValueError(f"{path}: text is named by its language. {error} Move other files away.") from error
    if not files:
        raise ValueError(f"{folder} has no text; expected files as swa.txt or swa/part-1.jsonl.gz")
    return files


def _plain_name(file: str) -> str:
    """``swa/part.jsonl.gz`` as ``swa%2Fpart.jsonl.gz.txt``: no two files of a folder get one name."""
    return f"{file.replace('%', '%25').replace(os.sep, '%2F')}.txt"


def _part(output: Path, kind: str, rank: int, world_size: int, suffix: str) -> Path:
    return output / kind / f"{rank:05}-of-{world_size:05}.{suffix}"

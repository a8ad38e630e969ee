r"""Check the results of `benchmarks.real_model` without hf_afro: the scores, and that no test sentence is in the text.

    python -m benchmarks.check_real_model --data DATA runs/real

Scores are computed again from the kept predictions, by seqeval and scikit-learn. The dev and test sentences of
the languages measured are read from the files of the sets and looked for in the text as letters and digits alone,
without spaces, punctuation and case, so that tokens joined by spaces and running text are the same: those of at least
24 characters and five words anywhere in a line, shorter ones as a whole line. Of news articles each sentence of at
least eight words is looked for.
"""

from __future__ import annotations

import argparse
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from seqeval.metrics import f1_score as entity_f1
from sklearn.metrics import f1_score

LONG = 24  # characters
SHORTEST = 12  # characters: "Thank you" is in any text
WORDS = 5  # a phrase of four is in any text too
WORDS_OF_A_PART = 8
SHOWN = 3
MEASURED = ("amh", "hau", "ibo", "kin", "luo", "pcm", "swa", "yor")


def scores_of(file: Path) -> dict[str, float]:
    """Return the score of every seed, from the predictions of one task and language."""
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    gold = [row["gold"] for row in rows]
    found = {}
    for seed in rows[0]["predicted"]:
        predicted = [row["predicted"][seed] for row in rows]
        tagged = isinstance(gold[0], list)
        found[seed] = float(
            entity_f1(gold, predicted) if tagged else f1_score(gold, predicted, average="weighted", zero_division=0)
        )
    return found


def rescore(root: Path) -> None:
    """Compare the scores in all reports under a folder with those of their predictions."""
    largest, count = 0.0, 0
    for path in sorted(root.rglob("evaluation_report.json")):
        report = json.loads(path.read_text("utf-8"))
        for score in report["scores"]:
            if score["metric"] not in ("entity_f1", "weighted_f1"):
                continue
            own = scores_of(path.parent / "predictions" / f"{score['task']}-{score['language']}.jsonl")
            for seed, value in zip(score["seeds"], score["values"], strict=True):
                count += 1
                largest = max(largest, abs(own[str(seed)] - value))
    print(f"{count:,} scores computed again; the largest difference from a report is {largest:.1e}")


def letters(text: str) -> str:
    """Return the letters, marks and digits of a text, without case."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return "".join(sign for sign in text if unicodedata.category(sign)[0] in "LMN")


def of_tags(data: Path) -> Iterator[str]:
    """Yield the dev and test sentences of MasakhaNER."""
    for file in evaluated_files(data / "ner" / "masakhaner1", "txt"):
        for block in re.split(r"\n\s*\n", file.read_text("utf-8")):
            yield " ".join(line.split(" ")[0] for line in block.splitlines() if line.strip())


def of_tweets(data: Path) -> Iterator[str]:
    """Yield the dev and test tweets of AfriSenti."""
    for file in evaluated_files(data / "sentiment" / "afrisenti", "tsv"):
        for line in file.read_text("utf-8").splitlines()[1:]:
            yield line.rpartition("\t")[0]


def of_articles(data: Path) -> Iterator[str]:
    """Yield the sentences of at least eight words in the dev and test articles of MasakhaNEWS."""
    for file in evaluated_files(data / "topic" / "masakhanews", "tsv"):
        for line in file.read_text("utf-8").splitlines()[1:]:
            for part in re.split(r"[.!?።\t\n]+", line.rpartition("\t")[0]):
                if words(part) >= WORDS_OF_A_PART:
                    yield part


def of_parallel(data: Path) -> Iterator[str]:
    """Yield the dev and test sentences of MAFAND in both languages."""
    for file in evaluated_files(data / "parallel" / "mafand", "*"):
        yield from file.read_text("utf-8").splitlines()


def evaluated_files(folder: Path, ending: str) -> list[Path]:
    return sorted(
        path for path in folder.glob(f"*/*.{ending}") if path.parent.name in MEASURED and path.stem in ("dev", "test")
    )


def words(text: str) -> int:
    """Return the number of words with a letter or digit."""
    return sum(bool(letters(word)) for word in text.split())


SETS = {"masakhaner1": of_tags, "afrisenti": of_tweets, "masakhanews": of_articles, "mafand": of_parallel}


class Searched:
    """The evaluation sentences, by what they are looked for."""

    def __init__(self, data: Path) -> None:
        self.long: dict[str, list[tuple[str, str]]] = {}
        self.short: dict[str, str] = {}
        self.count: Counter[str] = Counter()
        for name, sentences in SETS.items():
            for sentence in sentences(data):
                wanted = letters(sentence)
                self.count[name] += len(wanted) >= SHORTEST
                if len(wanted) >= LONG and words(sentence) >= WORDS:
                    self.long.setdefault(wanted[:LONG], []).append((wanted, name))
                elif len(wanted) >= SHORTEST:
                    self.short[wanted] = name

    def in_line(self, line: str) -> set[str]:
        """Return the sets that have a sentence in a line."""
        own = letters(line)
        found = {self.short[own]} if own in self.short else set()
        for start in range(len(own) - LONG + 1):
            for wanted, name in self.long.get(own[start : start + LONG], ()):
                if own.startswith(wanted, start):
                    found.add(name)
        return found


def search(data: Path, folder: Path) -> None:
    """Look for evaluation sentences in text files, and print how many lines have one, by file and set."""
    searched = Searched(data)
    found: Counter[tuple[str, str]] = Counter()
    lines = 0
    for file in sorted(folder.glob("*.txt")):
        for line in file.read_text("utf-8").splitlines():
            lines += 1
            for name in sorted(searched.in_line(line)):
                found[file.stem, name] += 1
                if found[file.stem, name] <= SHOWN:
                    print(f"{file.stem}, {name}: {line[:150]}")
    print(f"{searched.count.total():,} evaluation sentences ({dict(searched.count)}) in {lines:,} lines of text:")
    print(dict(found) or "none is found")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the output of benchmarks.real_model")
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    rescore(args.folder)
    search(args.data, args.folder / "text" / "train")


if __name__ == "__main__":
    main()

r"""Evaluation sentences found in text, by language, before the filter and after it, by a search of another making.

    python -m benchmarks.decontamination --data ../shared/data

The search shares no code with the filter: it reads the files itself, compares letters, marks and digits of form NFKD
in lower case, and tries every place of every line. It counts, before and after,

    equal   lines that are a test sentence,
    within  lines that hold a test sentence of 5 words or more, from the start of a word to the end of one,
    run     lines that share 8 words in a row with one,

and the test sentences that are found so. `--plant` lets search and filter judge lines that hold test sentences whole,
within other words and in part, spelt otherwise, so that a search that finds nothing is not taken for text that has
nothing.
"""

from __future__ import annotations

import argparse
import random
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hf_afro.corpora import EvaluationSentences, Tally, decontaminate
from hf_afro.corpora.cleaning_report import READ

RUN, WITHIN = 8, 5
KINDS = ("equal", "within", "run")
ANCHOR = 10
"""Letters at the start of a sentence by which its places in a line are found."""


def conll_sentences(path: Path) -> Iterator[str]:
    """Yield the sentences of a file of tokens and tags, joined by spaces."""
    for block in re.split(r"\n[ \t\r]*\n", path.read_text("utf-8-sig")):
        tokens = [line.split()[0] for line in block.split("\n") if len(line.split()) > 1]
        if tokens:
            yield " ".join(tokens)


def plain_words(text: str) -> list[str]:
    """Return the words of a text as this search compares them."""
    plain = "".join(c for c in text if unicodedata.category(c) != "Cf")
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", plain).lower())
    spaced = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in plain)
    return spaced.split()


class Search:
    """Knows sentences, and looks at every place of a line for them.

    Args:
        sentences: Plain sentences, or tokens joined by spaces.
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        self.whole: set[str] = set()
        self.anchors: dict[str, set[str]] = {}
        self.runs: dict[tuple[str, ...], set[str]] = {}
        for words in filter(None, map(plain_words, sentences)):
            letters = "".join(words)
            self.whole.add(letters)
            if len(words) >= WITHIN and len(letters) >= ANCHOR:
                self.anchors.setdefault(letters[:ANCHOR], set()).add(letters)
            for at in range(len(words) - RUN + 1):
                self.runs.setdefault(tuple(words[at : at + RUN]), set()).add(letters)

    def find(self, line: str) -> dict[str, set[str]]:
        """Return the sentences found in a line, by `KINDS`; those without any are left out."""
        words = plain_words(line)
        letters = "".join(words)
        edges, at = {0}, 0
        for word in words:
            at += len(word)
            edges.add(at)
        found: dict[str, set[str]] = {}
        if letters in self.whole:
            found["equal"] = {letters}
        within = {
            sentence
            for at in range(len(letters) - ANCHOR + 1)
            for sentence in self.anchors.get(letters[at : at + ANCHOR], ())
            if letters.startswith(sentence, at) and at in edges and at + len(sentence) in edges
        }
        runs = {one for at in range(len(words) - RUN + 1) for one in self.runs.get(tuple(words[at : at + RUN]), ())}
        return {**found, **({"within": within} if within else {}), **({"run": runs} if runs else {})}


def count(search: Search, lines: Iterable[str]) -> tuple[Counter[str], set[str], list[str]]:
    """Return the lines found by kind, the sentences found, and some of the lines."""
    counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    sentences: set[str] = set()
    examples: list[str] = []
    for line in lines:
        found = search.find(line)
        counts.update(found.keys())
        sentences.update(*found.values())
        if found and len(examples) < 3:
            examples.append(f"{', '.join(found)}: {line[:160]}")
    return counts, sentences, examples


def planted(sentences: list[str], number: int, seed: int) -> list[str]:
    """Return lines that hold test sentences, spelt otherwise: whole, within other words, and eight words of them."""
    draw, long = random.Random(seed), [one for one in sentences if len(plain_words(one)) >= RUN]
    lines = []
    for _ in range(number):
        words = draw.choice(long).split()
        start = next(at for at in range(len(words), -1, -1) if len(plain_words(" ".join(words[at:]))) >= RUN)
        whole = unicodedata.normalize("NFD", " ".join(words)).upper().replace(" ,", ",")
        lines += [
            f"«{whole}»",
            f"xyzzy {' '.join(words)} plugh",
            f"xyzzy {' '.join(words[start:])} plugh",
        ]
    return lines


def test_sets(data: Path) -> dict[str, list[str]]:
    """Return the test sentences of MasakhaNER 1 and 2, by set and language."""
    files = sorted(data.glob("ner/masakhaner*/*/test.txt"))
    if not files:
        raise SystemExit(f"{data} has no ner/masakhaner*/<language>/test.txt")
    return {f"{file.parts[-3]}/{file.parts[-2]}": list(conll_sentences(file)) for file in files}


def judge(lines: list[str], extra: list[str], search: Search, evaluation: EvaluationSentences) -> dict[str, float]:
    """Search a text before the filter and after it, let both judge the planted lines, and show what is left."""
    counts, sentences, _ = count(search, lines)
    tally, start = Tally(), time.process_time()
    kept = list(decontaminate(lines, evaluation, tally))
    seconds = time.process_time() - start
    after, left, examples = count(search, kept)
    print(*(f"  left: {example}" for example in examples), sep="\n", end="\n" if examples else "")
    return {
        "lines": len(lines),
        "sentences": len(sentences),
        **counts,
        "dropped": len(lines) - len(kept),
        "left": len(left),
        **{f"{kind}_left": after[kind] for kind in KINDS},
        "planted": len(extra),
        "found": sum(bool(search.find(line)) for line in extra),
        "missed": sum(1 for _ in decontaminate(extra, evaluation, Tally())),
        "MB": tally.num_bytes[READ] / 1e6,
        "seconds": seconds,
    }


def show(name: str, row: Mapping[str, float]) -> None:
    """Print a row of the table."""
    numbers = [f"{row[column]:>12,.1f}" if column in ("MB", "seconds") else f"{row[column]:>12,}" for column in row]
    print(f"{name:5}{''.join(numbers)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with corpora/ and ner/masakhaner1, 2/")
    parser.add_argument("--languages", nargs="+", help="only these texts of corpora/")
    parser.add_argument("--plant", type=int, default=20, help="test sentences planted for each text, three ways each")
    args = parser.parse_args()
    sets = test_sets(args.data)
    everything = [sentence for own in sets.values() for sentence in own]
    search, evaluation = Search(everything), EvaluationSentences.of(sets)
    print(
        f"{len(sets)} test sets, {len(search.whole):,} different sentences; seconds are of one core, the filter alone"
    )
    total: Counter[str] = Counter()
    for seed, file in enumerate(sorted((args.data / "corpora").glob("*.txt"))):
        if args.languages and file.stem not in args.languages:
            continue
        lines = file.read_text("utf-8").removesuffix("\n").split("\n")
        row = judge(lines, planted(everything, args.plant, seed), search, evaluation)
        if not total:
            print(f"{'':5}{''.join(f'{name:>12}' for name in row)}")
        show(file.stem, row)
        total.update(row)
    if not total:
        raise SystemExit(f"{args.data} has no corpora/<language>.txt of the languages wanted")
    show("all", total)
    if total["left"] or total["missed"] or total["found"] < total["planted"]:
        raise SystemExit("something was left, or planted and not found")
    print("nothing is left, and nothing planted was missed")


if __name__ == "__main__":
    main()

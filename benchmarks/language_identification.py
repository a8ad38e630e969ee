"""Foreign lines found in text: how many of those planted are dropped, and how many of a language's own.

    python -m benchmarks.language_identification --data ../shared/data/corpora

A fastText model (character n-grams of 2 to 4) is trained on every other line of each language. Into the lines between
them, which it has not seen, lines of other languages are planted, 5 % of all. `LineRules` judges them as `hf-afro
prepare --language_id` does. Both halves come from the same sources, so the figures are better than on text from
elsewhere; and the text is as it was collected, so some of its "own" lines are foreign too. Needs the extra
`language_id`.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import fasttext

from hf_afro.corpora import FastTextIdentifier, LanguageCheck, LineRules, Tally, clean, read_corpora
from hf_afro.reports.tables import format_table

THRESHOLDS = (0.0, 0.5, 0.65, 0.9)


def distinct_lines(folder: Path, languages: list[str] | None, most: int, min_tokens: int) -> dict[str, list[str]]:
    """Return the distinct clean lines of each language, at most so many, evenly spaced."""
    lines = {}
    for code, source in read_corpora(folder, languages).items():
        own = list(clean(source, Tally(), min_tokens=min_tokens, drop_duplicates=True))
        step = max(1, len(own) // most)
        lines[code] = own[::step][:most]
    return lines


def train(lines: dict[str, list[str]], path: Path, epochs: int) -> float:
    """Train a fastText model on lines by language, save it, and return the seconds it took."""
    text = path.with_suffix(".txt")
    pairs = [f"__label__{code} {line}\n" for code, own in lines.items() for line in own]
    random.Random(0).shuffle(pairs)
    text.write_text("".join(pairs), "utf-8")
    began = time.monotonic()
    model = fasttext.train_supervised(
        str(text), minn=2, maxn=4, dim=32, lr=0.5, epoch=epochs, thread=1, bucket=200_000, verbose=0
    )
    model.save_model(str(path))
    return time.monotonic() - began


def planted(lines: dict[str, list[str]], code: str, share: float, seed: int) -> list[tuple[str, str]]:
    """Return lines of other languages with their language, as many as make up this share of the file."""
    draw = random.Random(f"{seed} {code}")
    own = set(lines[code])
    wanted = round(len(own) * share / (1 - share))
    others = [one for one in lines if one != code]
    chosen: dict[str, str] = {}
    while len(chosen) < wanted:
        other = draw.choice(others)
        line = draw.choice(lines[other])
        if line not in own:
            chosen[line] = other
    return [(line, other) for line, other in chosen.items()]


def main() -> None:
    """Train, plant, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with one file per language")
    parser.add_argument("--languages", nargs="+", help="only these; by default all")
    parser.add_argument("--most", type=int, default=8_000, help="lines of each language, in both halves")
    parser.add_argument("--min_tokens", type=int, default=6)
    parser.add_argument("--share", type=float, default=0.05, help="share of foreign lines")
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    lines = distinct_lines(args.data, args.languages, args.most, args.min_tokens)
    seen, unseen = ({code: own[half::2] for code, own in lines.items()} for half in (0, 1))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.bin"
        seconds = train(seen, path, args.epochs)
        print(
            f"trained on {sum(map(len, seen.values())):,} lines in {seconds:.0f} s, {path.stat().st_size / 1e6:.0f} MB"
        )
        identify = FastTextIdentifier(str(path))
        missed: Counter[str] = Counter()
        began, judged = time.monotonic(), 0
        rows = {threshold: [] for threshold in THRESHOLDS}
        for code, own in unseen.items():
            foreign = planted(unseen, code, args.share, seed=0)
            for threshold in THRESHOLDS:
                rules = LineRules(args.min_tokens, language_check=LanguageCheck(identify, threshold))
                kept_own = [verdict.reason is None for verdict in rules.judge(own, code)]
                kept_foreign = [verdict.reason is None for verdict in rules.judge([line for line, _ in foreign], code)]
                judged += len(own) + len(foreign)
                rows[threshold].append(
                    (code, len(own), len(foreign), kept_own.count(False), kept_foreign.count(False))
                )
                if threshold == 0.5:
                    pairs = zip(foreign, kept_foreign, strict=True)
                    missed.update(f"{other} in {code}" for (_, other), kept in pairs if kept)
        print(f"judged {judged / (time.monotonic() - began):,.0f} lines per second\n")
    for threshold, found in rows.items():
        table = [
            [code, own, foreign, f"{right / foreign:.1%}" if foreign else "-", f"{wrong / own:.2%}"]
            for code, own, foreign, wrong, right in found
        ]
        own, foreign, wrong, right = (sum(column) for column in list(zip(*found, strict=True))[1:])
        table.append(["all", own, foreign, f"{right / foreign:.1%}", f"{wrong / own:.2%}"])
        header = ["language", "own lines", "planted", "planted, dropped", "own, dropped"]
        print(f"threshold {threshold}\n{format_table(header, table)}\n")
    kept = ", ".join(f"{pair} {times}" for pair, times in missed.most_common(8))
    print(f"planted and kept at threshold 0.5: {kept or 'none'}")


if __name__ == "__main__":
    main()

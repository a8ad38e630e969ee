"""Join the runs of several seeds in folders of their own: DIR/SEED/MODEL, as two of the benchmarks write them.

    python -m benchmarks.seed_table runs/task_distillation --of teacher
    python -m benchmarks.seed_table runs/real/scores/amh+hau+swa+yor/ner --of B

Only models that have every seed asked for are shown. Intervals are over the sentences, each score being the mean over
the seeds; the spread is the standard deviation of the mean over languages from seed to seed. The last column is the
mean in percent of another model's, with a paired bootstrap interval: if 100 lies outside it, the two differ by more
than chance.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from pathlib import Path

from hf_afro.evaluation.predictions import PREDICTIONS, Predictions, read_predictions
from hf_afro.evaluation.significance import MEASURES, bootstrap_interval, score_of, share_kept
from hf_afro.reports.evaluation_report import EvalReport
from hf_afro.reports.tables import format_table
from hf_afro.tasks import kind_of


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--of", help="the model that the others are compared with; by default the first")
    parser.add_argument("--task", default="ner")
    parser.add_argument("--seeds", nargs="+", default=["1"])
    return parser.parse_args()


def joined(folders: list[Path], task: str) -> dict[str, Predictions]:
    """Return the predictions of all seeds by language."""
    found: dict[str, Predictions] = {}
    for path in sorted((folders[0] / PREDICTIONS).glob(f"{task}-*.jsonl")):
        several = [read_predictions(folder / PREDICTIONS / path.name) for folder in folders]
        runs = {seed: own for one in several for seed, own in one.predicted.items()}
        found[path.stem.removeprefix(f"{task}-")] = dataclasses.replace(several[0], predicted=runs)
    return found


def percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    args = parse()
    metric = kind_of(args.task).main_metric
    names = sorted({path.parent.name for path in args.folder.glob("*/*/evaluation_report.json")})
    whole = [
        name
        for name in names
        if all((args.folder / seed / name / "evaluation_report.json").is_file() for seed in args.seeds)
    ]
    if not whole or (args.of or whole[0]) not in whole:
        raise SystemExit(f"models with seeds {', '.join(args.seeds)}: {', '.join(whole) or 'none'}; --of is {args.of}")
    found = {name: joined([args.folder / seed / name for seed in args.seeds], args.task) for name in whole}
    reference = found[args.of or whole[0]]
    languages = list(reference)
    for name in [name for name, own in found.items() if list(own) != languages]:
        print(f"{name} is left out: it has {', '.join(found.pop(name)) or 'no language'}")
    rows: list[list[object]] = []
    for name, own in found.items():
        counts = {code: own[code].counts(args.task) for code in languages}
        intervals = [bootstrap_interval(counts[code], MEASURES[metric]) for code in languages]
        runs = zip(*counts.values(), strict=True)
        by_seed = [
            100 * statistics.fmean(score_of(own_counts, MEASURES[metric]) for own_counts in one) for one in runs
        ]
        kept = share_kept([(own[code], reference[code]) for code in languages], args.task)
        size = EvalReport.load(args.folder / args.seeds[0] / name).model["parameters"]
        rows.append(
            [
                name,
                f"{size / 1e6:.1f} M",
                *(percent(one.score, one.low, one.high) for one in intervals),
                f"{statistics.fmean(by_seed):.1f}",
                f"{statistics.stdev(by_seed):.1f}" if len(by_seed) > 1 else "-",
                "-" if kept is None else percent(kept.score, kept.low, kept.high),
            ]
        )
    print(f"{args.task}, {metric}, seeds {', '.join(args.seeds)}")
    print(format_table(["model", "size", *languages, "mean", "spread", f"% of {args.of or whole[0]}"], rows))


if __name__ == "__main__":
    main()

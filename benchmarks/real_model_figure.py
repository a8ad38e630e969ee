"""Draw entity F1 against size: the ladder of `benchmarks.real_model`, with published models beside it.

    python -m benchmarks.real_model_figure runs/real results/real-model.svg

Each point is the mean over the languages that the published models have figures for, and over the seeds there are.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from hf_afro.reports.evaluation_report import REPORT_FILE, load_reports

PUBLISHED = {  # MasakhaNER 1, one model per language: Alabi et al. 2022, and AfroXLMR's cards
    "Multilingual-MiniLM": (
        118e6,
        {"amh": 69.5, "hau": 74.5, "ibo": 81.9, "kin": 68.6, "pcm": 83.2, "swa": 86.3, "yor": 72.0},
    ),
    "afro-xlmr-mini": (
        117e6,
        {"amh": 69.7, "hau": 87.7, "ibo": 83.5, "kin": 74.1, "pcm": 85.5, "swa": 86.0, "yor": 75.1},
    ),
    "afro-xlmr-small": (
        140e6,
        {"amh": 70.1, "hau": 91.4, "ibo": 86.6, "kin": 77.5, "pcm": 89.0, "swa": 88.7, "yor": 81.3},
    ),
    "afro-xlmr-base": (
        278e6,
        {"amh": 76.1, "hau": 91.2, "ibo": 87.4, "kin": 78.0, "pcm": 89.6, "swa": 88.6, "yor": 82.1},
    ),
}
OURS, THEIRS = "#0072b2", "#57606a"


def ladder(scores_folder: Path, languages: list[str]) -> dict[str, tuple[float, float]]:
    """Return parameters and mean F1 in percent of each rung, from the reports of its seeds."""
    means, sizes = defaultdict(list), {}
    for path in sorted(scores_folder.glob(f"*/*/{REPORT_FILE}")):
        report = load_reports([str(path.parent)])[0].report
        scores = {score.language: score.mean for score in report.select(metric="entity_f1")}
        means[report.name].append(100 * fmean(scores[code] for code in languages))
        sizes[report.name] = float(report.model["parameters"])
    return {name: (sizes[name], fmean(values)) for name, values in means.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="output folder of benchmarks.real_model")
    parser.add_argument("figure", type=Path, help="the SVG to write")
    parser.add_argument("--languages", nargs="+", default=["amh", "hau", "swa", "yor"])
    parser.add_argument("--leave_out", nargs="*", default=["F-long", "D-H"], help="rungs that are not drawn")
    args = parser.parse_args()
    languages = [code for code in args.languages if all(code in scores for _, scores in PUBLISHED.values())]
    found = ladder(args.folder / "scores" / "+".join(args.languages) / "ner", languages)
    ours = {name: point for name, point in found.items() if name not in args.leave_out}
    theirs = {name: (size, fmean(scores[code] for code in languages)) for name, (size, scores) in PUBLISHED.items()}
    axes = Figure(figsize=(6, 3.6), layout="constrained").add_subplot()
    axes.set_xscale("log")
    for points, colour, mark in ((ours, OURS, "o"), (theirs, THEIRS, "s")):
        for name, (size, score) in points.items():
            axes.plot(size, score, mark, color=colour, fillstyle="full" if colour == OURS else "none")
            axes.annotate(name, (size, score), (6, -3), textcoords="offset points", color=colour, fontsize=8)
    sizes = [size for size, _ in (*ours.values(), *theirs.values())]
    axes.set_xlim(min(sizes) / 1.3, max(sizes) * 2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlabel("parameters")
    axes.set_ylabel(f"entity F1, mean of {', '.join(languages)}")
    axes.grid(color="#d8dee4")
    axes.spines[["top", "right"]].set_visible(False)
    axes.figure.savefig(args.figure, metadata={"Date": None})


if __name__ == "__main__":
    main()

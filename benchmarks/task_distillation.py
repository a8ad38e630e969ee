r"""Measure what a student keeps of its fine-tuned teacher: from labels, logits, and logits of unlabelled text.

    python -m benchmarks.task_distillation --model pruned --data masakhaner1 --unlabelled texts --languages swa \
        --seeds 1 2 3 --output_dir runs/task_distillation

Five models per seed, the students made of every second layer of the teacher: the teacher; labels alone; labels alone
for as many steps as the last takes; labels and logits of the training set; and these with logits of unlabelled text,
from which dev and test sentences are taken out. Each row is a report in a folder of its own, so an interrupted
benchmark resumes. `--model` is a folder or a name on the Hub.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from hf_afro.corpora import read_corpora
from hf_afro.evaluation import FineTuningSettings, evaluate_model, load_task
from hf_afro.evaluation.comparison import difference_tables, kept_tables
from hf_afro.evaluation.distillation import clean_unlabelled
from hf_afro.reports.evaluation_report import REPORT_FILE, load_reports
from hf_afro.reports.score_tables import comparison_tables

TEACHER = "teacher"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the encoder that becomes the teacher")
    parser.add_argument("--task", default="ner")
    parser.add_argument("--data", required=True, help="folder of the set, with one folder per language")
    parser.add_argument("--languages", nargs="+", default=["swa"])
    parser.add_argument("--unlabelled", required=True, help="folder with one text file per language")
    parser.add_argument("--max_unlabelled", type=int, default=6000, help="lines per language")
    parser.add_argument("--layers", type=int, default=6, help="layers of the students")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--max_length", type=int, default=164)
    parser.add_argument("--teacher_learning_rate", type=float, default=1e-4)
    parser.add_argument("--learning_rate", type=float, default=2e-4, help="of the students")
    parser.add_argument("--joint", action="store_true", help="one model for all languages")
    parser.add_argument("--max_train", type=int, help="labelled examples per language")
    parser.add_argument("--bf16", action="store_true", help="mixed precision in training")
    parser.add_argument("--output_dir", required=True)
    return parser.parse_args()


def main() -> None:
    args = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    data = [load_task(args.task, args.data, language) for language in args.languages]
    text = read_corpora(args.unlabelled, args.languages)
    settings = FineTuningSettings(
        epochs=args.epochs,
        batch_size=args.batch_size,
        max_length=args.max_length,
        learning_rate=args.learning_rate,
        max_unlabelled=args.max_unlabelled,
        max_train=args.max_train,
        bf16=args.bf16,
    )
    labelled = sum(min(len(one.splits["train"]), args.max_train or 10**9) for one in data)
    lines = {code: len(own) for code, own in clean_unlabelled(text, data).train.items()}
    more = sum(min(count, args.max_unlabelled) for count in lines.values())
    as_long = round(args.epochs * (labelled + more) / labelled)
    print(f"{labelled:,} labelled and {more:,} unlabelled texts; labels alone for as many steps: {as_long} epochs")
    rows: dict[str, tuple[FineTuningSettings, bool]] = {
        "labels": (settings.replace(logit_weight=0.0), False),
        "logits": (settings, False),
        "unlabelled": (settings, True),
        "labels, as many steps": (settings.replace(logit_weight=0.0, epochs=as_long), False),
    }
    out = Path(args.output_dir)
    for seed in args.seeds:
        common: dict[str, Any] = {"seeds": [seed], "joint": args.joint}
        teacher = out / str(seed) / TEACHER
        if not (teacher / REPORT_FILE).is_file():
            own = settings.replace(learning_rate=args.teacher_learning_rate)
            evaluate_model(
                args.model, None, data, name=TEACHER, output_dir=teacher, settings=own, save_models=True, **common
            )
        for name, (own, with_text) in rows.items():
            folder = out / str(seed) / name.replace(", ", "-").replace(" ", "-")
            if not (folder / REPORT_FILE).is_file():
                report = evaluate_model(
                    None,
                    None,
                    data,
                    name=name,
                    output_dir=folder,
                    settings=own,
                    teacher=teacher,
                    student_layers=args.layers,
                    unlabelled=text if with_text else None,
                    **common,
                )
                print(
                    seed,
                    name,
                    {
                        score.language: round(100 * score.mean, 2)
                        for score in report.select(metric=data[0].kind.main_metric)
                    },
                    flush=True,
                )
        loaded = load_reports([str(path.parent) for path in sorted((out / str(seed)).glob(f"*/{REPORT_FILE}"))])
        print(f"seed {seed}")
        for table in (
            *comparison_tables([one.report for one in loaded]),
            *kept_tables(loaded),
            *difference_tables(loaded),
        ):
            print(f"{table}\n", flush=True)


if __name__ == "__main__":
    main()

r"""Make a small African encoder from a real one, and measure every step of the way.

    python -m benchmarks.real_model --model intfloat/multilingual-e5-small --data DATA --output_dir runs/real B D F H

DATA has corpora/, ner/masakhaner1/, topic/masakhanews/, sentiment/afrisenti/ and parallel/mafand/. Each rung is an
encoder, made once by the commands that are printed, and fine-tuned per task and seed:

    A       the model as given
    B       A cut to 30,000 tokens; fine-tuned it is the teacher of G to I and K
    C       B adapted by MAFT
    D       every second layer of B: 6 of 12
    E       D distilled from B by relations
    F       D distilled from B by relations, hidden states and sentence vectors
    G       F, fine-tuned with the teacher's logits on the labelled text
    H       G, and its logits on unlabelled text
    I       as H, with 4 layers and word embeddings of 128: a tenth of A
    J       D adapted by MAFT for as long as F took, fine-tuned on labels for as many steps as H
    K       the shape of D from random weights, taught as F and H
    F-long  F fine-tuned on labels for as many steps as H
    D-H     D fine-tuned as H: what relations, hidden states and sentence vectors add to it

A rung that is finished is not made again, and an interrupted one resumes. `--tables` prints the tables of all that is
finished.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from hf_afro import build_student
from hf_afro.cli.main import main as hf_afro
from hf_afro.corpora import read_corpora
from hf_afro.evaluation import FineTuningSettings, TaskData, evaluate_model, load_task
from hf_afro.evaluation.comparison import difference_tables, kept_tables
from hf_afro.reports.evaluation_report import REPORT_FILE, load_reports
from hf_afro.reports.score_tables import comparison_tables, interval_tables, size_table

SETS = {"ner": "ner/masakhaner1", "topic": "topic/masakhanews", "sentiment": "sentiment/afrisenti"}
LANGUAGES = {
    "ner": "amh,hau,ibo,kin,luo,pcm,swa,yor",
    "topic": "amh,hau,ibo,pcm,swa,yor",
    "sentiment": "amh,hau,ibo,kin,pcm,swa,yor",
}
TEXT_LANGUAGES = "amh,eng,hau,ibo,kin,pcm,swa,yor"
BUDGET = 30_000
UNLABELLED = 3000  # lines per language
EPOCHS = 5
TRIAL_STEPS = 50  # of MAFT and of distillation, one after the other, to see how long each takes

SHARED = (
    "--max_length 64 --no_packing --language_alpha 0.3 --per_device_train_batch_size 32 --weight_decay 0.01 "
    "--logging_steps 50 --save_steps 200 --save_total_limit 1 --no_checkpoints --seed 0"
).split()
STATES = "--hidden_weight 1 --pooled_weight 1".split()
STEPS = 2000
DISTIL = f"--max_steps {STEPS} --learning_rate 3e-4 --warmup_steps 100".split()
ADAPT = f"--max_steps {STEPS} --learning_rate 1e-4 --warmup_steps 100".split()


@dataclass(frozen=True)
class Rung:
    """A model of the ladder.

    Attributes:
        encoder: The folder of its encoder.
        learning_rate: Of fine-tuning, chosen on dev of two languages.
        taught: Whether it learns from the logits of B, fine-tuned with the same seed.
        unlabelled: Whether it learns on unlabelled text too.
        as_long: Whether it is fine-tuned on labels for as many steps as with unlabelled text.
    """

    encoder: str
    learning_rate: float = 2e-4
    taught: bool = False
    unlabelled: bool = False
    as_long: bool = False


RUNGS = {
    "A": Rung("A", learning_rate=1e-4),
    "B": Rung("B", learning_rate=1e-4),
    "C": Rung("C", learning_rate=1e-4),
    "D": Rung("D"),
    "E": Rung("E"),
    "F": Rung("F"),
    "G": Rung("F", taught=True),
    "H": Rung("F", taught=True, unlabelled=True),
    "I": Rung("I", taught=True, unlabelled=True),
    "J": Rung("J", as_long=True),
    "K": Rung("K", taught=True, unlabelled=True),
    "F-long": Rung("F", as_long=True),
    "D-H": Rung("D", taught=True, unlabelled=True),
}
TEACHER = "B"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rungs", nargs="*", metavar="RUNG", help=", ".join(RUNGS))
    parser.add_argument("--model", default="intfloat/multilingual-e5-small", help="a folder, or a name on the Hub")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=["ner"], choices=list(SETS))
    parser.add_argument("--languages", nargs="+", default=["amh", "hau", "swa", "yor"], help="of fine-tuning, jointly")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--encoders_only", action="store_true", help="make the encoders and stop")
    parser.add_argument("--save_models", action="store_true", help="keep the fine-tuned models; B is always kept")
    parser.add_argument("--tables", action="store_true", help="print the tables of what is finished")
    parser.add_argument("--bf16", action="store_true", help="mixed precision in all training")
    parser.add_argument("--output_dir", type=Path, required=True)
    args = parser.parse_args()
    if unknown := [name for name in args.rungs if name not in RUNGS]:
        parser.error(f"unknown rungs {', '.join(unknown)}; expected some of {', '.join(RUNGS)}")
    return args


def steps_per_second(folder: Path) -> float:
    """Return how fast an encoder was trained."""
    return float(json.loads((folder / "metrics.json").read_text("utf-8"))["train"]["train_steps_per_second"])


class Ladder:
    """The folders of one output folder, and the commands and calls that make them."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.out: Path = args.output_dir
        self.precision = ["--bf16", *([] if torch.accelerator.is_available() else ["--use_cpu"])] if args.bf16 else []

    def command(self, folder: str, *words: str | Path) -> Path:
        """Run `hf-afro` with these words and --output_dir, unless the folder is there."""
        output = self.out / folder
        if not output.is_dir():
            line = [*map(str, words), "--output_dir", str(output)]
            print(f"hf-afro {shlex.join(line)}", flush=True)
            if hf_afro(line):
                raise SystemExit(1)
        return output

    def text(self) -> Path:
        """Return text without evaluation sentences."""
        data = [f"{task}={self.args.data / place}" for task, place in SETS.items()]
        languages = [f"{task}={codes}" for task, codes in LANGUAGES.items()]
        tasks = self.command("tasks", "tasks", "--data", *data, "--languages", *languages)
        return self.command(
            "text", "prepare", "--text", self.args.data / "corpora", "--languages", TEXT_LANGUAGES,
            "--exclude", tasks, self.args.data / "parallel" / "mafand", "--drop_duplicates", "--eval_lines", "100",
        )  # fmt: skip

    @property
    def adapt(self) -> list[str]:
        """The words of MAFT."""
        return ["maft", "--text", str(self.text()), *SHARED, *ADAPT, *self.precision]

    def encoder(self, name: str) -> Path | str:
        """Return the folder of an encoder, made with all that it is made from."""
        if name == "A":
            return self.args.model
        out = self.out / name
        if out.is_dir():
            return out
        text = ["--text", str(self.text())]
        distil = ["distill", *text, *SHARED, *DISTIL, *self.precision]
        if name == "B":
            counts = self.command("counts", "count", *text, "--tokenizer", self.args.model)
            return self.command(name, "prune", "--model", self.args.model, "--counts", counts, "--budget", str(BUDGET))
        base = self.encoder("B")
        if name == "C":
            return self.command(name, *self.adapt, "--model", base)
        if name == "D":
            return self.built(name, base, num_hidden_layers=6)
        if name == "E":
            return self.command(name, *distil, "--teacher", base, "--student_model", self.encoder("D"))
        if name == "F":
            return self.command(name, *distil, *STATES, "--teacher", base, "--student_model", self.encoder("D"))
        if name == "I":
            student = f"layers=4,hidden_size={AutoConfig.from_pretrained(base).hidden_size},embedding_size=128"
            return self.command(
                name, *distil, *STATES, "--teacher", base, "--student", student, "--counts", self.out / "counts"
            )
        if name == "J":
            trial = ["--max_steps", str(TRIAL_STEPS)]
            adapted = self.command("J-trial", *self.adapt, "--model", self.encoder("D"), *trial)
            distilled = self.command(
                "F-trial", *distil, *STATES, "--teacher", base, "--student_model", self.encoder("D"), *trial
            )
            steps = round(STEPS * steps_per_second(adapted) / steps_per_second(distilled))
            return self.command(name, *self.adapt, "--model", self.encoder("D"), "--max_steps", str(steps))
        random = self.random("D-random", self.encoder("D"))
        return self.command(name, *distil, *STATES, "--teacher", base, "--student_model", random)

    def built(self, name: str, teacher: Path, **sizes: int) -> Path:
        """Return a student of a teacher's layers that is not trained."""
        model, tokenizer = AutoModel.from_pretrained(teacher), AutoTokenizer.from_pretrained(teacher)
        build_student(model, tokenizer=tokenizer, **sizes).save_pretrained(self.out / name)
        tokenizer.save_pretrained(self.out / name)
        return self.out / name

    def random(self, name: str, shape: Path) -> Path:
        """Return a model of the shape of another, with random weights."""
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.from_pretrained(shape)).save_pretrained(self.out / name)
        AutoTokenizer.from_pretrained(shape).save_pretrained(self.out / name)
        return self.out / name

    def finetuned(self, name: str, task: str, seed: int) -> Path:
        """Return the folder with the report of a rung on a task, with its predictions."""
        rung = RUNGS[name]
        folder = self.out / "scores" / "+".join(self.args.languages) / task / str(seed) / name
        if (folder / REPORT_FILE).is_file():
            return folder
        encoder = self.encoder(rung.encoder)
        teacher = self.finetuned(TEACHER, task, seed) if rung.taught else None
        data = [load_task(task, self.args.data / SETS[task], language) for language in self.args.languages]
        settings = FineTuningSettings(
            learning_rate=rung.learning_rate,
            epochs=self.epochs(data) if rung.as_long else EPOCHS,
            max_unlabelled=UNLABELLED,
            bf16=self.args.bf16,
        )
        unlabelled = None
        if rung.unlabelled:
            unlabelled = read_corpora(self.text() / "train", self.args.languages)
        report = evaluate_model(
            str(encoder),
            None,
            data,
            name=name,
            output_dir=folder,
            settings=settings,
            seeds=[seed],
            joint=len(data) > 1,
            teacher=teacher,
            unlabelled=unlabelled,
            save_models=self.args.save_models or name == TEACHER,
        )
        scores = report.select(metric=data[0].kind.main_metric)
        print(task, seed, name, {one.language: round(100 * one.mean, 2) for one in scores}, flush=True)
        return folder

    def epochs(self, data: Sequence[TaskData]) -> int:
        """Return the epochs on labels that take as many steps as those on labels and unlabelled text."""
        labelled = sum(len(one.splits["train"]) for one in data)
        return math.ceil(EPOCHS * (labelled + UNLABELLED * len(data)) / labelled)

    def tables(self) -> None:
        """Print what is finished: sizes, scores, intervals, shares of the teacher kept, and differences from B."""
        for group in sorted((self.out / "scores").glob("*/*")):
            order = {name: place for place, name in enumerate(RUNGS)}
            found = sorted(group.glob(f"*/*/{REPORT_FILE}"), key=lambda path: (order[path.parent.name], str(path)))
            loaded = load_reports([str(path.parent) for path in found])
            reports = [one.report for one in loaded]
            for table in (
                size_table(reports),
                *comparison_tables(reports),
                *interval_tables(reports),
                *kept_tables(loaded),
                *difference_tables(loaded),
            ):
                print(f"{table}\n")


def main() -> None:
    args = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    ladder = Ladder(args)
    for name in dict.fromkeys(RUNGS[name].encoder for name in args.rungs):
        ladder.encoder(name)
    if not args.encoders_only:
        for seed in args.seeds:
            for task in args.tasks:
                for name in args.rungs:
                    ladder.finetuned(name, task, seed)
    if args.tables:
        ladder.tables()


if __name__ == "__main__":
    main()

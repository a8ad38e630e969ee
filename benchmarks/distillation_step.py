"""A whole distillation step, forward and backward: against its two forwards alone, and with attention maps requested.

python -m benchmarks.distillation_step [--small] [--shapes 8x256 4x512] [--repeats 3] [--memory]

XLM-R-base's shape to 6 layers of width 384, 48 relation heads, rows without padding. The sides:

  maps requested: what implementations without hooks do: both models run to their end in eager attention, asked for
      every layer's attention maps, and the relation loss in its plain form
  two forwards alone: teacher forward, student forward and backward, both by SDPA, from the student's last hidden state
      and without any loss of relations; the teacher runs to its end
  ours: `compute_loss` of the trainer and its backward, relations alone
  ours, all states: with hidden states and sentence vectors too, through a projection; both models run to their end

--memory measures each side in a process of its own and prints the most memory it held above the models.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable

import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from benchmarks.timing import in_turn, peak_memory
from hf_afro.losses import relation_loss
from hf_afro.training import RelationDistillTrainer, RelationDistillTrainingArguments
from hf_afro.training.capture import RELATIONS, StudentCapture, TeacherCapture

MAPS, ALONE, OURS, STATES = "maps requested", "two forwards alone", "ours", "ours, all states"


def models(small: bool) -> tuple[XLMRobertaModel, XLMRobertaModel]:
    """Return an untrained teacher and a student."""
    common = {"vocab_size": 1000 if small else 250_002, "max_position_embeddings": 514, "add_pooling_layer": False}
    common |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    of_teacher = {"num_hidden_layers": 2, "hidden_size": 48, "intermediate_size": 96} if small else {}
    of_student = (
        {"num_hidden_layers": 1, "hidden_size": 24, "intermediate_size": 48, "num_attention_heads": 12}
        if small
        else {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536}
    )
    teacher, student = (
        XLMRobertaModel(XLMRobertaConfig(**common, **own), add_pooling_layer=False) for own in (of_teacher, of_student)
    )
    return teacher.eval(), student.train()


def sides(small: bool, batch: int, length: int) -> dict[str, Callable[[], object]]:
    """Return the four ways of a step."""
    teacher, student = models(small)
    heads = 12 if small else 48
    ids = torch.randint(5, 1000, (batch, length), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with tempfile.TemporaryDirectory() as folder:
        common = {"output_dir": folder, "use_cpu": True, "num_relation_heads": heads, "packing": False}
        trainer, of_states = (
            RelationDistillTrainer(student, teacher, RelationDistillTrainingArguments(**common, **terms))
            for terms in ({}, {"hidden_weight": 1.0, "pooled_weight": 1.0})
        )
    depth = teacher.config.num_hidden_layers
    taught = TeacherCapture(teacher, [depth], [depth])  # the last hidden states: it runs to its end
    learnt = StudentCapture(student, [student.config.num_hidden_layers])

    def ours() -> None:
        student.zero_grad()
        trainer.compute_loss(student, inputs).backward()

    def all_states() -> None:
        student.zero_grad()
        of_states.compute_loss(student, inputs).backward()

    def alone() -> None:
        student.zero_grad()
        with torch.no_grad():
            teacher(**inputs)
        student(**inputs).last_hidden_state.sum().backward()

    def maps_requested() -> None:
        student.zero_grad()
        for model in (teacher, student):
            model.set_attn_implementation("eager")
        asked = {**inputs, "output_attentions": True}
        of_teacher, of_student = *taught(**asked).values(), *learnt(student, **asked)["vectors"].values()
        losses = [
            relation_loss(of_teacher[one], of_student[one], inputs["attention_mask"], heads, "reference")
            for one in RELATIONS
        ]
        torch.stack(losses).sum().backward()
        for model in (teacher, student):
            model.set_attn_implementation("sdpa")

    return {MAPS: maps_requested, ALONE: alone, OURS: ours, STATES: all_states}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny models, one repeat: only shows that it runs")
    parser.add_argument("--shapes", nargs="*", default=["8x256", "4x512"], help="rows x tokens")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the median is taken")
    parser.add_argument("--memory", action="store_true", help="peak memory of each side too")
    one_side = (MAPS, ALONE, OURS, STATES)
    parser.add_argument("--only", choices=one_side, help="run one side once and print its peak memory")
    args = parser.parse_args()
    for shape in ["2x16"] if args.small else args.shapes:
        batch, length = map(int, shape.split("x"))
        ways = sides(args.small, batch, length)
        if args.only:
            before = peak_memory()
            ways[args.only]()
            print(peak_memory() - before)
            continue
        medians = in_turn(ways, 1 if args.small else args.repeats)
        print(f"{batch} x {length}: XLM-R-base to 6x384, forward and backward")
        for name, seconds in medians.items():
            memory = f"  {_memory(args.small, shape, name) / 1e9:6.2f} GB more" if args.memory else ""
            against = (
                f"{seconds / medians[ALONE]:5.2f} of alone  {seconds / medians[OURS]:5.2f} of ours  "
                f"{medians[MAPS] / seconds:5.2f}x faster than maps"
            )
            print(f"  {name:20} {seconds:8.3f} s  {against}{memory}", flush=True)


def _memory(small: bool, shape: str, side: str) -> int:
    """Return the most bytes that a side held above what was there before it, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.distillation_step", "--shapes", shape, "--only", side]
    if small:
        command.append("--small")
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


if __name__ == "__main__":
    main()

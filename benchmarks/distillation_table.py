"""Every teacher family to two students: vectors against those from the weights, 20 steps, and what is saved.

python -m benchmarks.distillation_table [--steps 20] [--teachers bert albert ...]

A line a pair: how far the captured vectors of teacher and student are at most from those worked out by hand from the
weights, relative to the largest; the loss at the first step and as the mean of the last three; whether the checkpoint
holds the student's tensors and no other, and whether it loads as the plain student, without this trainer, with the
same weights. The models are small and untrained, the rows are drawn.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from safetensors import safe_open
from transformers import AutoModelForMaskedLM, PreTrainedModel, PrinterCallback
from transformers.utils import logging

from hf_afro.families import depth_of
from hf_afro.training import RelationDistillTrainer, RelationDistillTrainingArguments
from hf_afro.training.capture import RELATIONS, StudentCapture, TeacherCapture
from tests.tiny_families import TINY, VOCABULARY, tiny
from tests.training.by_hand import by_hand

STUDENTS = ("xlm-roberta", "afro-student, factorised")
_STUDENT_SIZES = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "initializer_range": 0.1}


def batch(seed: int) -> dict[str, torch.Tensor]:
    """Two rows of which one is padded."""
    ids = torch.randint(4, VOCABULARY, (2, 14), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def furthest(model: PreTrainedModel, capture: TeacherCapture | StudentCapture) -> float:
    """Return how far any captured vector is from the one worked out by hand, relative to the largest."""
    inputs = batch(7)
    found = capture(**inputs) if isinstance(capture, TeacherCapture) else capture(model, **inputs)["vectors"]
    worst = 0.0
    for layer, vectors in found.items():
        expected = by_hand(model, layer, inputs)
        for relation in RELATIONS:
            distance = (vectors[relation] - expected[relation]).abs().max() / expected[relation].abs().max()
            worst = max(worst, distance.item())
    return worst


def pair(teacher_name: str, student_name: str, steps: int, folder: Path) -> tuple[float, float, float, bool, bool]:
    """Distil one student from one teacher; return what the table says of it."""
    # Weights large enough that relations say something; ModernBERT has a rule of its own.
    wide = {} if TINY[teacher_name]().config.model_type == "modernbert" else {"initializer_range": 0.1}
    teacher = tiny(teacher_name, **wide)
    student = tiny(student_name, seed=1, **_STUDENT_SIZES)
    rows = torch.randint(4, VOCABULARY, (64, 24), generator=torch.Generator().manual_seed(1)).tolist()
    args = RelationDistillTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=8,
        learning_rate=5e-3,
        logging_steps=1,
        save_steps=steps,
        max_length=24,
        use_cpu=True,
        disable_tqdm=True,
        teacher_layer=depth_of(teacher),
    )
    data = {"swa": Dataset.from_dict({"input_ids": rows})}
    trainer = RelationDistillTrainer(student, teacher, args, train_dataset=data)
    trainer.remove_callback(PrinterCallback)
    off = max(
        furthest(teacher, TeacherCapture(teacher, range(1, depth_of(teacher) + 1))),
        furthest(student.eval(), trainer.terms.student_capture),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "grad_norm" in entry]
    saved = folder / f"checkpoint-{steps}"
    with safe_open(saved / "model.safetensors", "pt") as tensors:
        names = set(tensors.keys())
    own = tiny(student_name, seed=2, **_STUDENT_SIZES).state_dict()
    tied = {"lm_head.decoder.weight", "lm_head.decoder.bias"}
    loaded, info = AutoModelForMaskedLM.from_pretrained(saved, output_loading_info=True)
    same = all(torch.equal(value, student.state_dict()[name]) for name, value in loaded.state_dict().items())
    loads = type(loaded) is type(student) and same and not info["missing_keys"] and not info["unexpected_keys"]
    return off, losses[0], sum(losses[-3:]) / 3, names == set(own) - tied, loads


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="three teachers and five steps: only shows that it runs")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--teachers", nargs="*", default=list(TINY), choices=list(TINY), help="default: all")
    args = parser.parse_args()
    logging.disable_progress_bar()
    steps = 5 if args.small else args.steps
    print(f"| teacher | student | vectors off by | loss, first | last three of {steps} | only student saved | loads |")
    print("|---|---|---|---|---|---|---|")
    failed = 0
    for teacher in args.teachers[:3] if args.small else args.teachers:
        for student in STUDENTS:
            with tempfile.TemporaryDirectory() as folder:
                off, first, last, only, loads = pair(teacher, student, steps, Path(folder))
            right = off < 1e-5 and (last < first or args.small) and only and loads
            failed += not right
            said = [f"{off:.1e}", f"{first:.4f}", f"{last:.4f}", "yes" if only else "NO", "yes" if loads else "NO"]
            print(f"| {teacher} | {student} | {' | '.join(said)} |", flush=True)
    print(f"{failed} of the pairs fail" if failed else "every pair holds")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

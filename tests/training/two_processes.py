"""Started by torchrun with two processes: trains both trainers on splits of one global batch and writes each step."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from hf_afro.training import leave_process_group
from tests.training.recipes import checksum, distill_trainer, maft_trainer, steps_of, teacher_of, uneven_sentences

# Three terms with two counts: sequences, and masked tokens.
HYBRID = {"objective": "hybrid", "mlm_weight": 0.5}


def main(folder: Path) -> None:
    """Train from the model in `folder`, and write `steps.json` there."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder)
    held_out = uneven_sentences()
    found = {}
    for accumulation in (1, 4):
        split = {
            "processes": 2,
            "accumulation": accumulation,
            "eval_dataset": held_out,
            "per_device_eval_batch_size": 2,
        }
        trainers = {
            "maft": maft_trainer(copy.deepcopy(model), tokenizer, folder / "maft", **split),
            "distill": distill_trainer(teacher_of(tokenizer), tokenizer, folder / "distill", **split),
            "hybrid": distill_trainer(teacher_of(tokenizer), tokenizer, folder / "hybrid", **HYBRID, **split),
        }
        for name, trainer in trainers.items():
            # Several ways of starting two processes are silently one (and the comparison would then be empty).
            assert trainer.args.world_size == 2, trainer.args.world_size
            assert trainer.args.distributed_state.distributed_type.value == "MULTI_CPU"
            evaluation = trainer.evaluate()
            steps = steps_of(trainer)
            checksums = [None, None]
            torch.distributed.all_gather_object(checksums, checksum(trainer.model))
            found[f"{name} {accumulation}"] = {"steps": steps, "evaluation": evaluation, "checksums": checksums}
    if trainers["maft"].is_world_process_zero():
        (folder / "steps.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_process_group()

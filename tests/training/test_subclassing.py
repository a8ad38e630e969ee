"""A trainer is subclassed as Hugging Face's are: another loss, a callback, a collator of one's own, many processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, XLMRobertaForMaskedLM

from hf_afro import MAFTTrainer, MAFTTrainingArguments
from tests.conftest import tiny_config

SCRIPT = Path(__file__).with_name("subclassed.py")


def test_under_accelerate_launch_with_two_processes(tokenizer, tmp_path):
    torch.manual_seed(0)
    XLMRobertaForMaskedLM(tiny_config(len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
    command = [sys.executable, *launch.split(), "--dynamo_backend", "no", "--main_process_port", "0", str(SCRIPT)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(SCRIPT.parents[2]),
        "CUDA_VISIBLE_DEVICES": "",
    }
    run = subprocess.run([*command, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    whole, halved = seen["MAFTTrainer"], seen["Halved"]
    assert len(whole["losses"]) == len(halved["losses"]) == 2
    # The first step starts at the same weights.
    assert halved["losses"][0] == pytest.approx(whole["losses"][0] / 2, rel=1e-4)
    assert halved["labelled"] > 0
    assert halved["masks"] == 0


def test_a_collator_that_loses_the_places_of_its_samples_is_told_how_to_keep_them(tokenizer, tmp_path):
    trainer = MAFTTrainer(
        model=XLMRobertaForMaskedLM(tiny_config(len(tokenizer))),
        args=MAFTTrainingArguments(output_dir=str(tmp_path), max_steps=1, max_length=16, packing=False),
        train_dataset={"swa": Dataset.from_dict({"text": ["Mvua kubwa"] * 4})},
        processing_class=tokenizer,
        data_collator=lambda samples: DataCollatorWithPadding(tokenizer)(
            [{"input_ids": sample["input_ids"]} for sample in samples]
        ),
    )
    with pytest.raises(ValueError, match=r"batches lack language, pass_index, sample_id; .*keep_place=True"):
        trainer.train()

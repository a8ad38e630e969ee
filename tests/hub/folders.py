"""Folders as trainers and commands write them, including files that must not be published."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.hub.server import Hub

CARD = "---\nlicense: apache-2.0\nlanguage:\n- sw\n---\n# A model\n"


def small_model(folder: Path, *, shards: int = 1, seed: int = 0) -> Path:
    """Write the files of a model without building one: configuration, weights, tokenizer, card."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    names = [f"model-{shard + 1:05d}-of-{shards:05d}.safetensors" for shard in range(shards)]
    names = ["model.safetensors"] if shards == 1 else names
    for number, name in enumerate(names):
        save_file({f"layer.{number}": torch.randn(40, 50, generator=generator)}, folder / name, {"format": "pt"})
    if shards > 1:
        index = {"metadata": {}, "weight_map": {f"layer.{number}": name for number, name in enumerate(names)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "xlm-roberta", "seed": seed}), "utf-8")
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": [["/home/piece", 0.0]]}}), "utf-8")
    (folder / "README.md").write_text(CARD, "utf-8")
    return folder


def trained_model(folder: Path, secret: str) -> Path:
    """Write a model with the other files of a trainer."""
    small_model(folder)
    torch.save({"hub_token": secret}, folder / "training_args.bin")
    torch.save({}, folder / "optimizer.pt")
    (folder / "checkpoint-5").mkdir()
    torch.save({}, folder / "checkpoint-5" / "optimizer.pt")
    (folder / "runs").mkdir()
    (folder / "runs" / "events.out.tfevents.1").write_bytes(b"log")
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": []}), "utf-8")
    (folder / "hf_afro_run.json").write_text(json.dumps({"arguments": {"model": str(folder)}}), "utf-8")
    return folder


def counts(folder: Path) -> Path:
    """Write arrays in the format of token counts."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "counts.npz", count=np.arange(5), facts=np.frombuffer(b"{}", dtype=np.uint8))
    return folder


def held(hub: Hub, name: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
    """Return the files of a branch by path, without `.gitattributes`."""
    files = hub.store.find(kind, name).files(revision)
    return {path: hub.store.content(file) for path, file in files.items() if path != ".gitattributes"}


def here(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

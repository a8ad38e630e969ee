"""A working directory in which every command has what it needs, and ways to spoil it.

It holds `text/` (swa, yor), `m/` (a model with its tokenizer), `counts/`, `data/ner` and `data/topic` (swa), `scores/`
(three reports), and two recipes: `tiny.yaml` with every kind of trained stage, `base.yaml` that adapts `m`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import XLMRobertaForMaskedLM

from hf_afro.steps.records import RECORD_FILE
from tests.conftest import tiny_config
from tests.evaluation.conftest import labelled, tagged
from tests.reports.examples import three
from tests.texts import SENTENCES
from tests.tiny_recipe import TINY

BASE = "name: based\nbase:\n  model: m\nprepare:\n  text: text\nmaft:\n  max_steps: 2\n  max_length: 32\n"

Prepare = Callable[[], object]


def build(folder: Path, model: str, counts: str) -> None:
    """Lay the scene out in a folder."""
    shutil.copytree(model, folder / "m")
    shutil.copytree(counts, folder / "counts")
    (folder / "text").mkdir()
    for language in ("swa", "yor"):
        lines = [f"{first} {second}\n" for first in SENTENCES[language] for second in SENTENCES[language]]
        (folder / "text" / f"{language}.txt").write_text("".join(lines), "utf-8")
    ner, topic = folder / "data" / "ner" / "swa", folder / "data" / "topic" / "swa"
    ner.mkdir(parents=True)
    topic.mkdir(parents=True)
    for seed, split in enumerate(("train", "dev", "test")):
        blocks = ("\n".join(map(" ".join, zip(*example, strict=True))) for example in tagged(16, seed))
        (ner / f"{split}.txt").write_text("\n\n".join(blocks) + "\n", "utf-8")
        rows = ["text\tlabel\n", *("\t".join(example) + "\n" for example in labelled(16, seed))]
        (topic / f"{split}.tsv").write_text("".join(rows), "utf-8")
    for report in three():
        report.save(folder / "scores" / report.name)
    (folder / "tiny.yaml").write_text(TINY, "utf-8")
    (folder / "base.yaml").write_text(BASE, "utf-8")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder by its path, hidden files too."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def nothing() -> None:
    """Leave the scene as it is."""


def write(path: str, content: str | bytes) -> Prepare:
    """Write a file, and the folders above it."""

    def change() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def remove(*paths: str) -> Prepare:
    """Remove files."""
    return lambda: [Path(path).unlink() for path in paths]


def cut(path: str, size: int) -> Prepare:
    """Leave the front of a file."""
    return lambda: os.truncate(path, size)


def spoil(path: str) -> Prepare:
    """Turn some bytes in the middle of a file, as a bad disk would."""

    def change() -> None:
        content = bytearray(Path(path).read_bytes())
        for place in range(len(content) // 2, len(content) // 2 + 64):
            content[place] ^= 0xFF
        Path(path).write_bytes(content)

    return change


def replace(path: str, old: str, new: str) -> Prepare:
    """Write something else in a file of text, once."""

    def change() -> None:
        text = Path(path).read_text("utf-8")
        assert old in text
        Path(path).write_text(text.replace(old, new, 1), "utf-8")

    return change


def recipe(old: str, new: str) -> Prepare:
    """Write something else in `tiny.yaml`."""
    return replace("tiny.yaml", old, new)


def configure(**changed: object) -> Prepare:
    """Change what the configuration of the model says, and not its weights."""
    path = Path("m/config.json")
    return lambda: path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changed}), "utf-8")


def fewer_rows() -> None:
    """Put a model of 100 rows beside the tokenizer of 518 tokens."""
    XLMRobertaForMaskedLM(tiny_config(100)).save_pretrained("m")


def no_tokenizer() -> None:
    """Leave the model alone in its folder."""
    remove("m/tokenizer.json", "m/tokenizer_config.json")()


def broken_weight() -> None:
    """Put a NaN into the model."""
    weights = load_file("m/model.safetensors")
    weights["roberta.encoder.layer.0.output.dense.bias"][0] = float("nan")
    save_file(weights, "m/model.safetensors", metadata={"format": "pt"})


def made_by_us(folder: str) -> Prepare:
    """Let a folder look like one that `hf-afro` made and may overwrite."""
    record = {"format": 3, "step": "count", "settings": {}, "inputs": {}, "key": ""}
    return write(f"{folder}/{RECORD_FILE}", json.dumps(record))


def trained(state: str) -> Prepare:
    """Let `m` look like what `hf-afro maft` left, with this as the state of its trainer."""
    cleaning = '{"read": {}, "dropped": {}, "settings": {}, "fingerprints": {}, "version": "0"}'
    files = {"m/cleaning.json": cleaning, "m/checkpoint-1/trainer_state.json": state}
    return lambda: [write(path, content)() for path, content in files.items()]


def base_in_the_output() -> None:
    """Let `base.yaml` read a model in a folder that an earlier run made."""
    shutil.copytree("m", "runs/maft")
    write(f"runs/{RECORD_FILE}", '{"recipe": "run"}')()
    replace("base.yaml", "model: m", "model: runs/maft")()

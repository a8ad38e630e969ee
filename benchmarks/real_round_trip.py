r"""A real model through the whole library, compared with itself after every step: what is lost, and what it takes.

    python -m benchmarks.real_round_trip intfloat/multilingual-e5-small corpora --output_dir runs/round_trip

The model is counted and pruned to each of `--budgets` in both ways. The last pruned model gives a student of all its
layers and two of `--layers` layers, one trained by MAFT and one by relation distillation for `--steps` steps; these
two are exported to ONNX and to sentence-transformers. Everything is read back from disk before it is compared, on
sentences whose tokens are all kept and on one text as long as the model takes. A difference is the largest between
two numbers: of hidden states, of logits (ONNX) or of sentence vectors. Seconds include the comparison.

A step that is done is not done again: its figures are in a file beside its folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.student_inference import mixed_sentences
from hf_afro import (
    MAFTTrainer,
    MAFTTrainingArguments,
    RelationDistillTrainer,
    RelationDistillTrainingArguments,
    TokenCounts,
    VocabularyMap,
    build_student,
    count_tokens,
    prune_checkpoint,
    prune_vocabulary,
    select_tokens,
)
from hf_afro.corpora import read_corpora
from hf_afro.export import export_onnx, export_sentence_transformer
from hf_afro.export.onnx import GRAPH
from hf_afro.files import write_whole
from hf_afro.pretrained import load_model, load_tokenizer
from hf_afro.pretrained.weights import checkpoint_folder
from hf_afro.vocabulary.pruning import MAP_FILE

logger = logging.getLogger("real_round_trip")

Batch = dict[str, torch.Tensor]
BATCH_SIZE = 8
SEARCHED = 50  # for a sentence that is compared: at a small budget few keep all their tokens
COUNTS = "counts.npz"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder, or a name on the Hub")
    parser.add_argument("text", help="folder with one text file per language")
    parser.add_argument("--output_dir", required=True, help="where every step leaves its folder and its figures")
    parser.add_argument("--languages", nargs="+", help="all of the text by default")
    parser.add_argument("--budgets", type=int, nargs="+", default=[50_000, 30_000], help="tokens; the smallest last")
    parser.add_argument("--layers", type=int, default=6, help="layers of the students that are trained")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--lines", type=int, default=200, help="lines of each language to train on")
    parser.add_argument("--sentences", type=int, default=48, help="how many are compared")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def batches(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Iterator[Batch]:
    for start in range(0, len(texts), BATCH_SIZE):
        part = texts[start : start + BATCH_SIZE]
        yield dict(tokenizer(part, padding=True, truncation=True, return_tensors="pt"))


def held(output: torch.Tensor | np.ndarray, batch: Batch) -> np.ndarray:
    """Return what stands at tokens, ``[tokens, width]``; at padding there is nothing to compare."""
    return np.asarray(output)[batch["attention_mask"].numpy() != 0]


def states(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> np.ndarray:
    """Return the encoder's last hidden states, ``[tokens, width]``."""
    encoder = model.base_model.eval()
    with torch.inference_mode():
        found = [held(encoder(**batch).last_hidden_state, batch) for batch in batches(tokenizer, texts)]
    return np.concatenate(found)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max())


class Trip:
    """The steps of a round trip, each in a folder of its own.

    Args:
        args: As `parse` returns them.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, Path(args.output_dir)
        self.source = checkpoint_folder(args.model)
        settings = {name: value for name, value in vars(args).items() if name not in ("output_dir", "threads")}
        path = self.folder / "settings.json"
        if path.is_file() and (found := json.loads(path.read_text("utf-8"))) != settings:
            raise SystemExit(f"{self.folder} holds a run with {found}; repeat these settings or name another folder")
        write_whole(path, json.dumps(settings, indent=1) + "\n")
        self.figures: dict[str, dict[str, float]] = {}

    @cached_property
    def model(self) -> PreTrainedModel:
        """The original."""
        return load_model(str(self.source)).eval()

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        return load_tokenizer(str(self.source))

    @cached_property
    def text(self) -> dict[str, Any]:
        """Lines by language."""
        return read_corpora(self.args.text, self.args.languages)

    def step(self, name: str, make: Callable[[Path], dict[str, float]]) -> Path:
        """Do a step unless it is done; its figures are written last, so that where they are the folder is whole."""
        target, done = self.folder / name, self.folder / f"{name}.json"
        if not done.is_file():
            logger.info("%s ...", name)
            shutil.rmtree(target, ignore_errors=True)
            start = time.perf_counter()
            figures = make(target)
            size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
            told = {"seconds": time.perf_counter() - start, "MB": size / 1e6, **figures}
            write_whole(done, json.dumps(told, indent=1) + "\n")
        self.figures[name] = json.loads(done.read_text("utf-8"))
        return target

    def texts(self, keep: VocabularyMap) -> list[str]:
        """Return sentences whose tokens are all kept, and at the end one text of the model's full length."""

        def kept(texts: list[str]) -> list[bool]:
            return [bool(keep.keeps(ids).all()) for ids in self.tokenizer(texts, truncation=True)["input_ids"]]

        searched = mixed_sentences(Path(self.args.text), list(self.text), SEARCHED * self.args.sentences)
        chosen = list(itertools.compress(searched, kept(searched)))[: self.args.sentences]
        limit = min(self.tokenizer.model_max_length, 10_000)
        long = " ".join(itertools.islice(itertools.cycle(chosen), limit))
        if not chosen or not kept([long])[0] or len(self.tokenizer(long, truncation=True)["input_ids"]) != limit:
            raise SystemExit(
                f"of {len(searched)} sentences {len(chosen)} are kept, and texts are cut at {limit} tokens; "
                "expected one or more, and a tokenizer whose model_max_length is the model's"
            )
        return [*chosen, long]

    @cached_property
    def texts_of_last(self) -> list[str]:
        """What the models made from the last pruned one are compared on."""
        return self.texts(VocabularyMap.load(self.folder / f"prune_checkpoint_{self.args.budgets[-1]}" / MAP_FILE))

    def opened(self, folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[str]]:
        """Return the model of a step, its tokenizer, and the texts to compare it on."""
        return load_model(str(folder)).eval(), load_tokenizer(str(folder)), self.texts_of_last

    def count(self, target: Path) -> dict[str, float]:
        """Count the tokens of the text."""
        counts = count_tokens(self.text, self.tokenizer)
        counts.save(target / COUNTS)
        return {"occur": int((counts.counts.sum(0) > 0).sum()), "of": len(self.tokenizer)}

    def prune(self, in_memory: bool, budget: int, target: Path) -> dict[str, float]:
        """Prune the original, which has to keep its hidden states and, if it gives them, its sentence vectors."""
        keep = select_tokens(TokenCounts.load(self.folder / "count" / COUNTS), budget)
        if in_memory:
            prune_vocabulary(self.model, self.tokenizer, keep).save_pretrained(target)
        else:
            prune_checkpoint(self.source, keep, target)
        model, tokenizer = load_model(str(target)), load_tokenizer(str(target))
        texts = self.texts(keep)
        figures = {
            "difference": apart(states(self.model, self.tokenizer, texts), states(model, tokenizer, texts)),
            "texts": len(texts),
            "parameters": model.num_parameters(),
        }
        if (self.source / "modules.json").is_file():
            figures["vectors"] = apart(*(embedded(folder, texts) for folder in (self.source, target)))
        return figures

    def copy(self, pruned: Path, target: Path) -> dict[str, float]:
        """Build a student of every layer, which has to equal its teacher."""
        teacher, tokenizer, texts = self.opened(pruned)
        student = self.student(teacher, tokenizer, teacher.config.num_hidden_layers)
        student.save_pretrained(target)
        tokenizer.save_pretrained(target)
        read, *_ = self.opened(target)
        return {"difference": apart(states(teacher, tokenizer, texts), states(read, tokenizer, texts))}

    def student(self, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, layers: int) -> PreTrainedModel:
        """Build a student of some of the teacher's layers and its width."""
        return build_student(
            teacher, tokenizer=tokenizer, num_hidden_layers=layers, hidden_size=teacher.config.hidden_size
        )

    def train(self, maft: bool, pruned: Path, target: Path) -> dict[str, float]:
        """Train a student, which has to be the same read back."""
        teacher, tokenizer, texts = self.opened(pruned)
        student = self.student(teacher, tokenizer, self.args.layers)
        data = {
            code: Dataset.from_dict({"text": list(itertools.islice(lines, self.args.lines))})
            for code, lines in self.text.items()
        }
        settings = {
            "output_dir": str(target),
            "max_steps": self.args.steps,
            "learning_rate": 1e-4,
            "max_length": min(128, tokenizer.model_max_length),
            "per_device_train_batch_size": 16,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "seed": 0,
            "use_cpu": True,
        }
        trainer: MAFTTrainer | RelationDistillTrainer
        if maft:
            trainer = MAFTTrainer(student, MAFTTrainingArguments(**settings), data, processing_class=tokenizer)
        else:
            args = RelationDistillTrainingArguments(**settings)
            trainer = RelationDistillTrainer(student, teacher, args, data, processing_class=tokenizer)
        trainer.train()
        trainer.save_model()
        read, read_tokenizer, _ = self.opened(target)
        return {
            "difference": apart(states(student, tokenizer, texts), states(read, read_tokenizer, texts)),
            "parameters": read.num_parameters(),
        }

    def to_onnx(self, trained: Path, target: Path) -> dict[str, float]:
        """Export to ONNX, and run the graph on what the tokenizer gives."""
        model, tokenizer, texts = self.opened(trained)
        done = export_onnx(model, tokenizer, target, texts)
        session = onnxruntime.InferenceSession(target / GRAPH, providers=["CPUExecutionProvider"])
        takes, differences = {taken.name for taken in session.get_inputs()}, []
        for batch in batches(tokenizer, texts):
            (found,) = session.run(None, {name: ids.numpy() for name, ids in batch.items() if name in takes})
            with torch.inference_mode():
                wanted = model(**batch)[0]
            differences.append(apart(held(found, batch), held(wanted, batch)))
        largest = float(np.max(differences))
        return {
            "difference": largest,
            "recorded": done.graphs["fp32"].difference,
            "int8": done.graphs["int8"].difference,
        }

    def to_sentence_transformer(self, trained: Path, target: Path) -> dict[str, float]:
        """Export to sentence-transformers; a vector has to be the mean of the hidden states, of length one."""
        model, tokenizer, texts = self.opened(trained)
        export_sentence_transformer(model, tokenizer, target)
        means = np.stack([states(model, tokenizer, [text]).mean(0) for text in texts])
        wanted = means / np.linalg.norm(means, axis=1, keepdims=True)
        return {"difference": apart(embedded(target, texts), wanted)}


def embedded(folder: Path, texts: list[str]) -> np.ndarray:
    return SentenceTransformer(str(folder), device="cpu").encode(texts, batch_size=BATCH_SIZE)


def print_table(figures: dict[str, dict[str, float]]) -> None:
    print(f"{'step':28}{'seconds':>9}{'difference':>12}{'MB':>9}")
    for step, told in figures.items():
        difference = f"{told['difference']:.1e}" if "difference" in told else "-"
        other = (f"{key} {value:.6g}" for key, value in told.items() if key not in ("seconds", "difference", "MB"))
        print(f"{step:28}{told['seconds']:9.1f}{difference:>12}{told['MB']:9.1f}", *other, sep="  ")


def main() -> None:
    args = parse()
    logging.basicConfig(format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    torch.set_num_threads(args.threads)
    trip = Trip(args)
    trip.step("count", trip.count)
    for budget in args.budgets:
        trip.step(f"prune_vocabulary_{budget}", partial(trip.prune, True, budget))
        pruned = trip.step(f"prune_checkpoint_{budget}", partial(trip.prune, False, budget))
    trip.step("student_all_layers", partial(trip.copy, pruned))
    for kind in ("maft", "distill"):
        trained = trip.step(f"student_{kind}", partial(trip.train, kind == "maft", pruned))
        trip.step(f"student_{kind}_onnx", partial(trip.to_onnx, trained))
        trip.step(f"student_{kind}_sentence", partial(trip.to_sentence_transformer, trained))
    print_table(trip.figures)


if __name__ == "__main__":
    main()

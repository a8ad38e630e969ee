r"""A ModernBERT of mmBERT-small's shape: cut, every second layer left out, distilled, exported, and read elsewhere.

    python -m benchmarks.modernbert_student --text corpora

mmBERT-small has 22 layers of width 384 and 256,000 tokens of Gemma's kind of BPE. Here the weights are random, and the
tokenizer is trained on the text (by default the sample that ships) and filled up with tokens that hardly occur. A
difference is the largest between two numbers: hidden states of the original and the cut model, of the cut model and
its student with all layers, and of the trained student and the same read by a process that does not import hf_afro;
logits of the ONNX graph and of torch; sentence vectors of that process and normalised means of the hidden states.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from transformers import (
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    PrinterCallback,
)
from transformers.utils import logging

from benchmarks.real_round_trip import apart, states
from benchmarks.trained_tokenizers import bpe_with_bytes
from hf_afro import (
    RelationDistillTrainer,
    RelationDistillTrainingArguments,
    VocabularyMap,
    build_student,
    count_tokens,
    prune_vocabulary,
    select_tokens,
)
from hf_afro.corpora import read_corpora
from hf_afro.export import export_onnx, export_sentence_transformer
from hf_afro.sample import text_folder

MMBERT_SMALL = {"hidden_size": 384, "num_hidden_layers": 22, "num_attention_heads": 6, "intermediate_size": 1152}
TINY = {"hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 48}
COMPARED = 12  # sentences per language
READ = """
import json, sys
import numpy, torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForMaskedLM, AutoTokenizer

student, embedder, texts, threads, out = sys.argv[1:]
torch.set_num_threads(int(threads))
encoder = AutoModelForMaskedLM.from_pretrained(student).base_model.eval()
texts, tokenizer = json.loads(texts), AutoTokenizer.from_pretrained(student)
with torch.inference_mode():
    found = [encoder(**tokenizer(text, truncation=True, return_tensors="pt"))[0][0].numpy() for text in texts]
vectors = SentenceTransformer(embedder, device="cpu").encode(texts, batch_size=1)
assert "hf_afro" not in sys.modules
numpy.savez(out, states=numpy.concatenate(found), vectors=vectors)
"""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", default=str(text_folder()), help="folder with one text file per language")
    parser.add_argument("--languages", nargs="+", default=["amh", "eng", "hau", "swa", "yor"])
    parser.add_argument("--lines", type=int, default=2000, help="lines of each language")
    parser.add_argument("--trained", type=int, default=16_000, help="tokens of the tokenizer that are trained")
    parser.add_argument("--rows", type=int, default=256_000, help="all of its tokens")
    parser.add_argument("--budget", type=int, default=8000, help="tokens that are kept")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="a tiny model: only shows that it runs")
    return parser.parse_args()


def tokenizer_like_mmbert(lines: list[str], trained: int, rows: int) -> PreTrainedTokenizerBase:
    """Return a tokenizer of Gemma's kind, filled up with merges of its rarest pieces, which hardly ever occur."""
    small = bpe_with_bytes(lines, trained)
    state = json.loads(small.backend_tokenizer.to_str())
    vocab = state["model"]["vocab"]
    vocab.setdefault(small.mask_token, small.mask_token_id)
    rare = list(vocab)[-trained // 2 : -1]  # without the mask
    for left, right in itertools.product(reversed(rare), repeat=2):
        if len(vocab) == rows:
            break
        if left + right not in vocab:
            vocab[left + right] = len(vocab)
            state["model"]["merges"].append([left, right])
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        model_max_length=small.model_max_length,
        clean_up_tokenization_spaces=False,
        model_input_names=small.model_input_names,
        **small.special_tokens_map,
    )


def like_mmbert(tokenizer: PreTrainedTokenizerBase, sizes: dict[str, int]) -> ModernBertForMaskedLM:
    """Return a ModernBERT of random weights, not small ones, every third of whose layers attends to the whole text."""
    torch.manual_seed(0)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos", "cls", "sep")}
    pattern = {"global_attn_every_n_layers": 3, "global_rope_theta": 160_000, "local_rope_theta": 160_000}
    config = ModernBertConfig(vocab_size=len(tokenizer), initializer_range=0.1, **sizes, **ids, **pattern)
    return ModernBertForMaskedLM(config).eval()


def whole(lines: list[str], tokenizer: PreTrainedTokenizerBase, keep: VocabularyMap) -> Iterator[str]:
    """Yield the first lines whose tokens are all kept."""
    kept = (line for line in lines if keep.keeps(tokenizer(line, truncation=True)["input_ids"]).all())
    return itertools.islice(kept, COMPARED)


def read_elsewhere(student: Path, embedder: Path, texts: list[str], threads: int) -> dict[str, np.ndarray]:
    """Return hidden states ``[tokens, width]`` and vectors ``[texts, width]`` that another process computes."""
    out = student.with_suffix(".npz")
    command = [sys.executable, "-c", READ, str(student), str(embedder), json.dumps(texts), str(threads), str(out)]
    subprocess.run(command, check=True)
    return dict(np.load(out))


@contextlib.contextmanager
def step(name: str) -> Iterator[dict[str, object]]:
    """Print how long a step takes, and the figures that are put into the dictionary it yields."""
    figures: dict[str, object] = {}
    start = time.perf_counter()
    yield figures
    print(
        f"{name:12}{time.perf_counter() - start:7.1f} s", *(f"{key} {one}" for key, one in figures.items()), sep="  "
    )


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    logging.disable_progress_bar()
    text = {
        code: list(itertools.islice(lines, args.lines))
        for code, lines in read_corpora(args.text, args.languages).items()
    }

    with step("make") as told:
        tokenizer = tokenizer_like_mmbert([*itertools.chain(*text.values())], args.trained, args.rows)
        original = like_mmbert(tokenizer, TINY if args.small else MMBERT_SMALL)
        told["tokens"], told["parameters"] = len(tokenizer), f"{original.num_parameters():,}"

    with step("cut") as told:
        keep = select_tokens(count_tokens(text, tokenizer), args.budget)
        pruned = prune_vocabulary(original, tokenizer, keep)
        teacher, cut = pruned.model.eval(), pruned.tokenizer
        kept = [line for lines in text.values() for line in whole(lines, tokenizer, keep)]
        told["tokens"], told["parameters"], told["sentences"] = len(cut), f"{teacher.num_parameters():,}", len(kept)
        told["difference"] = apart(states(original, tokenizer, kept), states(teacher, cut, kept))

    with step("build") as told:
        depth = teacher.config.num_hidden_layers
        same = build_student(teacher, tokenizer=cut, num_hidden_layers=depth)
        told["all layers, difference"] = apart(states(teacher, cut, kept), states(same, cut, kept))
        student = build_student(teacher, tokenizer=cut, num_hidden_layers=depth // 2)
        told["parameters"] = f"{student.num_parameters():,}"
        told["layers"] = student.config.built_from["layers"]
        told["global"] = [kind == "full_attention" for kind in student.config.layer_types].count(True)

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with step("distil") as told:
            settings = RelationDistillTrainingArguments(
                output_dir=str(home / "student"),
                max_steps=args.steps,
                learning_rate=1e-4,
                max_length=128,
                per_device_train_batch_size=8,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
            )
            data = {code: Dataset.from_dict({"text": lines}) for code, lines in text.items()}
            trainer = RelationDistillTrainer(student, teacher, settings, data, processing_class=cut)
            trainer.remove_callback(PrinterCallback)
            trainer.train()
            trainer.save_model()
            losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
            told["steps"], told["loss"] = len(losses), f"{losses[0]:.2e} to {losses[-1]:.2e}"
        with step("onnx") as told:
            done = export_onnx(student, cut, home / "onnx", kept)
            told["difference"], told["int8 agreement"] = done.graphs["fp32"].difference, done.graphs["int8"].agreement
            told["MB"] = {name: round(graph.bytes / 1e6, 1) for name, graph in done.graphs.items()}
        with step("sentence") as told:
            told["width"] = export_sentence_transformer(student, cut, home / "embedder")
        with step("elsewhere") as told:
            found = read_elsewhere(home / "student", home / "embedder", kept, args.threads)
            wanted = [states(student, cut, [one]) for one in kept]
            means = np.stack([one.mean(0) for one in wanted])
            told["difference"] = apart(found["states"], np.concatenate(wanted))
            told["vectors"] = apart(found["vectors"], means / np.linalg.norm(means, axis=1, keepdims=True))


if __name__ == "__main__":
    main()

"""Size and speed of the ladder's models, as classifiers of words: torch, and ONNX in fp32 and int8.

    python -m benchmarks.real_model_speed --text masakhaner1 A=intfloat/multilingual-e5-small B=runs/real/B \
        H=runs/real/scores/amh+hau+swa+yor/ner/1/H/models/ner-amh+hau+swa+yor-1

An encoder gets a head of random weights, which changes no size or time. All models read the same test sentences, and
every form of every model takes its turn, so that a slow moment falls on all of them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, PreTrainedTokenizerBase

import hf_afro  # noqa: F401  registers the class of factorised students
from benchmarks.timing import in_turn
from hf_afro.evaluation import load_task
from hf_afro.export import export_onnx
from hf_afro.export.onnx import OnnxModel
from hf_afro.reports.tables import format_table

FORMS = ("torch", "fp32", "int8")
FILES = {"fp32": "model.onnx", "int8": "model_quantized.onnx"}
BATCH = 32


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL", help="folders, or names on the Hub")
    parser.add_argument("--text", required=True, help="a set for named entities, with one folder per language")
    parser.add_argument("--languages", nargs="+", default=["amh", "hau", "swa", "yor"])
    parser.add_argument("--sentences", type=int, default=32, help="of each language")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def test_sentences(folder: str, languages: list[str], count: int) -> list[str]:
    """Return the first sentences of each language's test set, the languages in turn."""
    sets = [load_task("ner", folder, language).sentences("test")[:count] for language in languages]
    return [sentence for several in zip(*sets, strict=True) for sentence in several]


def over(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, texts: list[str], size: int
) -> Callable[[], None]:
    """Return what runs a model over the texts in batches."""
    batches = [
        tokenizer(texts[start : start + size], padding=True, truncation=True, max_length=164, return_tensors="pt")
        for start in range(0, len(texts), size)
    ]

    def run() -> None:
        with torch.inference_mode():
            for batch in batches:
                model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])

    return run


def main() -> None:
    args = parse()
    texts = test_sentences(args.text, args.languages, args.sentences)
    alone, batched, facts = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, place in (word.split("=", 1) for word in args.models):
            tokenizer = AutoTokenizer.from_pretrained(place)
            model = AutoModelForTokenClassification.from_pretrained(place, dtype=torch.float32).eval()
            done = export_onnx(model, tokenizer, Path(folder) / name, texts[:8])
            megabytes = {"torch": done.torch.bytes, **{form: one.bytes for form, one in done.graphs.items()}}
            for form in FORMS:
                graph = Path(folder) / name / "onnx" / FILES.get(form, "")
                side = model if form == "torch" else OnnxModel(graph, model.config)
                alone[f"{name} {form}"] = over(side, tokenizer, texts, 1)
                batched[f"{name} {form}"] = over(side, tokenizer, texts, BATCH)
                facts[f"{name} {form}"] = (name, form, model.num_parameters() / 1e6, megabytes[form] / 1e6)
        latency, through = in_turn(alone, args.repeats), in_turn(batched, args.repeats)
    first = next(iter(latency))
    rows = [
        [*facts[side], 1000 * latency[side] / len(texts), latency[first] / latency[side], len(texts) / through[side]]
        for side in facts
    ]
    header = ["model", "form", "M parameters", "MB", "ms alone", "times faster", f"sentences/s in batches of {BATCH}"]
    print(f"{len(texts)} test sentences of {', '.join(args.languages)}, {torch.get_num_threads()} threads")
    print(format_table(header, rows))


if __name__ == "__main__":
    main()

r"""A small student on real sentences: without padding against padded, and against XLM-R-base, with random weights.

    python -m benchmarks.student_inference --tokenizer xlm-roberta-base --text corpora

`--text` is a folder with a text file a language. As many lines of each language are taken, evenly spaced and in turn,
so that the languages are mixed; the encoders alone are timed, without heads. Every side runs on the same batches, in
turn, and what the student gives without padding is compared with what it gives with. Three orders: one sentence at a
time, batches in the order given, and batches of sentences sorted by length.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, XLMRobertaConfig, XLMRobertaModel

from benchmarks.timing import in_turn, print_ratios
from hf_afro import AfroStudentConfig, AfroStudentModel
from hf_afro.corpora import read_corpora

Batches = list[dict[str, torch.Tensor]]

SHAPES = {
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="XLM-R's, or the one a model was pruned to")
    parser.add_argument("--text", required=True, help="folder with a text file a language")
    parser.add_argument("--languages", nargs="+", default=["amh", "eng", "swa", "yor"])
    parser.add_argument("--sentences", type=int, default=256)
    parser.add_argument("--max_length", type=int, default=256, help="tokens a sentence is cut to")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="threads of torch; left out: as torch has it")
    parser.add_argument("--int8", action="store_true", help="also the student with dynamic int8 linear layers")
    parser.add_argument("--small", action="store_true", help="tiny models: only shows that it runs")
    return parser.parse_args()


def mixed_sentences(folder: Path, languages: list[str], count: int) -> list[str]:
    """Return lines of all languages in turn, evenly spaced over each language's text."""
    corpora = read_corpora(folder, languages)
    share = -(-count // len(languages))
    chosen = []
    for source in corpora.values():
        lines = list(source)
        chosen.append([lines[index * len(lines) // share] for index in range(share)])
    return [line for one_of_each in zip(*chosen, strict=True) for line in one_of_each][:count]


def batched(encoded: list[list[int]], size: int, tokenizer: PreTrainedTokenizerBase) -> Batches:
    """Return the batches of a list of sentences, padded on the right as the tokenizer pads."""
    return [
        dict(tokenizer.pad({"input_ids": encoded[start : start + size]}, return_tensors="pt"))
        for start in range(0, len(encoded), size)
    ]


def models(vocab_size: int, small: bool) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Return XLM-R-base and the student, in evaluation mode."""
    torch.manual_seed(0)
    wide = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2} if small else {}
    narrow = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 1536}
    narrow |= wide and {**wide, "hidden_size": 32, "intermediate_size": 64}
    base = XLMRobertaModel(XLMRobertaConfig(vocab_size=vocab_size, **SHAPES, **wide), add_pooling_layer=False)
    config = AfroStudentConfig(vocab_size=vocab_size, unpad=True, **SHAPES, **narrow)
    return base.eval(), AfroStudentModel(config, add_pooling_layer=False).eval()


def over(model: torch.nn.Module, batches: Batches, **settings: bool) -> Callable[[], None]:
    """Return what runs a model over the batches."""

    def run() -> None:
        with torch.inference_mode():
            for batch in batches:
                model(**batch, **settings)

    return run


def largest_difference(student: PreTrainedModel, batches: Batches) -> float:
    """Return how far the states of tokens are from those of the padded form, at most."""
    largest = 0.0
    with torch.inference_mode():
        for batch in batches:
            states = [student(**batch, unpad=unpad).last_hidden_state for unpad in (True, False)]
            apart = (states[0] - states[1])[batch["attention_mask"].bool()]
            largest = max(largest, float(apart.abs().max()))
    return largest


def main() -> None:
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    sentences = mixed_sentences(Path(args.text), args.languages, args.sentences)
    encoded = tokenizer(sentences, truncation=True, max_length=args.max_length)["input_ids"]
    lengths = [len(ids) for ids in encoded]
    print(
        f"{len(encoded)} sentences of {', '.join(args.languages)}: {sum(lengths) / len(lengths):.1f} tokens on "
        f"average, {max(lengths)} at most; {torch.get_num_threads()} threads"
    )
    base, student = models(len(tokenizer), args.small)
    one_by_one = batched(encoded, 1, tokenizer)
    given = batched(encoded, args.batch_size, tokenizer)
    by_length = batched(sorted(encoded, key=len), args.batch_size, tokenizer)
    orders = {"batch 1": one_by_one, f"batch {args.batch_size}, as given": given, "the same, sorted": by_length}
    sides = {"XLM-R-base": (base, {}), "student, padded": (student, {"unpad": False}), "student": (student, {})}
    if args.int8:
        sides["student, int8"] = (torch.ao.quantization.quantize_dynamic(student, {torch.nn.Linear}), {})

    medians = {}
    for order, batches in orders.items():
        tokens = sum(batch["input_ids"].numel() for batch in batches)
        apart = largest_difference(student, batches)
        print(f"\nstates differ by {apart:.1e} at most; {sum(lengths) / tokens:.0%} of the positions are tokens")
        runs = {side: over(model, batches, **settings) for side, (model, settings) in sides.items()}
        medians[order] = in_turn(runs, args.repeats)
        print_ratios(order, medians[order])
    _, as_given, in_order = medians.values()
    print()
    print_ratios(
        "against XLM-R-base in the order given",
        {"XLM-R-base": as_given["XLM-R-base"], **{f"{side}, sorted": seconds for side, seconds in in_order.items()}},
    )


if __name__ == "__main__":
    main()

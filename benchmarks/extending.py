"""What new tokens do in four kinds of tokenizer: tokens per word, other text, and bits per byte before and after.

    python -m benchmarks.extending --tokenizer xlm-roberta-base --text corpora

Kinds: the real XLM-R tokenizer (Unigram), cut to 16,000 tokens of English, French and Swahili, and WordPiece,
byte-level BPE and BPE with byte fallback, trained on English and French. Each gets the words of Swahili that save the
most tokens, and tokens of the Ethiopic script from Amharic. Everything is measured on held-out lines, every fiftieth.
A model of two layers is trained by MAFT for `--steps` with the old tokenizer, then for half as many with the old one
and with the extended one. `--small` shows in a minute that it runs.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase, XLMRobertaConfig, XLMRobertaForMaskedLM

from benchmarks.trained_tokenizers import FAMILIES
from hf_afro.corpora import read_corpora
from hf_afro.evaluation.bits_per_byte import bits_per_byte_scores
from hf_afro.training import MAFTTrainer, MAFTTrainingArguments
from hf_afro.vocabulary import count_tokens, extend_vocabulary, prune_vocabulary, select_tokens

HELD_OUT_EVERY = 50
KNOWN = ("eng", "fra")
CASES = {"words": ("swa", None), "Ethiopic": ("amh", ["Ethiopic"])}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="XLM-R's")
    parser.add_argument("--text", required=True, help="folder with one file per language")
    parser.add_argument("--lines", type=int, default=10_000, help="lines per language, at most")
    parser.add_argument("--size", type=int, default=16_000, help="tokens of each tokenizer")
    parser.add_argument("--num_tokens", type=int, default=2_000, help="new tokens")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--small", action="store_true", help="little text and a few steps")
    args = parser.parse_args()
    if args.small:
        args.lines, args.size, args.num_tokens, args.steps = 400, 3_000, 600, 4
    return args


def main() -> None:
    args = parse()
    sources = read_corpora(args.text, [*KNOWN, "swa", "amh"])
    lines = {code: list(source)[: args.lines] for code, source in sources.items()}
    train = {code: [line for at, line in enumerate(own) if at % HELD_OUT_EVERY] for code, own in lines.items()}
    held_out = {code: own[::HELD_OUT_EVERY] for code, own in lines.items()}
    known = [line for code in KNOWN for line in train[code]]
    print(f"{'kind':16}{'new':>10}{'tokens':>8} | tokens per word  other lines alike | bits per byte  old, new tokens")
    for kind in ("XLM-R, cut", "WordPiece", "byte-level BPE", "BPE, bytes"):
        start = time.monotonic()
        if kind == "XLM-R, cut":
            model, tokenizer = cut(args, {code: train[code] for code in (*KNOWN, "swa")})
        else:
            tokenizer = FAMILIES[kind](known, args.size)
            model = untrained(len(tokenizer), tokenizer.pad_token_id)
        adapt(model, tokenizer, {code: train[code] for code in (*KNOWN, "swa")}, args.steps)
        for case, (language, scripts) in CASES.items():
            show(args, kind, case, model, tokenizer, train, held_out, language, scripts)
        print(f"{'':16}{time.monotonic() - start:.0f} s", flush=True)


def untrained(vocabulary: int, pad_id: int) -> XLMRobertaForMaskedLM:
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=300,
        type_vocab_size=2,
        pad_token_id=pad_id,
    )
    return XLMRobertaForMaskedLM(config)


def cut(args, texts) -> tuple[XLMRobertaForMaskedLM, PreTrainedTokenizerBase]:
    """Return an untrained model and the real tokenizer, both with the tokens of some texts only."""
    full = AutoTokenizer.from_pretrained(args.tokenizer)
    keep = select_tokens(count_tokens(texts, full), args.size)
    pruned = prune_vocabulary(untrained(len(full), full.pad_token_id), full, keep)
    return pruned.model, pruned.tokenizer


def adapt(model, tokenizer, texts, steps) -> None:
    """Train a model by MAFT, in place."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = MAFTTrainingArguments(
            output_dir=str(Path(folder) / "run"),
            per_device_train_batch_size=8,
            max_steps=steps,
            learning_rate=2e-3,
            max_length=128,
            use_cpu=True,
            disable_tqdm=True,
            save_strategy="no",
            report_to="none",
            logging_steps=10_000,
        )
        data = {code: Dataset.from_dict({"text": own}) for code, own in texts.items()}
        MAFTTrainer(model, arguments, data, processing_class=tokenizer).train()


def show(args, kind, case, model, tokenizer, train, held_out, language, scripts) -> None:
    new = extend_vocabulary(
        model, tokenizer, train[language], args.num_tokens, scripts=scripts, shared_bytes=scripts is not None
    )
    own = held_out[language]
    fertility = [tokens_per_word(own, one) for one in (tokenizer, new.tokenizer)]
    others = [line for code, lines in held_out.items() if code != language for line in lines]
    alike = sum(tokenizer(line).input_ids == new.tokenizer(line).input_ids for line in others) / len(others)
    texts = {code: train[code] for code in (*KNOWN, language)}
    bits = [bits_per_byte(model, tokenizer, own)]
    for side, splitter in ((copy.deepcopy(model), tokenizer), (new.model, new.tokenizer)):
        adapt(side, splitter, texts, max(args.steps // 2, 1))
        bits.append(bits_per_byte(side, splitter, own))
    print(
        f"{kind:16}{case:>10}{len(new.pieces):8,} | {fertility[0]:.2f} to {fertility[1]:.2f}"
        f"  {alike:8.2%} of {len(others)} | before {bits[0]:.3f}, then {bits[1]:.3f}, {bits[2]:.3f}",
        flush=True,
    )


def tokens_per_word(lines, tokenizer) -> float:
    tokens = sum(len(ids) for ids in tokenizer(lines, add_special_tokens=False)["input_ids"])
    return tokens / sum(len(line.split()) for line in lines)


def bits_per_byte(model, tokenizer, lines) -> float:
    (score,) = bits_per_byte_scores(model, tokenizer, {"und": lines}, max_length=256)
    return score.values[0]


if __name__ == "__main__":
    main()

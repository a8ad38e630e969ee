"""Every kind of tokenizer with every class of model, pruned, saved, read back and compared with the original.

python -m benchmarks.pruning_table --xlmr xlm-roberta-base --minilm all-MiniLM-L6-v2

The tokenizers are trained on the sample's text of 24 languages, the models are small with random weights (biases too),
the mT5's and Llama's output embeddings untied. Counted is every other line of the 20 languages of AfroXLMR; the lines
between are unseen. Everything is judged on the folder read back from disk. The command ends in 1 if a column that has
to be right is not.

Columns, first those that have to be right:
  rows          every vocabulary tensor's row equals, bit by bit, the old row of the same token, matched by its text
  ids           every id of tokenizer and text lies within the rows
  kept alike    texts whose old pieces are all kept, all of them split alike
  hidden        largest difference of last hidden states, on ids drawn and on text; 0.0
  logits        largest difference of logits over the largest; at most 1e-6
  new <unk>     characters of the scripts kept that became unknown in unseen text; 0
  unseen alike  share of unseen lines split into the same pieces
  a word        pieces a word of unseen text, before and after
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers as hf
from torch import nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.trained_tokenizers import FAMILIES
from hf_afro.corpora import read_corpora
from hf_afro.languages import languages_in
from hf_afro.sample import text_folder
from hf_afro.vocabulary import count_tokens, prune_vocabulary, report_on_text, select_tokens
from hf_afro.vocabulary.segmentation import compare_segmentation, probe_texts
from hf_afro.vocabulary.tensors import find_vocabulary_tensors, named_tensors, row_axis
from hf_afro.vocabulary.tokenizers import read_table
from hf_afro.vocabulary.verify import compare_outputs

CLASSES = ("masked LM", "sequences", "tokens", "seq2seq", "causal")
_HEADS = {"masked LM": "ForMaskedLM", "sequences": "ForSequenceClassification", "tokens": "ForTokenClassification"}
# The encoder whose tokenizer is of a kind.
_ENCODERS = {
    "Unigram": "XLMRoberta",
    "Unigram, bytes": "DebertaV2",
    "WordPiece": "Bert",
    "byte-level BPE": "Roberta",
    "BPE, bytes": "ModernBert",
}
_SEQ2SEQ = {"Unigram": "MBart", "Unigram, bytes": "MT5", "byte-level BPE": "Bart", "BPE, bytes": "T5"}
_CAUSAL = {"Unigram": "Llama", "Unigram, bytes": "Llama", "byte-level BPE": "GPT2", "BPE, bytes": "Gemma"}
LINES_RUN = 64


@dataclass(frozen=True)
class Text:
    """The sample's text: what is counted, and the lines between, by language."""

    counted: dict[str, list[str]]
    unseen: dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=FAMILIES, help="default: all")
    parser.add_argument("--classes", nargs="+", default=CLASSES, choices=CLASSES, help="default: all")
    parser.add_argument("--size", type=int, default=5000, help="pieces of the tokenizers trained (default: 5000)")
    parser.add_argument("--xlmr", help="folder of XLM-R's real tokenizer, for one more row a class")
    parser.add_argument("--minilm", help="folder of the real all-MiniLM-L6-v2, for one more row")
    args = parser.parse_args()

    kept = {code: list(source) for code, source in read_corpora(text_folder(), languages_in("afroxlmr")).items()}
    text = Text({code: own[::2] for code, own in kept.items()}, {code: own[1::2] for code, own in kept.items()})
    everything = [line for source in read_corpora(text_folder()).values() for line in source]
    print_head()
    wrong = 0
    for family in args.families:
        tokenizer = FAMILIES[family](everything, args.size)
        for kind in args.classes:
            wrong += print_row(f"{family} | {kind}", make_model(family, kind, tokenizer), tokenizer, text)
    if args.xlmr:
        tokenizer = AutoTokenizer.from_pretrained(args.xlmr)
        for kind in args.classes:
            wrong += print_row(f"Unigram, XLM-R's | {kind}", make_model("Unigram", kind, tokenizer), tokenizer, text)
    if args.minilm:
        tokenizer, model = AutoTokenizer.from_pretrained(args.minilm), AutoModel.from_pretrained(args.minilm).eval()
        wrong += print_row("WordPiece, MiniLM's | real weights", model, tokenizer, text)
    print(f"\n{wrong} rows with something wrong")
    sys.exit(1 if wrong else 0)


def make_model(family: str, kind: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Build a model of two layers of width 32, biases drawn too, since zeros would hide a wrong row."""
    torch.manual_seed(0)
    if kind in _HEADS:
        name = _ENCODERS[family]
        model = getattr(hf, name + _HEADS[kind])(config(name, tokenizer))
    elif family == "WordPiece" and kind == "seq2seq":
        decoder = config("Bert", tokenizer, is_decoder=True, add_cross_attention=True)
        model = hf.EncoderDecoderModel(
            encoder=hf.BertModel(config("Bert", tokenizer)), decoder=hf.BertLMHeadModel(decoder)
        )
    elif family == "WordPiece":
        model = hf.BertLMHeadModel(config("Bert", tokenizer, is_decoder=True))
    elif kind == "seq2seq":
        name = _SEQ2SEQ[family]
        model = getattr(hf, f"{name}ForConditionalGeneration")(config(name, tokenizer))
    else:
        name = _CAUSAL[family]
        model = getattr(hf, "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")(config(name, tokenizer))
    if model.config.model_type in ("mt5", "llama"):
        model.lm_head.weight = nn.Parameter(torch.randn(model.lm_head.weight.shape))
    for tensor_name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor_name.endswith("bias"):
            nn.init.normal_(tensor)
    return model.eval()


def config(name: str, tokenizer: PreTrainedTokenizerBase, **more: object) -> hf.PretrainedConfig:
    """Return the configuration of a small model of a family, under whatever names it has for its sizes."""
    first = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    last = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    sizes: dict[str, object] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 514,
    }
    if name in ("MBart", "Bart"):
        sizes = {f"{side}_{part}": size for side in ("encoder", "decoder") for part, size in _PARTS.items()}
        sizes |= {"d_model": 32, "max_position_embeddings": 514, "decoder_start_token_id": last}
    if name in ("T5", "MT5"):
        sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
        sizes |= {"decoder_start_token_id": tokenizer.pad_token_id}
    if name == "GPT2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4}
    if name == "Gemma":
        sizes |= {"num_key_value_heads": 1, "head_dim": 8}
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": first, "eos_token_id": last}
    if name == "ModernBert":
        ids |= {"cls_token_id": first, "sep_token_id": last}
    return getattr(hf, f"{name}Config")(vocab_size=len(tokenizer), **sizes, **ids, **more)


_PARTS = {"layers": 2, "attention_heads": 4, "ffn_dim": 64}


def print_head() -> None:
    names = ("tokenizer", "class", "model", "ids", "rows", "ids", "kept alike", "hidden", "logits", "new <unk>")
    print("| " + " | ".join([*names, "unseen alike", "a word, before", "after"]) + " |")
    print("|" + " --- |" * (len(names) + 3))


def print_row(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: Text) -> bool:
    """Prune, save, read back, compare, print; say whether anything is wrong."""
    keep = select_tokens(count_tokens(text.counted, tokenizer))
    pruned = prune_vocabulary(model, tokenizer, keep)
    with tempfile.TemporaryDirectory() as folder:
        pruned.save_pretrained(Path(folder) / "pruned")
        new_model = type(model).from_pretrained(Path(folder) / "pruned").eval()
        new_tokenizer = AutoTokenizer.from_pretrained(Path(folder) / "pruned")
    lines = [line for side in (text.counted, text.unseen) for own in side.values() for line in own]
    rows = rows_equal(model, tokenizer, new_model, new_tokenizer)
    ids = highest_id(new_tokenizer, lines) < new_model.get_input_embeddings().weight.shape[0]
    tried = [*lines, *probe_texts(read_table(tokenizer), keep.old_ids, seed=0)]
    alike = compare_segmentation(tried, tokenizer, new_tokenizer, keep)
    whole = [line for line in lines if keep.keeps(tokenizer(line, truncation=True)["input_ids"]).all()][:LINES_RUN]
    hidden, logits = differences(model, tokenizer, new_model, new_tokenizer, whole, keep)
    unseen = list(report_on_text(text.unseen, tokenizer, new_tokenizer, keep).values())
    count = sum(one.lines for one in unseen)
    unknown = sum(one.new_unknown_wanted for one in unseen)
    share, before, after = (
        sum(getattr(one, field) * one.lines for one in unseen) / count
        for field in ("lines_alike", "old_tokens_per_word", "new_tokens_per_word")
    )
    right = rows and ids and alike.first_difference is None and hidden == 0.0 and logits <= 1e-6 and unknown == 0
    sizes = f"{len(tokenizer):,} to {len(keep):,}"
    kept = f"{alike.kept} of {alike.kept}" if alike.first_difference is None else "NO"
    print(
        f"| {name} | {type(model).__name__} | {sizes} | {'equal' if rows else 'NO'} | {'in range' if ids else 'NO'} | "
        f"{kept} | {hidden} | {logits:.1e} | {unknown} | {share:.1%} | {before:.3f} | {after:.3f} |",
        flush=True,
    )
    return not right


def rows_equal(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    new_model: PreTrainedModel,
    new_tokenizer: PreTrainedTokenizerBase,
) -> bool:
    """Compare rows of tokens by their text, without the map."""
    old_vocab, new_vocab = tokenizer.get_vocab(), new_tokenizer.get_vocab()
    old_ids = torch.tensor([old_vocab[token] for token in new_vocab])
    new_ids = torch.tensor(list(new_vocab.values()))
    old, new = named_tensors(model), named_tensors(new_model)
    found = find_vocabulary_tensors(model)
    axes = {name: row_axis(old[name].shape, found.rows) for name in found.names}
    return bool(axes) and all(
        torch.equal(old[name].index_select(axis, old_ids), new[name].index_select(axis, new_ids))
        for name, axis in axes.items()
    )


def highest_id(tokenizer: PreTrainedTokenizerBase, lines: list[str]) -> int:
    in_text = max(max(ids) for ids in tokenizer(lines, truncation=True)["input_ids"])
    return max(in_text, *tokenizer.get_vocab().values(), *tokenizer.all_special_ids)


@torch.inference_mode()
def differences(model, tokenizer, new_model, new_tokenizer, lines, keep) -> tuple[float, float]:
    """Compare outputs on drawn ids and on text; for a model without a head, embeddings of the text (mean pooling)."""
    hidden, drawn = compare_outputs(model, new_model, keep, seed=0)
    outputs = []
    for one, split in ((model, tokenizer), (new_model, new_tokenizer)):
        inputs = split(lines, return_tensors="pt", padding=True, truncation=True, max_length=128)
        inputs.pop("token_type_ids", None)
        decoder = {"decoder_input_ids": inputs["input_ids"]} if one.config.is_encoder_decoder else {}
        states = one.base_model(**inputs, **decoder)[0]
        mask = inputs["attention_mask"].unsqueeze(-1)
        embeddings = (states * mask).sum(1) / mask.sum(1)  # [lines, width]
        outputs.append((embeddings, getattr(one(**inputs, **decoder), "logits", embeddings)))
    (old, old_logits), (new, new_logits) = outputs
    if one.base_model is not one or one.get_output_embeddings() is None:  # else these are logits of all tokens
        hidden = max(hidden, float((old - new).abs().max()))
    if model.get_output_embeddings() is not None:
        old_logits = old_logits[..., torch.from_numpy(keep.old_ids.copy())]
    on_text = float((old_logits - new_logits).abs().max() / old_logits.abs().max())
    return hidden, max(on_text, drawn or 0.0)


if __name__ == "__main__":
    main()

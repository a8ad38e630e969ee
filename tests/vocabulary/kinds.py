"""A tokenizer of every kind, trained in memory, in the class that models use, with a small model of its family."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers as hf
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.trained_tokenizers import with_every_merge
from hf_afro.vocabulary.tokenizers.unigram import BYTE_PIECES
from tests.conftest import tiny_config
from tests.texts import SENTENCES

LINES = [line for lines in SENTENCES.values() for line in lines]
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def bert(lower: bool) -> hf.BertTokenizer:
    """WordPiece in BERT's class, with other tokens before the special ones, as in mBERT."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    unused = [f"unused{letter}" for letter in "abc"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=800, special_tokens=[*unused, *BERT_SPECIALS], initial_alphabet=list("#漢"), show_progress=False
    )
    backend.train_from_iterator(LINES, trainer)
    return hf.BertTokenizer(vocab=backend.get_vocab(), do_lower_case=lower, model_max_length=64)


def bert_model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    settings = tiny_config(len(tokenizer), max_position_embeddings=512).to_dict() | {
        "model_type": "bert",
        "type_vocab_size": 2,
    }
    return hf.BertForMaskedLM(hf.BertConfig(**settings | ids_of(tokenizer)))


def byte_level(specials: list[str], vocab_size: int = 900) -> Tokenizer:
    """Byte-level BPE with the special tokens first."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(LINES, trainer)
    return backend


def roberta() -> hf.RobertaTokenizer:
    """Byte-level BPE in RoBERTa's class, with the mask as the last token."""
    model = json.loads(byte_level(["<s>", "<pad>", "</s>", "<unk>"]).to_str())["model"]
    vocab = {**model["vocab"], "<mask>": len(model["vocab"])}
    return hf.RobertaTokenizer(vocab=vocab, merges=[tuple(merge) for merge in model["merges"]], model_max_length=64)


def roberta_model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    return hf.RobertaForMaskedLM(
        hf.RobertaConfig(
            **tiny_config(len(tokenizer), max_position_embeddings=514).to_dict() | {"model_type": "roberta"}
        )
    )


def modernbert() -> hf.PreTrainedTokenizerFast:
    """Byte-level BPE as in ModernBERT: a generic class, NFC, special and white-space tokens after the pieces."""
    backend = byte_level([])
    backend.normalizer = normalizers.NFC()
    backend.add_tokens([AddedToken("   ", normalized=True), AddedToken("  ", normalized=True)])
    backend.add_special_tokens([AddedToken("[MASK]", lstrip=True), *(one for one in BERT_SPECIALS if one != "[MASK]")])
    ends = [(one, backend.token_to_id(one)) for one in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    return generic(backend)


def generic(backend: Tokenizer) -> hf.PreTrainedTokenizerFast:
    """Wrap a backend with BERT's special tokens in the generic class."""
    names = {f"{one[1:-1].lower()}_token": one for one in BERT_SPECIALS}
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=64,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **names,
    )


def gemma() -> hf.PreTrainedTokenizerFast:
    """BPE with byte fallback as in Gemma and mmBERT: spaces are letters, and several merges make the same piece."""
    backend = Tokenizer(models.BPE(unk_token="[UNK]", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    specials = [*BERT_SPECIALS, *sorted(BYTE_PIECES)]
    spaced = [f" {word}" for line in LINES for word in line.split()]  # else whole sentences become pieces
    trainer = trainers.BpeTrainer(vocab_size=1100, special_tokens=specials, show_progress=False)
    backend.train_from_iterator(spaced, trainer)
    backend = with_every_merge(backend, BERT_SPECIALS)
    ends = [(one, backend.token_to_id(one)) for one in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ends)
    return generic(backend)


def unigram_with_bytes() -> hf.PreTrainedTokenizerFast:
    """Unigram with byte fallback as in SentencePiece; scores only have to be ordered."""
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=BERT_SPECIALS, unk_token="[UNK]", show_progress=False
    )
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.train_from_iterator(LINES, trainer)
    pieces = sorted(backend.get_vocab(), key=backend.token_to_id)
    vocab = [(piece, 0.0 if rank < 5 else -3.0 - rank / 100) for rank, piece in enumerate(pieces)]
    vocab[5:5] = [(piece, -20.0) for piece in sorted(BYTE_PIECES)]
    backend.model = models.Unigram(vocab, unk_id=1, byte_fallback=True)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    ends = [(one, backend.token_to_id(one)) for one in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ends)
    return generic(backend)


def modernbert_model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    config = hf.ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=512,
        **ids_of(tokenizer),
    )
    return hf.ModernBertForMaskedLM(config)


def ids_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, int | None]:
    """Return the special ids for a configuration."""
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }


@dataclass(frozen=True)
class Example:
    """An example of a kind of tokenizer.

    Attributes:
        kind: The name of its kind.
        loads_as: The class that AutoTokenizer returns.
        make: Function that trains it.
        make_model: Function that returns a model for it.
    """

    kind: str
    loads_as: str
    make: Callable[[], PreTrainedTokenizerBase]
    make_model: Callable[[PreTrainedTokenizerBase], PreTrainedModel]


EXAMPLES = {
    "bert, cased": Example("WordPiece", "BertTokenizer", lambda: bert(lower=False), bert_model),
    "bert, lower": Example("WordPiece", "BertTokenizer", lambda: bert(lower=True), bert_model),
    "roberta": Example("byte-level BPE", "RobertaTokenizer", roberta, roberta_model),
    "modernbert": Example("byte-level BPE", "TokenizersBackend", modernbert, modernbert_model),
    "gemma": Example("BPE", "TokenizersBackend", gemma, modernbert_model),
    "unigram, bytes": Example("Unigram", "TokenizersBackend", unigram_with_bytes, bert_model),
}


def model_for(name: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return an untrained model for a tokenizer with random biases, because zeros would hide a wrong row."""
    torch.manual_seed(2)
    model = EXAMPLES[name].make_model(tokenizer).eval()
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("bias"):
            nn.init.normal_(parameter)
    return model


def state_of(tokenizer: PreTrainedTokenizerBase) -> dict:
    return json.loads(tokenizer.backend_tokenizer.to_str())

"""A tokenizer of every kind that can be pruned, trained on the text given; the same specials but for WordPiece."""

from __future__ import annotations

import json

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast, RobertaTokenizer

from hf_afro.steps.pretrain import train_tokenizer
from hf_afro.vocabulary.tokenizers.unigram import BYTE_PIECES

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
_BYTES = sorted(BYTE_PIECES)
_LENGTH = 512


def unigram(lines: list[str], size: int) -> PreTrainedTokenizerBase:
    """As XLM-R."""
    return train_tokenizer(lines, size, _LENGTH)


def unigram_with_bytes(lines: list[str], size: int) -> PreTrainedTokenizerBase:
    """As SentencePiece's Unigram with byte fallback; the bytes stand behind the specials and cost most."""
    state = json.loads(train_tokenizer(lines, size, _LENGTH).backend_tokenizer.to_str())
    vocab = [(piece, score) for piece, score in state["model"]["vocab"]]
    lowest = min(score for _, score in vocab)
    vocab[len(SPECIALS) : len(SPECIALS)] = [(piece, lowest - 1.0) for piece in _BYTES]
    backend = Tokenizer(models.Unigram(vocab, unk_id=SPECIALS.index("<unk>"), byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return _generic(backend)


def wordpiece(lines: list[str], size: int) -> PreTrainedTokenizerBase:
    """As multilingual BERT."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False
    )
    backend.train_from_iterator(lines, trainer)
    return BertTokenizer(vocab=backend.get_vocab(), do_lower_case=False, model_max_length=_LENGTH)


def byte_level(lines: list[str], size: int) -> PreTrainedTokenizerBase:
    """As RoBERTa."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(lines, trainer)
    model = json.loads(backend.to_str())["model"]
    vocab = {**model["vocab"], "<mask>": len(model["vocab"])}
    return RobertaTokenizer(vocab=vocab, merges=[tuple(one) for one in model["merges"]], model_max_length=_LENGTH)


def bpe_with_bytes(lines: list[str], size: int) -> PreTrainedTokenizerBase:
    """As Gemma and mmBERT: spaces are letters, and every pair of pieces that makes a third is a merge."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[*SPECIALS, *_BYTES], show_progress=False)
    backend.train_from_iterator([f" {word}" for line in lines for word in line.split()], trainer)
    backend = with_every_merge(backend, SPECIALS)
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(["<mask>"])
    return _generic(backend)


def with_every_merge(backend: Tokenizer, specials: list[str]) -> Tokenizer:
    """Return a BPE tokenizer with byte fallback whose merges are all pairs of pieces that make a third.

    The trainer knows one merge a piece; SentencePiece's converted list holds every pair.

    Args:
        backend: As trained, the byte pieces among its special tokens.
        specials: Those that stay special.
    """
    state = json.loads(backend.to_str())
    vocab = state["model"]["vocab"]
    pairs = [
        (rank, end, piece[:end], piece[end:])
        for piece, rank in vocab.items()
        for end in range(1, len(piece))
        if piece[:end] in vocab and piece[end:] in vocab and piece not in BYTE_PIECES and piece not in specials
    ]
    state["model"]["merges"] = [[left, right] for _, _, left, right in sorted(pairs)]
    state["added_tokens"] = [one for one in state["added_tokens"] if one["content"] in specials]
    return Tokenizer.from_str(json.dumps(state))


def _generic(backend: Tokenizer) -> PreTrainedTokenizerBase:
    ends = [(one, backend.token_to_id(one)) for one in ("<s>", "</s>")]
    backend.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B </s>", ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=_LENGTH,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


FAMILIES = {
    "Unigram": unigram,
    "Unigram, bytes": unigram_with_bytes,
    "WordPiece": wordpiece,
    "byte-level BPE": byte_level,
    "BPE, bytes": bpe_with_bytes,
}

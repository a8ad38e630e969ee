"""A real tokenizer of every kind, trained in memory, in the class its models use, with a small model of its family."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers as hf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.conftest import tiny_config
from tests.texts import SENTENCES

LINES = [line for lines in SENTENCES.values() for line in lines]
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def bert(lower: bool) -> hf.BertTokenizer:
    """WordPiece in BERT's class; the special tokens do not come first, as in mBERT."""
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
    settings = tiny_config(len(tokenizer)).to_dict() | {"model_type": "bert", "type_vocab_size": 2}
    return hf.BertForMaskedLM(hf.BertConfig(**settings | ids_of(tokenizer)))


def ids_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, int | None]:
    """Return the special ids of a configuration."""
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }


@dataclass(frozen=True)
class Example:
    """A kind of tokenizer as it is met.

    Attributes:
        kind: Its name in tables.
        loads_as: The class that AutoTokenizer gives.
        make: Trains it.
        make_model: From it to a model of a family that uses it, weights untouched.
    """

    kind: str
    loads_as: str
    make: Callable[[], PreTrainedTokenizerBase]
    make_model: Callable[[PreTrainedTokenizerBase], PreTrainedModel]


EXAMPLES = {
    "bert, cased": Example("WordPiece", "BertTokenizer", lambda: bert(lower=False), bert_model),
    "bert, lower": Example("WordPiece", "BertTokenizer", lambda: bert(lower=True), bert_model),
}


def model_for(name: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return an untrained model for a tokenizer, biases drawn too, since zeros would hide a wrong row."""
    torch.manual_seed(2)
    model = EXAMPLES[name].make_model(tokenizer).eval()
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("bias"):
            nn.init.normal_(parameter)
    return model


def state_of(tokenizer: PreTrainedTokenizerBase) -> dict:
    return json.loads(tokenizer.backend_tokenizer.to_str())

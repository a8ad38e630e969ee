"""The step `pretrain`: a small XLM-R trained from scratch, and its tokenizer if none is given."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import sentencepiece
from transformers import (
    PretrainedConfig,
    PreTrainedTokenizerBase,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaTokenizer,
    set_seed,
)
from transformers.hf_argparser import HfArg

from hf_afro.files import folder_written_whole
from hf_afro.pretrained import load_tokenizer
from hf_afro.steps.maft import adapt
from hf_afro.steps.parsing import check_arguments
from hf_afro.steps.plans import of_training
from hf_afro.steps.settings import Input, Limits
from hf_afro.steps.step import Outcome, Plan, Step
from hf_afro.steps.text import TextConfig, prepare_text
from hf_afro.steps.training import can_resume, trainer_arguments
from hf_afro.training import MAFTTrainingArguments

DESCRIPTION = """\
Train a small XLM-R from scratch, and its tokenizer if none is given.

For experiments, and as a baseline: such a model has seen nothing but this text.

  hf-afro pretrain --text texts --hidden_size 256 --num_hidden_layers 4 --output_dir teacher --max_steps 2000

Output: the model and its tokenizer, metrics.json, cleaning.json, history.json and the trainer's checkpoints.
"""
TOKENIZER_SIZE = 4000
_TOKENIZER_FOLDER = "tokenizer"
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_MASK = "<mask>"
# Those that every SentencePiece model has: <unk> <s> </s>.
_OF_SENTENCEPIECE = 3


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """The sizes of the model, its text, and the trainer's arguments."""

    tokenizer: Annotated[str | None, Input("model", is_model=True)] = HfArg(
        default=None, help="folder of a tokenizer; without one it is trained on the text"
    )
    tokenizer_size: Annotated[int | None, Limits(low=100)] = HfArg(
        default=None,
        help=f"size of the tokenizer to train, by default {TOKENIZER_SIZE}; a given tokenizer is checked against it",
    )
    hidden_size: Annotated[int, Limits(low=8)] = HfArg(default=256, help="width of the layers")
    num_hidden_layers: Annotated[int, Limits(low=1)] = HfArg(default=4, help="layers")
    num_attention_heads: Annotated[int, Limits(low=1)] = HfArg(default=4, help="attention heads per layer")
    intermediate_size: Annotated[int, Limits(low=8)] = HfArg(default=1024, help="width inside the feed-forward part")
    dropout: Annotated[float, Limits(low=0, below=1)] = HfArg(
        default=0.0, help="dropout of hidden states and attention"
    )
    no_checkpoints: bool = HfArg(default=False, help="remove the trainer's checkpoints once the training is done")
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check settings against each other."""
        super().__post_init__()
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )


def model_config(config: Config, vocab_size: int, max_length: int, **special_ids: Any) -> PretrainedConfig:
    """Return the configuration of the model."""
    return XLMRobertaConfig(
        vocab_size=vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        max_position_embeddings=max_length + 2,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        **special_ids,
    )


def run(config: Config, folder: Path) -> Outcome:
    """Train the tokenizer, if there is none, and the model.

    Raises:
        ValueError: If a setting is impossible, or the tokenizer does not have `tokenizer_size` tokens.
    """
    arguments = trainer_arguments(MAFTTrainingArguments, config.arguments, folder)
    text = prepare_text(config, arguments.seed)
    with arguments.main_process_first(desc="the tokenizer"):
        tokenizer = _tokenizer(config, text.train, arguments.max_length, folder)
    special_ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    set_seed(arguments.seed)
    model = XLMRobertaForMaskedLM(model_config(config, len(tokenizer), arguments.max_length, **special_ids))
    # Loaded by every process by now; the trainer saves it beside the model.
    trained = None if config.tokenizer is not None else folder / _TOKENIZER_FOLDER
    return adapt(model, tokenizer, text, arguments, folder, keep_checkpoints=not config.no_checkpoints, remove=trained)


def _tokenizer(
    config: Config, text: Mapping[str, list[str]], max_length: int, folder: Path
) -> PreTrainedTokenizerBase:
    if config.tokenizer is not None:
        given = load_tokenizer(config.tokenizer)
        if config.tokenizer_size not in (None, len(given)):
            raise ValueError(
                f"{config.tokenizer} has {len(given)} tokens, and tokenizer_size is {config.tokenizer_size}; correct "
                "it, or leave it out"
            )
        return given
    saved = folder / _TOKENIZER_FOLDER
    if not saved.is_dir():
        lines = (line for own in text.values() for line in own)
        with folder_written_whole(saved, "tokenizer.json") as beside:
            train_tokenizer(lines, config.tokenizer_size or TOKENIZER_SIZE, max_length).save_pretrained(beside)
    # Read back, so that a resumed run has exactly the same tokenizer.
    return load_tokenizer(str(saved))


def train_tokenizer(lines: Iterable[str], size: int, max_length: int) -> PreTrainedTokenizerBase:
    """Train a Unigram tokenizer by SentencePiece, as XLM-R's own was; the same lines give the same tokenizer.

    The trainer of the tokenizers library adds up in parallel and in the order of a hash table, so that tokens of equal
    score change places from run to run; SentencePiece in one thread gives the same scores to the last digit.

    Args:
        lines: Text of all languages; its order has no effect.
        size: Tokens at most, special tokens included; fewer where the text has no more to give.
        max_length: Tokens that the model takes, special ones included.

    Returns:
        An XLM-R tokenizer, the special tokens where XLM-R has them: ``<s> <pad> </s> <unk>`` first, ``<mask>`` last.

    Raises:
        ValueError: If there is no text, or `size` has no room for every character of it.

    References:
        Kudo 2018, "Subword Regularization", section 3.2: the Unigram language model.
    """
    text = sorted(lines)
    # The mark of a word's beginning is a token, white space is not.
    characters = {"▁"}.union(*text) - set(" \t\r\n")
    room = size - len(_SPECIAL) - 1
    if not text:
        raise ValueError("there is no text to train a tokenizer on; expected one line or more")
    if len(characters) > room:
        raise ValueError(
            f"a tokenizer of {size} tokens has room for {room} besides the special ones, but the text has "
            f"{len(characters)} different characters; expected a size of at least {size + len(characters) - room}"
        )
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=trained,
        model_type="unigram",
        vocab_size=room + _OF_SENTENCEPIECE,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        max_sentence_length=1 << 30,  # bytes; a longer line would be left out
        num_threads=1,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    ids = range(_OF_SENTENCEPIECE, len(model))
    tokens = sorted(((model.id_to_piece(i), model.get_score(i)) for i in ids), key=lambda entry: (-entry[1], entry[0]))
    vocab = [*((token, 0.0) for token in _SPECIAL), *tokens, (_MASK, 0.0)]
    return XLMRobertaTokenizer(vocab=vocab, model_max_length=max_length)


def plan(config: Config, inputs: Mapping[str, Plan]) -> Plan:
    """Estimate sizes, steps and tokens."""
    arguments = check_arguments(MAFTTrainingArguments, config.arguments)
    size = config.tokenizer_size or (TOKENIZER_SIZE if config.tokenizer is None else None)
    model = None if size is None else model_config(config, size, arguments.max_length)
    return of_training(config, arguments, model, inputs.get("text"))


STEP = Step(
    name="pretrain",
    description=DESCRIPTION,
    config=Config,
    arguments=MAFTTrainingArguments,
    run=run,
    gives="model",
    can_resume=can_resume,
    plan=plan,
)

"""A small student made out of a large teacher: `build_student`."""

from __future__ import annotations

import logging
import operator
import os
from collections.abc import Sequence
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, XLMRobertaConfig, XLMRobertaForMaskedLM

from hf_afro.families import counted_padding_of, encoder_of, family_of, layers_of, position_offset_of
from hf_afro.students.configuration_afro_student import AfroStudentConfig
from hf_afro.students.modeling_afro_student import AfroStudentForMaskedLM
from hf_afro.students.transplant import transplant_embeddings, transplant_head, transplant_layers
from hf_afro.version import __version__

logger = logging.getLogger(__name__)

LayerRule = Literal["uniform", "last"] | Sequence[int]

# Families whose layers, embeddings and positions are XLM-R's under the same names.
LIKE_XLMR = ("xlm-roberta", "roberta", "camembert", "bert", "afro-student")

_SPECIAL_IDS = ("pad_token_id", "bos_token_id", "eos_token_id")

# What describes the teacher's arithmetic rather than its size.
_KEPT = (
    "type_vocab_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "initializer_range",
    "layer_norm_eps",
)


def build_student(
    teacher: PreTrainedModel,
    *,
    num_hidden_layers: int,
    hidden_size: int,
    tokenizer: PreTrainedTokenizerBase | None = None,
    num_attention_heads: int | None = None,
    intermediate_size: int | None = None,
    embedding_size: int | None = None,
    layers: LayerRule = "uniform",
    unpad: bool | None = None,
    seed: int = 0,
) -> XLMRobertaForMaskedLM | AfroStudentForMaskedLM:
    """Make a masked language model of XLM-R's kind, smaller than its teacher and filled from it.

    Vocabulary, positions, token types, activation, dropout and norms are the teacher's, special ids the tokenizer's.
    With ``W`` the teacher's word embeddings ``[vocab, d]`` and ``W = U S V^T``, the weights are:

    - **Same width** (``hidden_size == d``): word, position and type embeddings and their norm, copied bit by bit.
    - **Narrower** (``H = hidden_size < d``): word rows ``sqrt(H/d) W B`` with ``B = V_H Q``, the H leading singular
      directions under a rotation Q drawn from the seed; equal to ``sqrt(H/d) U_H S_H Q``. No other table of this
      width is closer to the products between the teacher's rows. The factor leaves the mean square of an entry as
      it was, less the energy cut off, so that the norm that follows meets its epsilon at the same scale. Positions
      and types take the same ``sqrt(H/d) B``; the norm is initialised, its columns being new ones.
    - **Factorised** (``E = embedding_size < H``): word rows ``sqrt(E/d) U_E S_E Q'``, and a projection such that rows
      times projection is exactly the best approximation of rank E of what the rows would be without factorising.
    - **Layers**: copied bit by bit where width and intermediate size are the teacher's; initialised otherwise.
    - **Masked-LM head**: the bias of each token is copied; dense layer and norm where their shapes fit. It applies
      GELU and is tied to the word embeddings; where the teacher's does not or is not, a warning says so.

    A row of zeros, as XLM-R's padding has, stays zero. What is initialised comes from `seed` alone; torch's global
    random state and the teacher are left as they are. Relation distillation never trains the last layer's attention
    output, feed-forward part and norms, nor the head: where these are initialised rather than copied, they stay
    random until the student is fitted with a masked-LM term.

    Args:
        teacher: Of any family in the table of families, with a masked-LM head or without, adapters merged.
        num_hidden_layers: Layers of the student, 1 or more.
        hidden_size: Width of the student, 1 to the teacher's.
        tokenizer: The teacher's tokenizer, from which the student takes its special ids. The student counts positions
            from its padding id, so that id has to be the one its text is padded with. A teacher that counts them the
            same way has proved its own; any other, such as BERT, has not, and needs the tokenizer.
        num_attention_heads: Heads a layer, a divisor of `hidden_size`. Left out: the teacher's number at the
            teacher's width, else one for each 64 columns, else the teacher's number where it divides.
        intermediate_size: Width inside the feed-forward part. Left out: the teacher's at the teacher's width, else
            four times `hidden_size`.
        embedding_size: Width of a word embedding, 1 to `hidden_size`. Left out, or `hidden_size` itself: not
            factorised.
        layers: Which teacher layers are copied where shapes allow: "uniform" takes every so-manieth, the last
            included; "last" the last ones; a sequence names them, one index a student layer, from 0.
        unpad: Whether the student may leave padding out of its layers, which spares batches of mixed lengths the
            work on it. Left out: yes where it is factorised. One that is neither is a plain XLM-R, which loads
            without this library.
        seed: Seed of everything drawn.

    Returns:
        The student in evaluation mode, on the CPU, in torch's default precision. Its ``config.built_from`` says what
        was copied, projected and initialised; it is saved and loaded with the configuration.

    Raises:
        ValueError: If the teacher's family is unknown, it carries adapters or is a decoder, if the padding id is
            unknown or is not the one the teacher counts positions from, if the tokenizer is another model's, if a
            size is out of range, or if `layers` asks for what cannot be copied.

    References:
        Layer selection from a teacher: Sanh et al. 2019, DistilBERT. Factorised embedding: Lan et al. 2020, ALBERT,
        section 3.1. Low-rank approximation: Eckart and Young 1936.

    Example:
        >>> from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM
        >>> teacher = XLMRobertaForMaskedLM(XLMRobertaConfig(vocab_size=100, num_hidden_layers=2))
        >>> student = build_student(teacher, num_hidden_layers=1, hidden_size=128, embedding_size=32)
        >>> student.get_input_embeddings().weight.shape
        torch.Size([100, 32])
    """
    _check_teacher(teacher)
    special_ids = _special_ids(teacher, tokenizer)
    config = _student_config(
        teacher,
        special_ids,
        num_hidden_layers=num_hidden_layers,
        hidden_size=hidden_size,
        num_attention_heads=num_attention_heads,
        intermediate_size=intermediate_size,
        embedding_size=embedding_size,
        unpad=unpad,
    )
    sources = _layer_sources(teacher, config, layers)
    model_class = AfroStudentForMaskedLM if isinstance(config, AfroStudentConfig) else XLMRobertaForMaskedLM
    # devices=[] and the CPU's own generator: `torch.manual_seed` would reseed the accelerators for good.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        student = model_class(config).eval()
        built_from: dict[str, Any] = {
            "teacher": _public_name(teacher),
            "teacher_model_type": teacher.config.model_type,
            "hf_afro_version": __version__,
            "seed": seed,
            **transplant_embeddings(teacher, student, seed),
            "layers": sources or "initialised",
            **transplant_head(teacher, student),
        }
    if sources:
        transplant_layers(teacher, student, sources)
    student.config.built_from = built_from
    logger.info(
        "built a student of %d parameters, %d layers of width %d; its configuration says from what: %s",
        student.num_parameters(),
        student.config.num_hidden_layers,
        student.config.hidden_size,
        built_from,
    )
    return student


def _public_name(teacher: PreTrainedModel) -> str:
    """Return the teacher's name on the Hub, or the last part of a path, since configurations are published."""
    name = teacher.config._name_or_path
    return os.path.basename(os.path.normpath(name)) if os.path.isabs(name) else name


def _check_teacher(teacher: PreTrainedModel) -> None:
    family_of(teacher)  # names the families there are, of one that is not known at all
    if teacher.config.model_type not in LIKE_XLMR:
        raise ValueError(
            f"a student cannot be built from {teacher.config.model_type}, whose layers and positions are unlike "
            "XLM-R's; give a teacher of XLM-R's, RoBERTa's or BERT's kind"
        )
    if getattr(teacher, "peft_config", None):
        raise ValueError("the teacher carries adapters; merge them first with teacher.merge_and_unload()")
    if getattr(teacher.config, "is_decoder", False):
        raise ValueError(
            "the teacher's configuration has is_decoder=True, which makes its attention causal, and a student's is "
            "not; load it again with from_pretrained(..., is_decoder=False)"
        )


def _special_ids(teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, int | None]:
    """Return the student's special ids, its padding id the one with which text is really padded."""
    ids = {name: getattr(teacher.config, name) for name in _SPECIAL_IDS}
    counted, model_type = counted_padding_of(teacher), teacher.config.model_type
    if tokenizer is None:
        if counted is not None:
            return {**ids, "pad_token_id": counted}
        if family_of(teacher).position_offset:
            raise ValueError(
                "the teacher was built with pad_token_id=None, and it counts positions from its padding id; load it "
                "again with from_pretrained(..., pad_token_id=...)"
            )
        raise ValueError(
            f"a {model_type} teacher was given without its tokenizer; pass tokenizer=. The student counts positions "
            f"from its padding id, and the teacher's pad_token_id={ids['pad_token_id']} plays no part in its own "
            "forward pass, so it may be wrong: multilingual-e5-small says 0 and its tokenizer pads with 1"
        )
    rows = teacher.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens and the teacher {rows} rows; they do not belong together: "
            "take both from one folder"
        )
    pad = tokenizer.pad_token_id
    if pad is None:
        raise ValueError(f"the tokenizer ({type(tokenizer).__name__}) has no pad_token; set tokenizer.pad_token first")
    if counted not in (None, pad):
        token = repr(tokenizer.convert_ids_to_tokens(counted)) if counted < len(tokenizer) else f"token {counted}"
        raise ValueError(
            f"the {model_type} teacher counts positions from its padding id {counted}, and the tokenizer pads with "
            f"{pad}; the teacher was trained that way, so correct the tokenizer: set tokenizer.pad_token = {token}, "
            "or `pad_token` in tokenizer_config.json"
        )
    if pad != ids["pad_token_id"]:
        logger.warning(
            "The teacher's configuration has pad_token_id=%s and its tokenizer pads with %d: the student takes %d.",
            ids["pad_token_id"],
            pad,
            pad,
        )
    own = {name: getattr(tokenizer, name) for name in _SPECIAL_IDS}
    return ids | {name: value for name, value in own.items() if value is not None}


def _student_config(
    teacher: PreTrainedModel,
    special_ids: dict[str, int | None],
    *,
    num_hidden_layers: int,
    hidden_size: int,
    num_attention_heads: int | None,
    intermediate_size: int | None,
    embedding_size: int | None,
    unpad: bool | None,
) -> XLMRobertaConfig:
    """Check the sizes, fill in those left out, and make the configuration."""
    for name, value in (
        ("num_hidden_layers", num_hidden_layers),
        ("hidden_size", hidden_size),
        ("num_attention_heads", num_attention_heads),
        ("intermediate_size", intermediate_size),
        ("embedding_size", embedding_size),
    ):
        left_out = value is None and name not in ("num_hidden_layers", "hidden_size")
        if not left_out and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{name} is {value!r}; expected a whole number, 1 or more")
    old = teacher.config
    if num_attention_heads is None:
        num_attention_heads = _default_heads(hidden_size, old)
    if intermediate_size is None:
        intermediate_size = old.intermediate_size if hidden_size == old.hidden_size else 4 * hidden_size
    if hidden_size > old.hidden_size:
        raise ValueError(
            f"hidden_size {hidden_size} is wider than the teacher's {old.hidden_size}; choose one up to the teacher's"
        )
    if hidden_size % num_attention_heads:
        raise ValueError(
            f"num_attention_heads {num_attention_heads} does not divide hidden_size {hidden_size}; "
            f"choose one of {_divisors(hidden_size)}"
        )
    if embedding_size is not None and embedding_size > hidden_size:
        raise ValueError(f"embedding_size {embedding_size} is wider than hidden_size {hidden_size}; choose a smaller")

    encoder, family = encoder_of(teacher), family_of(teacher)
    settings = {name: getattr(old, name) for name in _KEPT if hasattr(old, name)} | special_ids
    positions = len(encoder.get_submodule(family.embeddings).position_embeddings.weight) - position_offset_of(teacher)
    settings |= {
        "vocab_size": len(encoder.get_submodule(family.word_embeddings).weight),
        "max_position_embeddings": positions + settings["pad_token_id"] + 1,
        "num_hidden_layers": num_hidden_layers,
        "hidden_size": hidden_size,
        "num_attention_heads": num_attention_heads,
        "intermediate_size": intermediate_size,
    }
    if embedding_size == hidden_size:
        embedding_size = None
    if embedding_size is None and not unpad:
        return XLMRobertaConfig(**settings)
    return AfroStudentConfig(**settings, embedding_size=embedding_size, unpad=True if unpad is None else unpad)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _default_heads(hidden_size: int, teacher_config: Any) -> int:
    """Choose a number of heads as `build_student` documents, or say that it has to be given."""
    teacher_heads = teacher_config.num_attention_heads
    if hidden_size == teacher_config.hidden_size:
        return teacher_heads
    if hidden_size % 64 == 0:
        return hidden_size // 64
    if hidden_size % teacher_heads == 0:
        return teacher_heads
    raise ValueError(
        f"hidden_size {hidden_size} is no multiple of 64 nor of the teacher's {teacher_heads} heads; "
        f"give num_attention_heads, one of {_divisors(hidden_size)}"
    )


def _layer_sources(teacher: PreTrainedModel, config: XLMRobertaConfig, layers: LayerRule) -> list[int]:
    """Return the teacher layer for each of the student's; empty where none can be copied."""
    available, wanted = len(layers_of(teacher)), config.num_hidden_layers
    old = teacher.config
    fit = (config.hidden_size, config.intermediate_size) == (old.hidden_size, old.intermediate_size)
    if isinstance(layers, str):
        if layers not in ("uniform", "last"):
            raise ValueError(f"layers is {layers!r}; expected 'uniform', 'last' or a sequence of teacher layers")
        if not fit:
            return []
        if wanted > available:
            raise ValueError(
                f"{wanted} layers cannot be copied from a teacher of {available}; choose up to {available} layers, "
                "or list the teacher layers, repeats included"
            )
        if layers == "last":
            return list(range(available - wanted, available))
        return [(index + 1) * available // wanted - 1 for index in range(wanted)]

    chosen = [operator.index(index) for index in layers]
    if len(chosen) != wanted or not all(0 <= index < available for index in chosen):
        raise ValueError(
            f"layers is {chosen}; expected {wanted} indices, one a student layer, each from 0 to {available - 1}"
        )
    if not fit:
        raise ValueError(
            f"layers names teacher layers to copy, of width {old.hidden_size} and intermediate size "
            f"{old.intermediate_size}, but the student's are {config.hidden_size} and {config.intermediate_size}; "
            "leave layers out, or give the student the teacher's sizes"
        )
    return chosen

"""Building of a small student from a large teacher, and of its configuration alone."""

from __future__ import annotations

import copy
import logging
import operator
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from transformers import (
    AutoModelForMaskedLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    XLMRobertaConfig,
)

from hf_afro.families import counted_padding_of, encoder_of, family_of, family_of_type, layers_of
from hf_afro.model_folders import HOW_MADE
from hf_afro.students.configuration_afro_student import AfroStudentConfig
from hf_afro.students.initialisation import (
    PooledCounts,
    copy_layers,
    copy_with_fewer_layers,
    initialise_embeddings,
    initialise_head,
    row_weights,
)
from hf_afro.version import __version__

logger = logging.getLogger(__name__)

LayerRule = Literal["uniform", "last"] | Sequence[int]

# Model types whose layers, embeddings and positions are XLM-R's, under the same names; their students have any sizes.
LIKE_XLMR = ("xlm-roberta", "roberta", "camembert", "bert", "afro-student")

# Fields that a student takes from its teacher unchanged.
_KEPT = (
    "vocab_size",
    "bos_token_id",
    "eos_token_id",
    "type_vocab_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "initializer_range",
    "layer_norm_eps",
)
# Fields that a student of another kind does not take: those about the teacher itself, and the pattern of ModernBERT's
# layers as one number, which layers that are left out break. `layer_types` names each layer's kind instead.
_NOT_KEPT = (*HOW_MADE, "_name_or_path", "architectures", "auto_map", "dtype", "global_attn_every_n_layers")


def build_student(
    teacher: PreTrainedModel,
    *,
    num_hidden_layers: int,
    hidden_size: int | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    num_attention_heads: int | None = None,
    intermediate_size: int | None = None,
    embedding_size: int | None = None,
    layers: LayerRule = "uniform",
    unpad: bool | None = None,
    counts: PooledCounts | np.ndarray | torch.Tensor | Sequence[float] | None = None,
    seed: int = 0,
) -> PreTrainedModel:
    """Build a masked language model that is smaller than its teacher, with weights taken from it.

    **A teacher of a type in `LIKE_XLMR`** gives a student of XLM-R's kind, of any depth and width. Vocabulary,
    positions, token types, activation, dropout and norms are those of the teacher, special ids those of the tokenizer.
    With ``W`` the teacher's word embeddings ``[vocab, d]`` and ``W = U S V^T``, the weights are:

    - **Same width** (``hidden_size == d``): word, position and type embeddings and their norm are copied bit by bit.
    - **Narrower** (``H = hidden_size < d``): word embeddings are ``sqrt(H/d) W B`` with ``B = V_H Q``, the H leading
      singular directions under a rotation Q drawn from the seed, which equals ``sqrt(H/d) U_H S_H Q``. No other table
      of this width is closer to the products between the teacher's rows. The factor preserves the mean square of an
      entry, except for the energy cut off, so that the norm that follows sees its epsilon at the same scale. Positions
      and types are multiplied by the same ``sqrt(H/d) B``; the norm is initialised, since its columns are new.
    - **Factorised** (``E = embedding_size < H``): word embeddings are ``sqrt(E/d) U_E S_E Q'``, and the projection is
      such that their product is the best approximation of rank E of the table without factorisation.
    - **Layers** are copied bit for bit if width and intermediate size are the teacher's, otherwise initialised.
    - **Masked-LM head**: the bias of each token is copied, dense layer and norm if their shapes are equal. The head
      applies GELU and is tied to the word embeddings; a warning says so if the teacher's differs.

    With `counts`, V are the directions of running tokens rather than of the vocabulary: they minimise
    ``sum_i f_i ||w_i - w_i V_r V_r^T||^2``. The weight f_i is 99 % the share of token i among those counted and 1 %
    the same for all tokens. Most rows of a table are rare tokens, which otherwise take most of the few directions.

    **A teacher of any other family**, such as ModernBERT, DeBERTa-v2, MPNet, DistilBERT or EuroBERT, gives a student
    of its own class with fewer layers: its configuration, and bit by bit its embeddings, the layers chosen, all that
    layers share, norms, and the head if the teacher has one. Width and all other sizes are the teacher's. A layer of
    ModernBERT keeps its kind, global or local (``config.layer_types``); its first layer has no norm before its
    attention, so the first layer of the student is that of the teacher. ALBERT's layers are shared, so there are none
    to leave out.

    A row of zeros, such as XLM-R's padding, stays zero. Initial values depend on `seed` alone; torch's global random
    state and the teacher do not change. Relation distillation trains neither the last layer's attention output,
    feed-forward part and norms nor the head: if these are initialised rather than copied, they stay random until the
    student is trained with a masked-LM term.

    Args:
        teacher: Of a family in `hf_afro.families` other than ALBERT, with a masked-LM head or without; adapters must
            be merged.
        num_hidden_layers: Number of layers, at least 1.
        hidden_size: Width of the layers, 1 to the teacher's, which is the default.
        tokenizer: The teacher's tokenizer, whose special ids the student takes. A student of XLM-R's kind counts
            positions from its padding id, so that has to be the id that text is padded with. A teacher that counts
            positions in the same way, such as XLM-R, is used without its tokenizer; BERT requires it.
        num_attention_heads: Number of heads per layer, a divisor of `hidden_size`. Default: the teacher's at the
            teacher's width, otherwise one per 64 columns, otherwise the teacher's if it divides `hidden_size`.
        intermediate_size: Width of the feed-forward part. Default: the teacher's at the teacher's width, otherwise
            ``4 * hidden_size``.
        embedding_size: Width of the word embeddings, 1 to `hidden_size`. Default, as for `hidden_size` itself: not
            factorised.
        layers: Teacher layers to copy where shapes allow it: "uniform" for evenly spaced layers up to the last, "last"
            for the last ones, or a sequence of indices from 0, one per layer of the student. For ModernBERT, both
            rules begin with the first layer.
        unpad: Whether the student may leave padding out of its layers, which speeds up batches of mixed lengths.
            Default: True if it is factorised. A student that is neither is a plain XLM-R, which loads without hf_afro.
        counts: How often each token of the teacher's vocabulary occurs: `TokenCounts`, or an array by token id. Of
            counts made before pruning, pass ``counts.pooled()[vocabulary_map.old_ids]``. They have an effect only if
            word embeddings are narrower than the teacher's.
        seed: Seed of all random values.

    Returns:
        The student in evaluation mode, on the CPU, in torch's default precision. Its ``config.built_from`` records
        what was copied, projected and initialised, and is saved and loaded with the configuration:
        ``embedding_energy`` is the share of the squared norm of the word embeddings that narrower ones keep, and
        ``embedding_energy_of_running_tokens`` the same share with each row weighted by f_i, if there are `counts`.

    Raises:
        ValueError: If the teacher's type cannot be used, it carries adapters or is a decoder, its padding id is
            unknown or differs from the tokenizer's, the tokenizer or the counts belong to another vocabulary, a size
            is out of range, or `layers` asks for layers that cannot be copied.

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
    _check_teacher_config(teacher.config)
    if getattr(teacher, "peft_config", None):
        raise ValueError("the teacher carries adapters; merge them first with teacher.merge_and_unload()")
    teacher_config = _loaded_config(teacher)
    if tokenizer is not None:
        _check_tokenizer(teacher_config, tokenizer)
        if tokenizer.pad_token_id != teacher.config.pad_token_id:
            logger.warning(
                "The teacher's configuration has pad_token_id=%s and its tokenizer pads with %d; the student takes "
                "the tokenizer's. No result changes: the teacher's positions do not depend on it.",
                teacher.config.pad_token_id,
                tokenizer.pad_token_id,
            )
        for name in ("bos_token_id", "eos_token_id"):
            if getattr(tokenizer, name) is not None:
                setattr(teacher_config, name, getattr(tokenizer, name))
    config = student_config(
        teacher_config,
        num_hidden_layers=num_hidden_layers,
        hidden_size=hidden_size,
        num_attention_heads=num_attention_heads,
        intermediate_size=intermediate_size,
        embedding_size=embedding_size,
        layers=layers,
        unpad=unpad,
        pad_token_id=None if tokenizer is None else tokenizer.pad_token_id,
    )
    sources = layer_sources(teacher_config, config, layers)
    tokens = None if tokenizer is None else len(tokenizer)
    weights = None if counts is None else row_weights(counts, teacher_config.vocab_size, tokens)
    built_from: dict[str, Any] = {
        "teacher": _public_name(teacher),
        "teacher_model_type": teacher.config.model_type,
        "hf_afro_version": __version__,
        "seed": seed,
        "layers": sources or "initialised",
    }
    # devices=[] and the CPU's generator, because `torch.manual_seed` would also reseed accelerators, and for good.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        student = AutoModelForMaskedLM.from_config(config).eval()
        if teacher.config.model_type in LIKE_XLMR:
            built_from |= initialise_embeddings(teacher, student, seed, weights) | initialise_head(teacher, student)
            if sources:
                copy_layers(teacher, student, sources)
        else:
            built_from |= copy_with_fewer_layers(teacher, student, sources)
    student.config.built_from = built_from
    copied = f"are {', '.join(str(index + 1) for index in sources)} of the teacher, counted from 1"
    logger.info(
        "built a student with %s parameters and %d layers of width %d: the layers %s; the embeddings are %s",
        f"{student.num_parameters():,}",
        student.config.num_hidden_layers,
        student.config.hidden_size,
        copied if sources else "are initialised",
        built_from["embeddings"],
    )
    return student


def _public_name(teacher: PreTrainedModel) -> str:
    """Return the teacher's Hub name, or the last part of its path: configurations are published."""
    name = teacher.config._name_or_path
    is_local = os.path.isabs(name) or os.path.isdir(name)
    return os.path.basename(os.path.normpath(name)) if is_local else name


def student_config(
    teacher_config: PreTrainedConfig,
    *,
    num_hidden_layers: int,
    hidden_size: int | None = None,
    num_attention_heads: int | None = None,
    intermediate_size: int | None = None,
    embedding_size: int | None = None,
    layers: LayerRule = "uniform",
    unpad: bool | None = None,
    pad_token_id: int | None = None,
) -> PreTrainedConfig:
    """Return the configuration of the student that `build_student` builds, from the teacher's configuration alone.

    A plan can use it to check sizes before anything is loaded, and count the student's parameters with
    ``empty_model(student_config(...)).num_parameters()``.

    Args:
        teacher_config: Configuration of a teacher of a family in `hf_afro.families` other than ALBERT.
        num_hidden_layers: This and the following are as for `build_student`, with the same defaults.
        hidden_size: See above.
        num_attention_heads: See above.
        intermediate_size: See above.
        embedding_size: See above.
        layers: See above; it makes a difference to families whose layers are of several kinds, such as ModernBERT.
        unpad: See above.
        pad_token_id: Padding id of the teacher's tokenizer. Required for BERT, whose student counts positions from it.
            For a teacher that counts them itself it must be the teacher's own, which is the default for any other.

    Returns:
        For a teacher in `LIKE_XLMR`, an `XLMRobertaConfig` if the student is neither factorised nor unpadded,
        otherwise an `AfroStudentConfig`. For any other, a configuration of the teacher's class.

    Raises:
        ValueError: If the teacher's type cannot be used, the padding id is unknown or contradicts the teacher's, a
            size is out of range, or `layers` asks for layers that cannot be copied.

    Example:
        >>> from transformers import XLMRobertaConfig
        >>> teacher_config = XLMRobertaConfig(hidden_size=1024, num_attention_heads=8)
        >>> student_config(teacher_config, num_hidden_layers=6, hidden_size=512).num_attention_heads
        8
    """
    sizes = {
        "hidden_size": hidden_size,
        "num_attention_heads": num_attention_heads,
        "intermediate_size": intermediate_size,
        "embedding_size": embedding_size,
    }
    for name, value in {"num_hidden_layers": num_hidden_layers, **sizes}.items():
        left_out = value is None and name in sizes
        if not left_out and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{name} is {value!r}; expected an integer, at least 1")
    _check_teacher_config(teacher_config)
    if teacher_config.model_type not in LIKE_XLMR:
        _check_sizes_kept(teacher_config, sizes | {"unpad": unpad or None})
        return config_with_fewer_layers(teacher_config, num_hidden_layers, layers, pad_token_id)
    return _config_like_xlmr(
        teacher_config, num_hidden_layers, unpad, _padding_id(teacher_config, pad_token_id), **sizes
    )


def _config_like_xlmr(
    teacher_config: PreTrainedConfig,
    num_hidden_layers: int,
    unpad: bool | None,
    pad_token_id: int,
    *,
    hidden_size: int | None,
    num_attention_heads: int | None,
    intermediate_size: int | None,
    embedding_size: int | None,
) -> XLMRobertaConfig:
    """Return the configuration of a student of XLM-R's kind, of any depth and width."""
    if hidden_size is None:
        hidden_size = teacher_config.hidden_size
    if hidden_size > teacher_config.hidden_size:
        raise ValueError(
            f"hidden_size {hidden_size} is wider than the teacher's {teacher_config.hidden_size}; choose a smaller one"
        )
    same_width = hidden_size == teacher_config.hidden_size
    if num_attention_heads is None:
        num_attention_heads = _default_heads(hidden_size, teacher_config)
    if intermediate_size is None:
        intermediate_size = teacher_config.intermediate_size if same_width else 4 * hidden_size
    if hidden_size % num_attention_heads:
        raise ValueError(
            f"num_attention_heads {num_attention_heads} does not divide hidden_size {hidden_size}; "
            f"choose one of {_divisors(hidden_size)}"
        )
    if embedding_size is not None and embedding_size > hidden_size:
        raise ValueError(f"embedding_size {embedding_size} exceeds hidden_size {hidden_size}; choose a smaller one")

    teacher_offset = teacher_config.pad_token_id + 1 if _counts_from_padding(teacher_config) else 0
    positions = teacher_config.max_position_embeddings - teacher_offset
    settings = {
        **{name: getattr(teacher_config, name) for name in _KEPT if hasattr(teacher_config, name)},
        "pad_token_id": pad_token_id,
        "max_position_embeddings": positions + pad_token_id + 1,
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


def _check_sizes_kept(teacher_config: PreTrainedConfig, settings: dict[str, int | None]) -> None:
    """Refuse settings other than the teacher's, for a student of another kind than XLM-R's."""
    changed = {
        name: value
        for name, value in settings.items()
        if value is not None and value != getattr(teacher_config, name, None)
    }
    if changed:
        raise ValueError(
            f"a student of a {teacher_config.model_type} has fewer layers than its teacher and otherwise its sizes, "
            f"but was given {', '.join(f'{name}={value}' for name, value in changed.items())}; leave that out, so "
            f"that the student has the teacher's full width, {teacher_config.hidden_size}. Teachers of XLM-R's, "
            "RoBERTa's and BERT's kind give students of any width"
        )


def config_with_fewer_layers(
    teacher_config: PreTrainedConfig,
    num_hidden_layers: int,
    layers: LayerRule = "uniform",
    pad_token_id: int | None = None,
) -> PreTrainedConfig:
    """Return a configuration with some of its layers; the arguments are those of `student_config`."""
    settings = {name: value for name, value in teacher_config.to_dict().items() if name not in _NOT_KEPT}
    config = type(teacher_config).from_dict(settings)
    config.num_hidden_layers = num_hidden_layers
    if pad_token_id is not None or _counts_from_padding(teacher_config):
        config.pad_token_id = _padding_id(teacher_config, pad_token_id)
    sources = layer_sources(teacher_config, config, layers)
    for name in family_of_type(teacher_config.model_type).layer_fields:
        setattr(config, name, [getattr(teacher_config, name)[source] for source in sources])
    return config


def keep_layers(model: PreTrainedModel, num_hidden_layers: int, layers: LayerRule = "uniform") -> PreTrainedModel:
    """Return a copy of a model, of its own class and with its head, that has only some of its layers.

    Args:
        model: With a head of any kind, such as a fine-tuned classifier; not changed.
        num_hidden_layers: Number of layers to keep.
        layers: Which, as for `build_student`.

    Returns:
        The copy, in evaluation mode and on the CPU.

    Raises:
        ValueError: If the model shares its layers, as ALBERT does, or `layers` asks for layers that it does not have.
    """
    own = _loaded_config(model)
    _check_teacher_config(own)
    config = config_with_fewer_layers(own, num_hidden_layers, layers)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        kept = type(model)(config).eval()
    copy_with_fewer_layers(model, kept, layer_sources(own, config, layers))
    return kept


def empty_model(config: PreTrainedConfig) -> PreTrainedModel:
    """Return the masked language model of a configuration on the meta device, where weights have shapes but no memory.

    ``empty_model(config).num_parameters()`` counts its parameters, tied ones once, and
    ``hf_afro.families.positions_of(empty_model(config))`` returns its maximum length in tokens.
    """
    with torch.device("meta"):
        return AutoModelForMaskedLM.from_config(config)


def _check_teacher_config(config: PreTrainedConfig) -> None:
    family = family_of_type(config.model_type)  # its error lists the families there are
    if family.inner_layers is not None:
        raise ValueError(
            f"a student cannot be built from {config.model_type}, whose passes share their layers: there are no "
            "layers to leave out; expected a teacher with layers of its own for each pass, such as XLM-R or ModernBERT"
        )
    if getattr(config, "is_decoder", False):
        raise ValueError(
            "the teacher's configuration has is_decoder=True, so its attention is causal, unlike a student's; load it "
            "again with from_pretrained(..., is_decoder=False)"
        )


def _counts_from_padding(config: PreTrainedConfig) -> bool:
    """Return whether models of this type count positions from the padding id, as RoBERTa does."""
    return family_of_type(config.model_type).position_offset > 0


def _padding_id(teacher_config: PreTrainedConfig, pad_token_id: int | None) -> int:
    """Return the student's padding id, from which it counts positions."""
    own, model_type = teacher_config.pad_token_id, teacher_config.model_type
    if _counts_from_padding(teacher_config):
        if own is None:
            raise ValueError(
                "the teacher was built with pad_token_id=None, although it counts positions from its padding id; load "
                "it again with from_pretrained(..., pad_token_id=...)"
            )
        if pad_token_id not in (None, own):
            raise ValueError(
                f"the {model_type} teacher counts positions from its padding id {own}, but pad_token_id is "
                f"{pad_token_id}; leave it out"
            )
        return own
    if pad_token_id is None:
        raise ValueError(
            f"a {model_type} teacher requires its tokenizer; pass tokenizer=. The student counts positions from its "
            f"padding id, and the teacher's pad_token_id={own} may be wrong, since its own forward pass does not use "
            "it: multilingual-e5-small says 0, and its tokenizer pads with 1"
        )
    return pad_token_id


def _loaded_config(teacher: PreTrainedModel) -> PreTrainedConfig:
    """Return the teacher's configuration with the sizes, padding id and ties of its modules, where it differs."""
    config, encoder, family = copy.copy(teacher.config), encoder_of(teacher), family_of(teacher)
    words = encoder.get_submodule(family.word_embeddings).weight
    config.vocab_size = len(words)
    positions = getattr(encoder.get_submodule(family.embeddings), "position_embeddings", None)
    if positions is not None:
        config.max_position_embeddings = len(positions.weight)
    config.num_hidden_layers = len(layers_of(teacher))
    if family.position_offset:
        config.pad_token_id = counted_padding_of(teacher)
    output = teacher.get_output_embeddings()
    if output is not None and output.weight is not words and output.weight.shape == words.shape:
        config.tie_word_embeddings = False
    return config


def _check_tokenizer(teacher_config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    rows, pad = teacher_config.vocab_size, tokenizer.pad_token_id
    if len(tokenizer) > rows:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens and the teacher {rows} rows of embeddings; load both from "
            "one folder"
        )
    if pad is None:
        raise ValueError(f"the tokenizer ({type(tokenizer).__name__}) has no pad_token; set tokenizer.pad_token first")
    counted = teacher_config.pad_token_id if _counts_from_padding(teacher_config) else None
    if counted not in (None, pad):
        token = repr(tokenizer.convert_ids_to_tokens(counted)) if counted < len(tokenizer) else f"token {counted}"
        raise ValueError(
            f"the {teacher_config.model_type} teacher counts positions from its padding id {counted}, but the "
            f"tokenizer pads with {pad}; correct the tokenizer: set tokenizer.pad_token = {token}, or `pad_token` in "
            "tokenizer_config.json"
        )


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _default_heads(hidden_size: int, teacher_config: Any) -> int:
    """Return the default number of heads, as `build_student` documents it."""
    teacher_heads = teacher_config.num_attention_heads
    if hidden_size == teacher_config.hidden_size:
        return teacher_heads
    if hidden_size % 64 == 0:
        return hidden_size // 64
    if hidden_size % teacher_heads == 0:
        return teacher_heads
    raise ValueError(
        f"hidden_size {hidden_size} is a multiple neither of 64 nor of the teacher's {teacher_heads} heads; "
        f"pass num_attention_heads, one of {_divisors(hidden_size)}"
    )


def layer_sources(
    teacher_config: PreTrainedConfig, config: PreTrainedConfig, layers: LayerRule = "uniform"
) -> list[int]:
    """Return the teacher's layer that each layer of the student is copied from.

    Args:
        teacher_config: The teacher's configuration.
        config: The student's, as `student_config` returns it.
        layers: As for `build_student`.

    Returns:
        One index per layer of the student, from 0; empty if the sizes of layers differ, so that none can be copied.

    Raises:
        ValueError: If `layers` asks for layers that cannot be copied.
    """
    available, wanted, old = teacher_config.num_hidden_layers, config.num_hidden_layers, teacher_config
    keeps_first = family_of_type(old.model_type).first_layer_differs
    fit = all(getattr(config, size, None) == getattr(old, size, None) for size in ("hidden_size", "intermediate_size"))
    if isinstance(layers, str):
        if layers not in ("uniform", "last"):
            raise ValueError(f"layers is {layers!r}; expected 'uniform', 'last' or a sequence of teacher layers")
        if not fit:
            return []
        if wanted > available:
            raise ValueError(
                f"{wanted} layers cannot be copied from a teacher with {available}; choose at most {available} "
                "layers, or list the teacher's layers with repeats"
            )
        if layers == "last":
            chosen = list(range(available - wanted, available))
            return [0, *chosen[1:]] if keeps_first else chosen
        if keeps_first:
            return [index * (available - 1) // max(wanted - 1, 1) for index in range(wanted)]
        return [(index + 1) * available // wanted - 1 for index in range(wanted)]

    chosen = [operator.index(index) for index in layers]
    if len(chosen) != wanted or not all(0 <= index < available for index in chosen):
        raise ValueError(
            f"layers is {chosen}; expected {wanted} indices, one per layer, each from 0 to {available - 1}"
        )
    if keeps_first and (chosen[0] != 0 or 0 in chosen[1:]):
        raise ValueError(
            f"layers is {chosen}; the first layer of a {old.model_type} lacks a norm that the others have, so the "
            "student's first layer has to be the teacher's: expected 0 at the beginning and nowhere else"
        )
    if not fit:
        raise ValueError(
            f"layers lists teacher layers of width {old.hidden_size} and intermediate size {old.intermediate_size}, "
            f"but the student's have {config.hidden_size} and {config.intermediate_size}; leave layers out, or give "
            "the student the teacher's sizes"
        )
    return chosen

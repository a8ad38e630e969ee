"""Renumber the token ids and vocabulary sizes in a model's configurations and modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

from hf_afro.families import counted_padding_of
from hf_afro.vocabulary.mapping import VocabularyMap
from hf_afro.vocabulary.tensors import models_in, word_embedding_of

# `_token_index` and the `_index` of XLM are older names for token ids.
_ID_ENDINGS = (
    "_token_id",
    "_token_ids",
    "_token_index",
    "bos_index",
    "eos_index",
    "pad_index",
    "unk_index",
    "mask_index",
)
# Settings with ids under other names: lists, lists of lists, or ids by name.
_ID_LISTS = (
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
    "force_words_ids",
    "lang_to_id",
    "task_to_id",
    "lang_code_to_id",
)
_XLM_INDICES = ("eos_index", "pad_index")
_SIZES = ("vocab_size", "decoder_vocab_size")


def renumber_configuration(model: PreTrainedModel, keep: VocabularyMap, old_rows: int, new_rows: int) -> None:
    """Write the new size and the new special ids into all configurations and generation configurations of a model.

    Args:
        model: The pruned model; its configurations are changed in place.
        keep: The map from old ids to new ones.
        old_rows: Rows of its embedding before pruning.
        new_rows: Rows after pruning, including padding.

    Raises:
        ValueError: If a special id of a configuration was not kept.
    """
    resize_configuration(model, old_rows, new_rows)
    for config in _configurations(model):
        _renumber(config, keep)
    for generation in {id(one): one for one in _generation_configurations(model)}.values():
        _renumber(generation, keep)
    _trust_the_weights(model)


def resize_configuration(model: PreTrainedModel, old_rows: int, new_rows: int) -> None:
    """Write the new number of rows into all configurations of a model, in place."""
    main = model.config.get_text_config()
    for config in _configurations(model):
        for name in _SIZES:
            size = vars(config).get(name)
            if size == old_rows or (size is not None and config is main and name == "vocab_size"):
                setattr(config, name, new_rows)


def _configurations(model: PreTrainedModel) -> list[PretrainedConfig]:
    """Return the configurations of a model and its modules, including nested ones, each once."""
    waiting: list[Any] = [vars(module).get("config") for module in model.modules()]
    found: dict[int, PretrainedConfig] = {}
    while waiting:
        one = waiting.pop()
        if isinstance(one, PretrainedConfig) and id(one) not in found:
            found[id(one)] = one
            waiting.extend(vars(one).values())
    return list(found.values())


def _generation_configurations(model: PreTrainedModel) -> Iterator[GenerationConfig]:
    for part in models_in(model):
        if isinstance(getattr(part, "generation_config", None), GenerationConfig):
            yield part.generation_config


def _renumber(config: PretrainedConfig | GenerationConfig, keep: VocabularyMap) -> None:
    for name, value in config.to_dict().items():
        if isinstance(vars(config).get(name), PretrainedConfig):
            continue  # handled by itself
        new = _new_value(name, value, type(config).__name__, keep)
        if new != value:
            setattr(config, name, new)


def _new_value(name: str, value: Any, owner: str, keep: VocabularyMap) -> Any:
    """Return a setting with its ids renumbered, also inside nested settings such as `task_specific_params`."""
    owner = f"{owner}.{name}"
    if value is None:
        return None
    if name.endswith(_ID_ENDINGS) or name in _ID_LISTS:
        return _new_ids(value, owner, keep)
    if name == "forced_decoder_ids":  # [place, id]
        return [[place, _new_ids(one, owner, keep)] for place, one in value]
    if name == "sequence_bias" and isinstance(value, list):  # [[ids], bias]
        return [[_new_ids(ids, owner, keep), bias] for ids, bias in value]
    if name == "sequence_bias":
        return {tuple(_new_ids(ids, owner, keep)): bias for ids, bias in value.items()}
    if isinstance(value, dict):
        return {key: _new_value(str(key), one, owner, keep) for key, one in value.items()}
    return value


def _new_ids(value: Any, name: str, keep: VocabularyMap) -> Any:
    if value is None:
        return None
    if isinstance(value, dict):
        return {key: _new_ids(one, f"{name}[{key!r}]", keep) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_new_ids(one, name, keep) for one in value]
    if value < 0:
        return value  # some configurations use -1 for none
    if value >= keep.old_size or not keep.keeps([value])[0]:
        raise ValueError(
            f"{name} is {value}, a token that was not kept; expected a special token of the tokenizer. "
            "Correct the configuration, or keep the token with select_tokens(extra_tokens=[...])"
        )
    return keep.to_new([value])[0]


def _trust_the_weights(model: PreTrainedModel) -> None:
    """Set `tie_word_embeddings` if the output embedding is tied; otherwise it would be lost on disk.

    The flag is never cleared: weights that differ are loaded as they are, and for T5 it also decides whether the
    decoder's outputs are scaled.
    """
    output = model.get_output_embeddings()
    if output is not None and output.weight is word_embedding_of(model).weight:
        config = model.config.get_text_config()
        if not config.tie_word_embeddings:
            config.tie_word_embeddings = True


def move_padding(model: PreTrainedModel, keep: VocabularyMap, rows: int) -> None:
    """Renumber the padding ids of a pruned model's modules, and the ids that XLM copies from its configuration.

    Args:
        model: The pruned model; it is changed in place.
        keep: The map from old ids to new ones.
        rows: Rows of its embedding, which distinguish token embeddings from position embeddings.

    Raises:
        ValueError: If the padding token was not kept.
    """
    for module in model.modules():
        for name in _XLM_INDICES:
            if isinstance(vars(module).get(name), int):
                setattr(module, name, _new_ids(vars(module)[name], f"{type(module).__name__}.{name}", keep))
        padding = vars(module).get("padding_idx", None)
        if not isinstance(padding, int) or padding < 0:
            continue
        if isinstance(module, nn.Embedding) and module.weight.shape[0] != rows:
            continue
        if padding >= keep.old_size or not keep.keeps([padding])[0]:
            raise ValueError(f"the embedding pads with id {padding}, which is not kept; expected the tokenizer's own")
        module.padding_idx = keep.to_new([padding])[0]


def check_padding(model: PreTrainedModel, keep: VocabularyMap) -> None:
    """Refuse to move the padding id if positions are counted from it (RoBERTa, M2M100).

    Raises:
        ValueError: If the map would move or drop it.
    """
    counted = counted_padding_of(model)
    if counted is None:
        return
    written = getattr(model.config.get_text_config(), "pad_token_id", None)
    # The modules count from the first; after loading from disk, most families count from the second.
    for pad in {counted, counted if written is None else written}:
        if pad >= keep.old_size or not keep.keeps([pad])[0] or keep.to_new([pad])[0] != pad:
            raise ValueError(
                f"{model.config.model_type} counts positions from the padding id {pad}, which the map would move or "
                "drop; expected all ids up to it to be kept, as select_tokens does where they are special tokens"
            )

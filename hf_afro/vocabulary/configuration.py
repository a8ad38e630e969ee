"""Carry the ids in a model's configuration over to the new vocabulary."""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

from hf_afro.vocabulary.mapping import VocabularyMap

_ID_ENDINGS = ("_token_id", "_token_ids")
# Settings of generation that hold ids under other names: lists of ids, or lists of lists.
_ID_LISTS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "force_words_ids")


def renumber_configuration(model: PreTrainedModel, keep: VocabularyMap) -> None:
    """Write the new size and the new special ids into a model's configuration and generation configuration.

    Args:
        model: The pruned model, whose configuration is its own; it is changed in place.
        keep: The map from old ids to new ones.

    Raises:
        ValueError: If a special id of the configuration was not kept.
    """
    model.config.vocab_size = len(keep)
    _renumber(model.config, model.config.to_dict(), keep)
    generation = getattr(model, "generation_config", None)
    if generation is not None:
        _renumber(generation, generation.to_dict(), keep)


def _renumber(config: PretrainedConfig | GenerationConfig, values: dict[str, Any], keep: VocabularyMap) -> None:
    for name, value in values.items():
        if value is not None and (name.endswith(_ID_ENDINGS) or name in _ID_LISTS):
            setattr(config, name, _new_ids(value, f"{type(config).__name__}.{name}", keep))


def _new_ids(value: Any, name: str, keep: VocabularyMap) -> Any:
    if isinstance(value, (list, tuple)):
        return [_new_ids(one, name, keep) for one in value]
    if value < 0:
        return value  # some configurations write -1 for none
    if value >= keep.old_size or not keep.keeps([value])[0]:
        raise ValueError(
            f"{name} is {value}, a token that was not kept; expected a special token of the tokenizer. "
            "Correct the configuration, or keep the token with select_tokens(extra_tokens=[...])"
        )
    return keep.to_new([value])[0]

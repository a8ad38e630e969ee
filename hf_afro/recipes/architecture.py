"""The size of an encoder of XLM-R's kind by arithmetic, so that a plan needs no weights and no network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_afro.families import FAMILIES
from hf_afro.recipes.schema import setting


@dataclass(frozen=True)
class Architecture:
    """The sizes of an encoder of XLM-R's kind, its masked-LM head tied to its embedding.

    Attributes:
        vocab_size: Rows of the embedding.
        hidden_size: Width of the layers.
        num_hidden_layers: Layers.
        num_attention_heads: Heads a layer; they change no size.
        intermediate_size: Width inside the feed-forward part.
        max_position_embeddings: Rows of the position embedding.
        embedding_size: Width of a row of the embedding where it is factorised.
        type_vocab_size: Rows of the token type embedding; BERT has 2.
        position_offset: Rows of the position embedding before the first token's: XLM-R counts from behind its
            padding id, so that 514 rows hold 512 tokens; BERT counts from 0.
        pad_token_id: The padding id. Of a student of BERT, whose positions are counted as XLM-R's.
    """

    vocab_size: int = setting(help="rows of the embedding", low=5)
    hidden_size: int = setting(help="width of the layers", low=1)
    num_hidden_layers: int = setting(help="layers", low=1)
    num_attention_heads: int = setting(help="attention heads a layer", low=1)
    intermediate_size: int = setting(help="width inside the feed-forward part", low=1)
    max_position_embeddings: int = setting(514, help="rows of the position embedding", low=5)
    embedding_size: int | None = setting(None, help="width of a row of the embedding, if factorised", low=1)
    type_vocab_size: int = setting(1, help="rows of the token type embedding; 2 for BERT", low=1)
    position_offset: int = setting(2, help="position rows before the first token's; 0 for BERT", low=0)
    pad_token_id: int = setting(1, help="the padding id; 0 for BERT", low=0)

    def __post_init__(self) -> None:
        """Check what concerns several sizes."""
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )

    @property
    def parameters(self) -> int:
        """Parameters of the masked language model, tied ones once."""
        width, inner = self.hidden_size, self.intermediate_size
        row = self.embedding_size or width
        projection = row * width if row != width else 0
        embeddings = (
            self.vocab_size * row + projection + (self.max_position_embeddings + self.type_vocab_size + 2) * width
        )
        layer = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
        head = width * row + row + 2 * row + self.vocab_size
        return embeddings + self.num_hidden_layers * layer + head

    @property
    def longest_text(self) -> int:
        """Tokens of the longest text."""
        return self.max_position_embeddings - self.position_offset

    def student(self, **sizes: Any) -> Architecture:
        """Return the sizes of a student of this model, whose positions are counted as XLM-R's are."""
        offset = self.pad_token_id + 1
        return self.with_(max_position_embeddings=self.longest_text + offset, position_offset=offset, **sizes)

    def with_(self, **sizes: Any) -> Architecture:
        """Return the same with some sizes changed."""
        return dataclasses.replace(self, **sizes)

    @classmethod
    def required(cls) -> tuple[str, ...]:
        """Return the names of the sizes that have no default."""
        return tuple(field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING)

    @classmethod
    def of_config(cls, config: Any) -> Architecture:
        """Read the sizes off a configuration of transformers.

        Raises:
            ValueError: If it is not of XLM-R's kind and has no such size.
        """
        sizes = {field.name: getattr(config, field.name, None) for field in dataclasses.fields(cls)}
        missing = [name for name in cls.required() if sizes[name] is None]
        if missing:
            raise ValueError(
                f"the configuration of {config.model_type} has no {', '.join(missing)}; expected an encoder of "
                "XLM-R's kind"
            )
        return cls.of_facts({"model_type": config.model_type, **sizes})

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Architecture:
        """Read the sizes off what a config.json holds; what it leaves out is as its model type has it."""
        from transformers import CONFIG_MAPPING

        defaults = CONFIG_MAPPING[facts["model_type"]]().to_dict() if facts["model_type"] in CONFIG_MAPPING else {}
        names = [field.name for field in dataclasses.fields(cls)]
        sizes = {name: value for name in names if (value := facts.get(name, defaults.get(name))) is not None}
        family = FAMILIES.get(facts["model_type"])
        counts_from_padding = family is None or bool(family.position_offset)
        return cls(**sizes | {"position_offset": sizes.get("pad_token_id", 1) + 1 if counts_from_padding else 0})

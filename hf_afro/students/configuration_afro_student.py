"""Configuration of a student: XLM-R's, with the width of the word embeddings and whether padding is left out.

This file, `modeling_afro_student` and `unpadding_afro_student` import only torch, transformers and each other, so that
they can be saved with a model as remote code.
"""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict, validated_field
from transformers.models.xlm_roberta.configuration_xlm_roberta import XLMRobertaConfig


# Explicit checks, because `strict` reads types from annotations, and postponed annotations are plain strings.
def _check_embedding_size(value: Any) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(
            f"embedding_size is {value!r}; expected the width of the word embeddings, at least 1, or None for the "
            "hidden size"
        )


def _check_unpad(value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"unpad is {value!r}; expected True or False")


@strict
class AfroStudentConfig(XLMRobertaConfig):
    """Configuration of an XLM-R encoder whose word embeddings may be narrower than its layers.

    All fields of `XLMRobertaConfig` exist and mean the same.

    Args:
        embedding_size: Width of the word embeddings, 1 to `hidden_size`. ``None`` and `hidden_size` itself mean plain
            XLM-R. Smaller values mean a table ``[vocab_size, embedding_size]`` and a projection to `hidden_size`
            without bias; the masked-LM head is then as narrow as the table, as in ALBERT.
        unpad: Whether padding may be left out of the layers. This changes the speed, never the result for a token.
            Where padding cannot be left out, as in exports, the batch is run padded.

    Raises:
        StrictDataclassError: If a value is out of range; the message says what is expected.

    References:
        Factorised embedding parameterisation: Lan et al. 2020, ALBERT, section 3.1.

    Example:
        >>> from hf_afro import AfroStudentConfig
        >>> AfroStudentConfig(hidden_size=384, num_attention_heads=6, embedding_size=128).is_factorised
        True
    """

    model_type = "afro-student"

    embedding_size: int | None = validated_field(_check_embedding_size, default=None)
    unpad: bool = validated_field(_check_unpad, default=True)

    @property
    def is_factorised(self) -> bool:
        """Whether the word embeddings are narrower than the layers, with a projection between them."""
        return self.embedding_size is not None and self.embedding_size != self.hidden_size

    @property
    def word_embedding_width(self) -> int:
        """Width of the word embeddings and of `inputs_embeds`."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    def validate_student(self) -> None:
        """Check fields against each other; transformers calls this method when a configuration is created.

        Raises:
            ValueError: If the hidden size is not a multiple of the heads, or is smaller than the embedding size.
        """
        # XLM-R skips this check for configurations that have an `embedding_size`, as this one does.
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}; choose a number of heads that divides it"
            )
        if self.embedding_size is not None and self.embedding_size > self.hidden_size:
            raise ValueError(
                f"embedding_size {self.embedding_size} is wider than hidden_size {self.hidden_size}; "
                "choose one up to hidden_size, or None for the same width"
            )

"""The configuration of a student: XLM-R's, and how wide a row of its word embeddings is.

This file, `modeling_afro_student` and `unpadding_afro_student` import torch, transformers and each other only, so that
they can travel beside a checkpoint as remote code.
"""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict, validated_field
from transformers.models.xlm_roberta.configuration_xlm_roberta import XLMRobertaConfig


# Checked by hand: `strict` reads the types of annotations, and postponed ones reach it as plain strings.
def _check_embedding_size(value: Any) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(
            f"embedding_size is {value!r}; expected the width of a row of word embeddings, 1 or more, "
            "or None for as wide as the hidden size"
        )


def _check_unpad(value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"unpad is {value!r}; expected True or False")


@strict
class AfroStudentConfig(XLMRobertaConfig):
    """Describe an XLM-R encoder whose word embeddings may be narrower than its layers.

    Every field of `XLMRobertaConfig` is here and means the same.

    Args:
        embedding_size: Width of a row of word embeddings, 1 to `hidden_size`. ``None``, or `hidden_size` itself,
            is plain XLM-R. Anything less keeps a table ``[vocab_size, embedding_size]`` and a projection to
            `hidden_size` without bias; the masked-LM head is then as narrow as the table, as in ALBERT.
        unpad: Whether padding may be left out of the layers. It changes speed, never what is computed for a token,
            and it is a permission: where padding cannot be left out, as when exporting, the batch is run padded.

    Raises:
        StrictDataclassError: If a value is out of its range; the message says which and what would fit.

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
        """Whether the word embeddings are narrower than the layers and have a projection."""
        return self.embedding_size is not None and self.embedding_size != self.hidden_size

    @property
    def word_embedding_width(self) -> int:
        """Width of a row of word embeddings, `inputs_embeds` included."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    def validate_student(self) -> None:
        """Check what concerns several fields; transformers calls this once the configuration is made.

        Raises:
            ValueError: If the hidden size has no whole share for each head, or is narrower than an embedding.
        """
        # XLM-R leaves this check out for every configuration that has an `embedding_size`, as this one does.
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

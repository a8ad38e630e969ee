"""Read and rewrite tokenizers: one file per kind of model, and what they share."""

from __future__ import annotations

from hf_afro.vocabulary.tokenizers.backend import TokenizerTable, read_table, rewrite_tokenizer

__all__ = ["TokenizerTable", "read_table", "rewrite_tokenizer"]

"""One file a kind of tokenizer model: how its pieces are read, kept and renumbered."""

from __future__ import annotations

from hf_afro.vocabulary.tokenizers.backend import TokenizerTable, read_table, rewrite_tokenizer

__all__ = ["TokenizerTable", "read_table", "rewrite_tokenizer"]

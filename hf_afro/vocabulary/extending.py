"""Add tokens for scripts that a tokenizer lacks and words that it splits, with rows for them in the model."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hf_afro.languages import script_names
from hf_afro.vocabulary.configuration import resize_configuration
from hf_afro.vocabulary.new_tokens import OldTokenizer, tokens_of_scripts, tokens_of_words
from hf_afro.vocabulary.tensors import copy_with_rows, find_vocabulary_tensors, named_tensors, row_axis
from hf_afro.vocabulary.tokenizers import TokenizerTable
from hf_afro.vocabulary.tokenizers.backend import plain_backend
from hf_afro.vocabulary.tokenizers.cutting import rebuild_tokenizer, save_tokenizer

# Rows of new tokens that could not be spelt before are the mean of all rows plus noise of this share of their standard
# deviation, so that no two are equal.
_SPREAD = 0.1


@dataclass(frozen=True, eq=False)
class ExtendedVocabulary:
    """A model and a tokenizer with new tokens after the old ones.

    Attributes:
        model: The model; the rows of old tokens are unchanged.
        tokenizer: The tokenizer, which splits other text as before.
        pieces: The new tokens in the order of their ids, which start at ``len(old tokenizer)``.
        from_pieces: How many of them were initialised with the mean of the tokens that spelt them before; the others
            start near the mean of all rows.
        old_tokens_per_word: Tokens per word (separated by spaces) of the text given, before.
        new_tokens_per_word: Tokens per word of the same text with the new tokens.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pieces: tuple[str, ...]
    from_pieces: int
    old_tokens_per_word: float
    new_tokens_per_word: float

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Save model and tokenizer to a folder that has no tokenizer files yet."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        save_tokenizer(self.tokenizer, folder)


def extend_vocabulary(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    num_tokens: int,
    *,
    scripts: Iterable[str] | None = None,
    shared_bytes: bool = False,
    seed: int = 0,
) -> ExtendedVocabulary:
    """Add tokens to a tokenizer of any kind, for scripts that it lacks or words that it splits, and rows to its model.

    With `scripts`, subwords are learnt from the text, and those with a letter of the scripts are added, single letters
    first. Text without letters of the scripts is split as before. Without `scripts`, the words that save the most
    tokens in the text are added, as they stand between spaces, each as one token:

    | kind | text without the new words | a longer word that begins with a new word |
    |---|---|---|
    | BPE, byte-level BPE | split as before | split as before |
    | Unigram | split as before | may be split otherwise, into the new word and the rest |
    | WordPiece | split as before | the new word and the rest, unless an old token is longer |

    A word inside or at the end of a longer word is never used. A BPE tokenizer with new words looks up whole words
    before it merges, which tokenizer.json describes and only the generic class `PreTrainedTokenizerFast` reads; the
    result is of that class. Model and tokenizer given are not changed.

    The row of a new token is the mean of the rows of the tokens that spelt it before, or near the mean of all rows if
    nothing could spell it. Train the embeddings alone for some steps afterwards (`embedding_warmup_steps`).

    Args:
        model: A model with any head, without adapters.
        tokenizer: Its tokenizer, of kind Unigram (XLM-R), WordPiece (BERT), byte-level BPE (RoBERTa, ModernBERT) or
            BPE (mmBERT).
        texts: Lines of text; with `scripts`, words of other scripts are ignored.
        num_tokens: Maximum number of tokens to add; fewer if the text yields fewer.
        scripts: As `hf_afro.languages.script_names` takes them, such as ``"Nko"`` and ``"Tifinagh"``; None for words.
        shared_bytes: For scripts in a byte-level BPE tokenizer, whether first bytes of a letter may be joined if
            characters of other scripts begin with them too, as with Adlam (U+1E000 to U+1EFFF) and Tifinagh (Georgian
            letters from U+2D00); only these characters are then split otherwise.
        seed: Seed of the noise added to rows near the mean.

    Raises:
        TypeError: If the tokenizer is not a fast one, or `scripts` is a string.
        ValueError: If Unicode has no such script, the text contains none of it or nothing to add, it has more letters
            than `num_tokens`, or other text would be split otherwise.

    Example:
        >>> extended = extend_vocabulary(model, tokenizer, nko_lines, 2000, scripts=["Nko"])
        >>> extended.save_pretrained("with-nko")
    """
    lines, old = list(texts), OldTokenizer.of(tokenizer)
    if scripts is None:
        state, pieces = tokens_of_words(old, lines, num_tokens)
    else:
        state, pieces = tokens_of_scripts(old, lines, num_tokens, script_names(scripts), shared_bytes)
    settings: dict[str, Any] = {}
    if state["model"].get("ignore_merges"):  # which classes such as RobertaTokenizer would drop
        settings = {"loader": PreTrainedTokenizerFast, "model_input_names": tokenizer.model_input_names}
    extended = rebuild_tokenizer(tokenizer, state, **settings)
    spelt = list(map(old.spelt_by(), pieces))
    return ExtendedVocabulary(
        model=_with_rows(model, old.table, spelt, seed),
        tokenizer=extended,
        pieces=pieces,
        from_pieces=sum(map(bool, spelt)),
        old_tokens_per_word=_tokens_per_word(lines, tokenizer),
        new_tokens_per_word=_tokens_per_word(lines, extended),
    )


def _tokens_per_word(lines: list[str], tokenizer: PreTrainedTokenizerBase) -> float:
    backend = plain_backend(tokenizer)
    tokens = sum(len(backend.encode(line, add_special_tokens=False).ids) for line in lines)
    return tokens / max(sum(len(line.split()) for line in lines), 1)


def _with_rows(model: PreTrainedModel, table: TokenizerTable, spelt: list[list[int]], seed: int) -> PreTrainedModel:
    """Return a copy of a model with a row for each new token after the rows of the old ones.

    Args:
        model: The model; spare rows after its tokens are used first.
        table: The tokens of the old tokenizer.
        spelt: The old ids that spelt each new token; empty if nothing did.
        seed: See `extend_vocabulary`.
    """
    found = find_vocabulary_tensors(model)
    first, rows = len(table), max(found.rows, len(table) + len(spelt))
    if found.rows < first:
        raise ValueError(f"the tokenizer has {first} tokens and the model {found.rows} rows; take both of one folder")
    extended = copy_with_rows(model, found, torch.arange(found.rows), rows - found.rows)
    resize_configuration(extended, found.rows, rows)
    specials = set(table.special_ids)
    ordinary = torch.tensor([index for index in range(first) if index not in specials])
    generator = torch.Generator().manual_seed(seed)
    done: set[int] = set()
    for name, tensor in named_tensors(extended).items():
        if name not in found.names or id(tensor) in done:
            continue  # no vocabulary tensor, or tied to one already done
        done.add(id(tensor))
        by_token = tensor.detach().movedim(row_axis(tensor.shape, rows), 0)  # a view: [rows, ...]
        old = by_token[ordinary.to(tensor.device)].double()
        mean, spread = old.mean(0), old.std(0) if old.dim() > 1 else torch.zeros(())
        for index, ids in enumerate(spelt):
            noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64).to(mean.device)
            row = by_token[ids].double().mean(0) if ids else mean + _SPREAD * spread.to(mean.device) * noise
            by_token[first + index] = row.to(tensor.dtype)
    return extended

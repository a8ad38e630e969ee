"""Add tokens for scripts that a tokenizer lacks, such as N'Ko or Tifinagh, with rows for them in the model."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex
import sentencepiece
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_afro.languages import script_names
from hf_afro.vocabulary.configuration import resize_configuration
from hf_afro.vocabulary.tensors import copy_with_rows, find_vocabulary_tensors, named_tensors, row_axis
from hf_afro.vocabulary.tokenizers import TokenizerTable
from hf_afro.vocabulary.tokenizers.backend import backend_state, table_of
from hf_afro.vocabulary.tokenizers.cutting import rebuild_tokenizer, save_tokenizer
from hf_afro.vocabulary.tokenizers.unigram import KIND as UNIGRAM

# SentencePiece's own first pieces: <unk>, <s>, </s>.
_OF_SENTENCEPIECE = 3
# Rows of new tokens that could not be spelt before are the mean of all rows plus noise of this share of their standard
# deviation, so that no two are equal.
_SPREAD = 0.1


@dataclass(frozen=True, eq=False)
class ExtendedVocabulary:
    """A model and a tokenizer with new tokens after the old ones.

    Attributes:
        model: The model; the rows of old tokens are unchanged.
        tokenizer: The tokenizer, which splits text without the new scripts as before.
        pieces: The new tokens in the order of their ids, which start at ``len(old tokenizer)``.
        from_pieces: How many of them were initialised with the mean of the tokens that spelt them before; the others
            start near the mean of all rows.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pieces: tuple[str, ...]
    from_pieces: int

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
    scripts: Iterable[str],
    seed: int = 0,
) -> ExtendedVocabulary:
    """Add tokens for scripts that a Unigram tokenizer lacks, and rows for them in its model.

    A Unigram model is trained on the text; its tokens that contain a letter of the scripts and are not in the
    vocabulary yet are added, single letters first. Text without these scripts is split as before. Model and tokenizer
    are not changed. The row of a new token is the mean of the rows of the tokens that spelt it before, or near the
    mean of all rows if nothing could spell it. Train the embeddings alone for some steps afterwards
    (`embedding_warmup_steps`).

    Args:
        model: A model with any head, without adapters.
        tokenizer: Its tokenizer, of kind Unigram (XLM-R, DeBERTa-v3 and others).
        texts: Lines with text in these scripts; other words are ignored.
        num_tokens: Maximum number of tokens to add; fewer if the text yields fewer.
        scripts: As `hf_afro.languages.script_names` takes them, such as ``"Nko"`` and ``"Tifinagh"``.
        seed: Seed of the noise added to rows near the mean.

    Raises:
        TypeError: If the tokenizer is not a fast one, or `scripts` is a string.
        ValueError: If the tokenizer is not of kind Unigram, Unicode has no such script, the text contains none of it,
            or it has more letters than `num_tokens`.

    Example:
        >>> extended = extend_vocabulary(model, tokenizer, nko_lines, 2000, scripts=["Nko"])
        >>> extended.save_pretrained("with-nko")
    """
    wanted = script_names(scripts)
    state = backend_state(tokenizer)
    table = table_of(state, tokenizer.unk_token)
    if table.kind != UNIGRAM.name:
        raise ValueError(f"the tokenizer is of kind {table.kind}; tokens can be added to kind {UNIGRAM.name} only")
    pieces = _new_pieces(table, _words(texts, tokenizer, wanted), num_tokens, wanted)
    extended_tokenizer = rebuild_tokenizer(tokenizer, _with_pieces(state, table, pieces))
    split = tokenizer.backend_tokenizer.model.tokenize
    parts = [[token.id for token in split(piece)] for piece, _ in pieces]
    spelt = [own if table.unknown_id not in own else [] for own in parts]
    return ExtendedVocabulary(
        model=_with_rows(model, table, spelt, seed),
        tokenizer=extended_tokenizer,
        pieces=tuple(piece for piece, _ in pieces),
        from_pieces=sum(map(bool, spelt)),
    )


def _words(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, scripts: Sequence[str]) -> list[str]:
    """Return the normalised words that contain a letter of the scripts."""
    wanted, normalizer = _letters_of(scripts), tokenizer.backend_tokenizer.normalizer
    normalized = (text if normalizer is None else normalizer.normalize_str(text) for text in texts)
    words = [word for text in normalized for word in text.replace("\u2581", " ").split() if wanted.search(word)]
    if not words:
        raise ValueError(f"the texts hold no word of {', '.join(scripts) or 'no script'}; give text and its script")
    return words


def _letters_of(scripts: Sequence[str]) -> regex.Pattern[str]:
    return regex.compile("|".join(rf"\p{{Script={script}}}" for script in scripts) or r"(?!)")


def _new_pieces(
    table: TokenizerTable, words: list[str], num_tokens: int, scripts: Sequence[str]
) -> list[tuple[str, float]]:
    """Return the tokens to add with their scores, single letters first, then by score."""
    wanted, known = _letters_of(scripts), set(table.pieces)
    characters = {"\u2581"}.union(*words)
    letters = {one for one in characters if wanted.search(one)} - known
    if len(letters) > num_tokens:
        raise ValueError(
            f"num_tokens={num_tokens}, and the text has {len(letters)} letters of {', '.join(scripts)} without a "
            "token; expected room for each of them"
        )
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sorted(words)),
        model_writer=trained,
        model_type="unigram",
        vocab_size=num_tokens + len(characters) + _OF_SENTENCEPIECE,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        num_threads=1,  # with more threads, tokens of equal score change places between runs
        minloglevel=2,
    )
    learnt = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    # An unknown character costs the lowest score minus 10, so the lowest score must not change.
    lowest = min(score for score in table.scores.tolist() if score == score)
    found = [
        (learnt.id_to_piece(index), max(learnt.get_score(index), lowest))
        for index in range(_OF_SENTENCEPIECE, len(learnt))
    ]
    new = [entry for entry in found if entry[0] not in known and wanted.search(entry[0])]
    return sorted(new, key=lambda entry: (entry[0] not in letters, -entry[1], entry[0]))[:num_tokens]


def _with_pieces(state: dict[str, Any], table: TokenizerTable, pieces: list[tuple[str, float]]) -> dict[str, Any]:
    """Return a backend in JSON form with tokens added at the end, so that no id changes."""
    model = state["model"]
    # Added tokens after the model's own tokens become tokens of the model, or the new ones would take their ids. They
    # are still matched before the model sees the text, like XLM-R's mask, which is in both lists.
    beyond = [[piece, 0.0] for piece in table.pieces[len(model["vocab"]) :]]
    return {**state, "model": {**model, "vocab": [*model["vocab"], *beyond, *map(list, pieces)]}}


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

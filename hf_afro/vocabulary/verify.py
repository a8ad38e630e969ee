"""verify: read a pruned folder back from disk and hold every row, token and output against the original."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hf_afro.vocabulary.adapters import adapters_of, load_adapters, prune_adapter, saved_adapter, without_adapters
from hf_afro.vocabulary.mapping import MAP_FILE, VocabularyMap
from hf_afro.vocabulary.outputs import compare_outputs
from hf_afro.vocabulary.segmentation import TextReport, compare_segmentation, probe_texts
from hf_afro.vocabulary.tensors import (
    find_vocabulary_tensors,
    models_in,
    named_tensors,
    padding_value,
    row_axis,
    word_embedding_of,
)
from hf_afro.vocabulary.tokenizers.backend import backend_state, kind_of, table_of
from hf_afro.vocabulary.tokenizers.table import TokenizerTable

REPORT_FILE = "pruning_report.json"

# Logits come from another matrix shape, which may round otherwise: relative to the largest, by type.
_LOGIT_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
_ROWS_AT_ONCE = 16_384
_PERHAPS_TRAINED = (
    "one of the models may have been changed (trained) since it was pruned: save the pruned model before training, or "
    "save the trained one itself with model.save_pretrained"
)


class VerificationError(RuntimeError):
    """Something read back from a pruned folder is not what the original says it should be."""


@dataclass(frozen=True)
class VerificationReport:
    """What was compared, and how closely it agreed.

    Attributes:
        tokens: Ids of the new tokenizer, each the same piece as its old id, in every class it was loaded by.
        tokenizer_classes: Those classes.
        vocabulary_tensors: Tensors with a row a token, every row bit-equal to the old row of its token.
        other_tensors: All other tensors, bit-equal.
        texts_kept: Texts tried whose old pieces are all kept; each was split alike.
        texts_other: Texts tried with a piece that was dropped; nothing is asked of them.
        hidden_difference: Largest difference of last hidden states; 0.0. None where no model was run, as by
            `prune_checkpoint`: what follows from equal weights is not tried.
        logit_difference: Largest difference of logits over the largest logit; None without a language model head.
        held_out: How each language's text given to judge by is split before and after; empty where none was given.
    """

    tokens: int
    tokenizer_classes: tuple[str, ...]
    vocabulary_tensors: int
    other_tensors: int
    texts_kept: int
    texts_other: int
    hidden_difference: float | None
    logit_difference: float | None
    held_out: dict[str, TextReport] = field(default_factory=dict)


def verify(
    folder: str | os.PathLike[str],
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    texts: Iterable[str] = (),
    seed: int = 0,
) -> VerificationReport:
    """Check a pruned folder against the model and the tokenizer it was made from.

    Args:
        folder: Folder with model, tokenizer and ``vocabulary_map.json``.
        model: The original model; it is only read.
        tokenizer: The original tokenizer; it is only read.
        texts: Text to split with both tokenizers, beside texts made of pieces drawn by `seed`.
        seed: Seed of the texts and ids drawn.

    Raises:
        VerificationError: If anything differs: a row, a tie, a piece, a special token, the way a text whose pieces
            are all kept is split, a hidden state, a logit.
    """
    folder = Path(folder)
    keep = VocabularyMap.load(folder / MAP_FILE)
    state = backend_state(tokenizer)
    table = table_of(state, tokenizer.unk_token)
    tried = [*probe_texts(table, keep, seed), *texts]
    original = (tokenizer, np.arange(len(table)))
    classes, texts_kept, texts_other = verify_tokenizer(folder, original, state, table, keep, tried)
    base = without_adapters(model)
    read_back = _read_back(folder, base)
    vocabulary_tensors, other_tensors = _check_weights(read_back, base, keep)
    if isinstance(model, PeftModel):
        other_tensors += _check_adapters(folder, model, base, keep, len(word_embedding_of(read_back).weight))
        base, read_back = model.get_base_model(), load_adapters(read_back, folder, model).get_base_model()
    hidden, logits = compare_outputs(base, read_back, keep, seed)
    tolerance = _LOGIT_TOLERANCE.get(model.dtype, torch.finfo(model.dtype).eps)
    if hidden != 0.0 or (logits is not None and not logits <= tolerance):
        raise VerificationError(
            f"outputs differ: last hidden states by {hidden} (expected 0.0), logits by {logits} of the largest "
            f"(expected at most {tolerance}); {_PERHAPS_TRAINED}"
        )
    return VerificationReport(
        tokens=len(keep),
        tokenizer_classes=classes,
        vocabulary_tensors=vocabulary_tensors,
        other_tensors=other_tensors,
        texts_kept=texts_kept,
        texts_other=texts_other,
        hidden_difference=hidden,
        logit_difference=logits,
    )


def verify_tokenizer(
    folder: Path,
    original: tuple[PreTrainedTokenizerBase, np.ndarray],
    old_state: dict[str, Any],
    table: TokenizerTable,
    keep: VocabularyMap,
    texts: Sequence[str],
) -> tuple[tuple[str, ...], int, int]:
    """Check the tokenizer of a pruned folder against the one it was made from; see `verify`.

    Args:
        folder: The pruned folder.
        original: The original tokenizer, or one of fewer pieces that has all that the texts are split with, and the
            old id of each of its ids.
        old_state: The original's backend in JSON form.
        table: Its pieces.
        keep: The tokens kept.
        texts: Text to split with both.

    Returns:
        The classes it was loaded by, how many texts were tried whose old pieces are all kept, and how many others.
    """
    classes = []
    tokenizer, its_old_ids = original
    model = old_state["model"]
    expected = kind_of(old_state).rewrite_model(model, keep.old_ids[keep.old_ids < len(model["vocab"])])
    # By the class the settings name, and by the generic class that reads tokenizer.json as it is; one at a time, since
    # a large vocabulary takes much memory.
    for loader in (AutoTokenizer, PreTrainedTokenizerFast):
        loaded = loader.from_pretrained(folder, trust_remote_code=False)
        _check_tokenizer(loaded, table, old_state, expected, keep)
        _check_special_tokens(loaded, tokenizer, its_old_ids, keep)
        if loader is AutoTokenizer:
            if type(loaded) is not type(tokenizer):
                raise VerificationError(
                    f"the tokenizer loads as {type(loaded).__name__}, expected {type(tokenizer).__name__} as the "
                    "original"
                )
            _check_settings(loaded, tokenizer)
        classes.append(type(loaded).__name__)
        alike = compare_segmentation(texts, tokenizer, loaded, keep, its_old_ids)
        if alike.first_difference is not None:
            raise VerificationError(
                f"loaded as {classes[-1]}, the tokenizer splits a text whose pieces are all kept otherwise: "
                f"{alike.first_difference!r}"
            )
        del loaded  # before the next one is read
    return tuple(classes), alike.kept, alike.other


def _check_tokenizer(
    loaded: PreTrainedTokenizerBase,
    table: TokenizerTable,
    old_state: dict[str, Any],
    expected: dict[str, Any],
    keep: VocabularyMap,
) -> None:
    """Compare size, highest id, every piece and score, the rest of the model as expected, and the steps around it."""
    name = type(loaded).__name__
    highest = max(loaded.get_vocab().values())
    if len(loaded) != len(keep) or highest != len(keep) - 1:  # transformers makes up a few tokens for an empty folder
        raise VerificationError(
            f"loaded as {name}, the tokenizer has {len(loaded)} tokens with ids up to {highest}; "
            f"expected {len(keep)} and {len(keep) - 1}"
        )
    state = backend_state(loaded)
    try:
        new_table = table_of(state, loaded.unk_token)
    except ValueError as error:  # it was saved by this library, so it is no mistake of the user's
        raise VerificationError(f"loaded as {name}, the tokenizer cannot be read: {error}") from error
    for new_id, old_id in enumerate(keep.old_ids.tolist()):
        if new_table.pieces[new_id] != table.pieces[old_id]:
            raise VerificationError(
                f"loaded as {name}, id {new_id} is the piece {new_table.pieces[new_id]!r}, but its row belongs to "
                f"{table.pieces[old_id]!r}"
            )
    _check_added_tokens(name, state, old_state, keep)
    scores = table.scores[keep.old_ids]
    # Classes that build their backend in Python read scores as they are written; the tokenizers library itself reads
    # them to within one unit in the last binary place.
    allowed = np.spacing(np.abs(scores)) if type(loaded) is PreTrainedTokenizerFast else np.zeros_like(scores)
    if np.any(np.abs(new_table.scores - scores) > allowed):  # added tokens have none: NaN compares as False
        raise VerificationError(f"loaded as {name}, the tokenizer scores a piece otherwise")
    for step in ("normalizer", "pre_tokenizer", "decoder"):
        if state[step] != old_state[step]:
            raise VerificationError(f"loaded as {name}, the tokenizer's {step} is {state[step]}")
    # What there is besides pieces and scores: merges, the unknown token, how bytes are fallen back on.
    different = [key for key in expected if key != "vocab" and expected[key] != state["model"].get(key)]
    if different:
        raise VerificationError(
            f"loaded as {name}, the tokenizer's {' and '.join(different)} differ from the original"
        )


def _check_added_tokens(name: str, state: dict[str, Any], old_state: dict[str, Any], keep: VocabularyMap) -> None:
    """Compare which tokens are found in text before the model sees it, and how."""
    found = {token["content"]: {**token, "id": int(keep.old_ids[token["id"]])} for token in state["added_tokens"]}
    expected = {token["content"]: token for token in old_state["added_tokens"]}
    different = sorted(one for one in {*found, *expected} if found.get(one) != expected.get(one))
    if different:
        one = different[0]
        raise VerificationError(
            f"loaded as {name}, the tokenizer's added token {one!r} is {found.get(one, 'missing')}, expected "
            f"{expected.get(one, 'none of that name')}"
        )


def _check_special_tokens(
    loaded: PreTrainedTokenizerBase, tokenizer: PreTrainedTokenizerBase, its_old_ids: np.ndarray, keep: VocabularyMap
) -> None:
    """Compare the tokens put around one text and around two; by the backends, since a call sets limits on them."""
    for texts in (("",), ("", "")):
        found, expected = (one.backend_tokenizer.encode(*texts) for one in (loaded, tokenizer))
        if keep.to_old(found.ids) != its_old_ids[expected.ids].tolist() or found.type_ids != expected.type_ids:
            put, meant = loaded.convert_ids_to_tokens(found.ids), tokenizer.convert_ids_to_tokens(expected.ids)
            raise VerificationError(
                f"loaded as {type(loaded).__name__}, the tokenizer puts {put} around {len(texts)} texts, "
                f"expected {meant}"
            )


def _check_settings(loaded: PreTrainedTokenizerBase, tokenizer: PreTrainedTokenizerBase) -> None:
    for name in ("special_tokens_map", "model_max_length", "padding_side", "truncation_side", "chat_template"):
        found, expected = getattr(loaded, name), getattr(tokenizer, name)
        if name == "special_tokens_map":
            found, expected = ({key: str(value) for key, value in one.items()} for one in (found, expected))
        if found != expected:
            raise VerificationError(f"the tokenizer's {name} is {found!r} after loading, expected {expected!r}")


def _read_back(folder: Path, model: PreTrainedModel) -> PreTrainedModel:
    """Load a folder as the class and type of the original."""
    loaded = type(model).from_pretrained(
        folder, dtype=model.dtype, attn_implementation=model.config._attn_implementation
    )
    # Some layers (T5's) are read in fp32 whatever was saved, which loses nothing.
    types = {name: tensor.dtype for name, tensor in named_tensors(model).items()}
    for name, tensor in named_tensors(loaded).items():
        if name in types and tensor.dtype == torch.float32:
            tensor.data = tensor.data.to(types[name])
    return loaded.to(model.device)


def _check_weights(read_back: PreTrainedModel, model: PreTrainedModel, keep: VocabularyMap) -> tuple[int, int]:
    """Compare every tensor bit by bit, rows through the map, and what is tied; return how many of each."""
    old_tensors, new_tensors = named_tensors(model), named_tensors(read_back)
    if set(old_tensors) != set(new_tensors):
        raise VerificationError(f"tensors on one side only: {sorted(set(old_tensors) ^ set(new_tensors))}")
    found = find_vocabulary_tensors(model)
    rows = word_embedding_of(read_back).weight.shape[0]
    for name, old in old_tensors.items():
        new = new_tensors[name]
        axis = row_axis(old.shape, found.rows) if name in found.names else None
        if old.dtype != new.dtype or not _is_old_cut(old, new, axis, keep, rows, padding_value(name)):
            raise VerificationError(f"{name} is not what the original has for the tokens kept; {_PERHAPS_TRAINED}")
    check_ties(model, read_back, found.names)
    check_sizes(read_back, rows)
    return len(found.names), len(old_tensors) - len(found.names)


def check_ties(old: PreTrainedModel, new: PreTrainedModel, names: Sequence[str]) -> None:
    """Compare which of some tensors are one and the same.

    Raises:
        VerificationError: If two are in one of the models only.
    """
    old_tensors, new_tensors = named_tensors(old), named_tensors(new)
    for first, second in itertools.combinations(names, 2):
        if (old_tensors[first] is old_tensors[second]) != (new_tensors[first] is new_tensors[second]):
            raise VerificationError(f"{first} and {second} are tied in one of the two models only")


def check_sizes(model: PreTrainedModel, rows: int) -> None:
    """Compare the size of the vocabulary that a model and the models inside it write down with their rows.

    Raises:
        VerificationError: If one is another.
    """
    for part in models_in(model):
        size = vars(part.config).get("vocab_size", rows)
        if size != rows:
            raise VerificationError(f"config.vocab_size is {size}, the embedding has {rows} rows")


def _check_adapters(folder: Path, model: PeftModel, base: PreTrainedModel, keep: VocabularyMap, rows: int) -> int:
    """Compare every saved tensor of the adapters with the original's, cut; return how many there are."""
    found = find_vocabulary_tensors(base)
    compared = 0
    for name, adapter in adapters_of(model).items():
        expected = prune_adapter(adapter, base, found, keep, rows - len(keep)).tensors
        saved = saved_adapter(folder, name)
        if set(saved) != set(expected):
            raise VerificationError(f"the adapter {name} has other tensors: {sorted(set(saved) ^ set(expected))}")
        for key, tensor in expected.items():
            if saved[key].dtype != tensor.dtype or not torch.equal(saved[key], tensor.to(saved[key].device)):
                raise VerificationError(f"{key} of the adapter {name} is not the original's cut; {_PERHAPS_TRAINED}")
        compared += len(expected)
    return compared


def _is_old_cut(
    old: torch.Tensor, new: torch.Tensor, axis: int | None, keep: VocabularyMap, rows: int, padding: float
) -> bool:
    """Say whether a tensor is the old one, bit by bit, or its rows for the tokens kept with padding behind them."""
    if axis is None:
        return torch.equal(old, new)
    old, new = old.movedim(axis, 0), new.movedim(axis, 0)
    if new.shape != (rows, *old.shape[1:]) or not torch.equal(
        new[len(keep) :], torch.full_like(new[len(keep) :], padding)
    ):
        return False
    parts = torch.from_numpy(keep.old_ids.copy()).split(_ROWS_AT_ONCE)
    return all(
        torch.equal(old[ids.to(old.device)], new[start : start + len(ids)])
        for start, ids in zip(range(0, len(keep), _ROWS_AT_ONCE), parts, strict=True)
    )

"""prune_vocabulary: a model and its tokenizer with the tokens kept only, everything else as it was."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_afro.families import family_of
from hf_afro.files import folder_written_whole
from hf_afro.vocabulary.configuration import renumber_configuration
from hf_afro.vocabulary.mapping import MAP_FILE, VocabularyMap
from hf_afro.vocabulary.saving import save_tokenizer
from hf_afro.vocabulary.tensors import VocabularyTensors, copy_with_rows, find_vocabulary_tensors
from hf_afro.vocabulary.tokenizers.backend import (
    backend_state,
    build_backend,
    kind_named,
    rewrite_tokenizer,
    table_of,
)
from hf_afro.vocabulary.tokenizers.table import TokenizerTable
from hf_afro.vocabulary.verify import REPORT_FILE, VerificationReport, verify

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PruningReport:
    """What pruning did to a model.

    Attributes:
        model_type: Family of the model.
        old_size: Ids of the old tokenizer.
        new_size: Ids of the new one, and rows of each vocabulary tensor.
        spare_rows: Rows of the old embedding beyond its tokenizer, which were dropped.
        tensors: Names of the tensors cut, tied names too.
        old_parameters: Parameters before, tied ones once.
        new_parameters: Parameters after.
        old_bytes: Bytes of those parameters before.
        new_bytes: Bytes after.
        selection: How the tokens were chosen: the map's provenance.
    """

    model_type: str
    old_size: int
    new_size: int
    spare_rows: int
    tensors: tuple[str, ...]
    old_parameters: int
    new_parameters: int
    old_bytes: int
    new_bytes: int
    selection: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PrunedModel:
    """A pruned model with all that belongs to it.

    Attributes:
        model: The model, with one row a token kept.
        tokenizer: A tokenizer of the class of the old one, that makes the new ids.
        vocabulary_map: Old ids by new id.
        report: What was done.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    vocabulary_map: VocabularyMap
    report: PruningReport
    _old_model: PreTrainedModel = field(repr=False)
    _old_tokenizer: PreTrainedTokenizerBase = field(repr=False)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> VerificationReport:
        """Save model, tokenizer, map and report to a folder that appears only once it is verified.

        Args:
            folder: A new or empty folder, or one written by an earlier call, which is replaced whole.

        Returns:
            The figures of the verification, which are in the saved report too.

        Raises:
            VerificationError: If anything read back from disk differs from what it should be; the pruned model must
                not have been trained before it is saved this way.
            FileExistsError: If the folder holds other things.
        """
        with folder_written_whole(folder, MAP_FILE) as beside:
            self.model.save_pretrained(beside)
            save_tokenizer(self.tokenizer, beside)
            self.vocabulary_map.save(beside / MAP_FILE)
            verification = verify(beside, self._old_model, self._old_tokenizer)
            write_report(beside, self.report, verification)
        return verification


def prune_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, keep: VocabularyMap) -> PrunedModel:
    """Cut a model and its tokenizer down to the tokens kept.

    Neither the model nor the tokenizer is changed. The new model has the same class, weights, types, ties, training
    flags and configuration, apart from the rows dropped and the ids renumbered.

    Args:
        model: An encoder of a family in `hf_afro.families`, with or without a head.
        tokenizer: The tokenizer the map was made with.
        keep: The tokens to keep, from `select_tokens`.

    Raises:
        TypeError: If the model is wrapped by PEFT or is no Hugging Face model, or the tokenizer is not a fast one.
        ValueError: If map, tokenizer and model do not belong together, a special token is not kept, or a tensor of
            the size of the vocabulary cannot be placed.

    Example:
        >>> pruned = prune_vocabulary(model, tokenizer, keep)
        >>> pruned.save_pretrained("pruned")
    """
    _check_model(model)
    state = backend_state(tokenizer)
    table = table_of(state, tokenizer.unk_token)
    found = check_together(model, table, keep)
    pruned_model = copy_with_rows(model, found, torch.from_numpy(keep.old_ids.copy()))
    _move_padding(pruned_model, keep)
    renumber_configuration(pruned_model, keep)
    report = report_pruning(model, pruned_model, found, table, keep)
    pruned_tokenizer = prune_tokenizer(tokenizer, state, keep)
    return PrunedModel(pruned_model, pruned_tokenizer, keep, report, model, tokenizer)


def check_together(model: PreTrainedModel, table: TokenizerTable, keep: VocabularyMap) -> VocabularyTensors:
    """Find the tensors to cut, once model, tokenizer and map are known to belong together.

    Args:
        model: The model; its weights are not looked at, so they may be on the meta device.
        table: The pieces of its tokenizer.
        keep: The tokens to keep.

    Raises:
        ValueError: If they do not, a special token is not kept, or a tensor of the size of the vocabulary cannot be
            placed.
    """
    _check_map(keep, table)
    found = find_vocabulary_tensors(model)
    _check_rows(model, found, len(table))
    if found.rows > len(table):
        logger.info(
            "the model has %d rows and the tokenizer %d ids; the %d spare rows are dropped",
            found.rows,
            len(table),
            found.rows - len(table),
        )
    _check_padding(model, keep)
    return found


def report_pruning(
    model: PreTrainedModel,
    pruned: PreTrainedModel,
    found: VocabularyTensors,
    table: TokenizerTable,
    keep: VocabularyMap,
) -> PruningReport:
    """Say what was done to a model; both may be on the meta device."""
    return PruningReport(
        model_type=model.config.model_type,
        old_size=len(table),
        new_size=len(keep),
        spare_rows=found.rows - len(table),
        tensors=found.names,
        old_parameters=sum(one.numel() for one in model.parameters()),
        new_parameters=sum(one.numel() for one in pruned.parameters()),
        old_bytes=sum(one.numel() * one.element_size() for one in model.parameters()),
        new_bytes=sum(one.numel() * one.element_size() for one in pruned.parameters()),
        selection=keep.provenance,
    )


def write_report(folder: Path, report: PruningReport, verification: VerificationReport) -> None:
    """Write what was done and what was compared into a pruned folder."""
    text = json.dumps(
        dataclasses.asdict(report) | {"verification": dataclasses.asdict(verification)}, indent=1, ensure_ascii=False
    )
    (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")


def prune_tokenizer(
    tokenizer: PreTrainedTokenizerBase, state: dict[str, Any], keep: VocabularyMap
) -> PreTrainedTokenizerBase:
    """Return a copy of a tokenizer that has the tokens kept only.

    Args:
        tokenizer: The old tokenizer; it is not changed.
        state: Its backend in JSON form.
        keep: The tokens to keep.
    """
    rewritten = rewrite_tokenizer(state, keep.old_ids)
    backend = build_backend(rewritten)
    backend.encode_special_tokens = tokenizer.split_special_tokens
    # The copy gets the new backend and, in place of the old ones, which are never copied, the new pieces and merges
    # that some classes hold besides.
    vocab, merges = rewritten["model"]["vocab"], rewritten["model"].get("merges", ())
    replaced: dict[str, Any] = {
        "_tokenizer": backend,
        "_vocab": vocab if isinstance(vocab, dict) else [tuple(entry) for entry in vocab],
        "_merges": [tuple(merge) for merge in merges],
    }
    replaced = {name: value for name, value in replaced.items() if name in vars(tokenizer)}
    pruned = copy.deepcopy(tokenizer, {id(getattr(tokenizer, name)): value for name, value in replaced.items()})
    for name in ("vocab_file", "merges_file"):  # the old files say nothing about the new pieces
        pruned.init_kwargs.pop(name, None)
    pruned.init_kwargs.pop("added_tokens_decoder", None)  # holds old ids, and would add dropped tokens again
    for side in ("padding_side", "truncation_side"):  # set after loading, they would not be saved otherwise
        pruned.init_kwargs[side] = getattr(tokenizer, side)
    return pruned


def _check_model(model: PreTrainedModel) -> None:
    if hasattr(model, "peft_config") or getattr(model, "_hf_peft_config_loaded", False):
        raise TypeError(
            f"{type(model).__name__} carries PEFT adapters, which pruning would separate from the weights they were "
            "trained with; call merge_and_unload() first"
        )
    if not isinstance(model, PreTrainedModel):
        raise TypeError(f"expected a transformers.PreTrainedModel, received {type(model).__name__}")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError(f"{type(model).__name__} has weights on the meta device; load it with its weights first")


def _check_map(keep: VocabularyMap, table: TokenizerTable) -> None:
    if keep.old_size != len(table) or keep.tokenizer_fingerprint != table.fingerprint:
        raise ValueError(
            f"the map was made for another tokenizer: one of {keep.old_size} ids with fingerprint "
            f"{keep.tokenizer_fingerprint}; this one has {len(table)} and {table.fingerprint}. "
            "Count and select with the tokenizer of the model"
        )
    special = [*table.special_ids, table.unknown_id]
    missing = [table.pieces[one] for one in special if not keep.keeps([one])[0]]
    if missing:
        raise ValueError(f"special tokens are not kept: {', '.join(missing)}; a map of select_tokens keeps them all")
    needs = kind_named(table.kind).needs(table)
    for old_id in keep.old_ids.tolist():
        lost = [table.pieces[one] for one in needs(old_id) if not keep.keeps([one])[0]]
        if lost:
            raise ValueError(
                f"the map keeps the piece {table.pieces[old_id]!r} and not {', '.join(map(repr, lost))}, out of which "
                "it is merged; a map of select_tokens keeps both or neither"
            )


def _check_rows(model: PreTrainedModel, found: VocabularyTensors, size: int) -> None:
    if found.rows < size:
        raise ValueError(
            f"the tokenizer makes ids up to {size - 1}, but the embedding of {type(model).__name__} has only "
            f"{found.rows} rows; expected the tokenizer the model was trained with"
        )


def _check_padding(model: PreTrainedModel, keep: VocabularyMap) -> None:
    """Refuse to move the padding id where positions are counted from it (RoBERTa)."""
    pad = model.config.pad_token_id
    if pad is None or not family_of(model).position_offset:
        return
    if pad >= keep.old_size or not keep.keeps([pad])[0] or keep.to_new([pad])[0] != pad:
        raise ValueError(
            f"{model.config.model_type} counts positions from the padding id {pad}, which the map would move or drop; "
            "expected all ids up to it to be kept, as select_tokens does where they are special tokens"
        )


def _move_padding(model: PreTrainedModel, keep: VocabularyMap) -> None:
    embedding = model.get_input_embeddings()
    if embedding.padding_idx is not None:
        if not keep.keeps([embedding.padding_idx])[0]:
            raise ValueError(
                f"the embedding pads with id {embedding.padding_idx}, which is not kept; expected the tokenizer's own"
            )
        embedding.padding_idx = keep.to_new([embedding.padding_idx])[0]

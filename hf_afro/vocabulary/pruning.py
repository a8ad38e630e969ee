"""Prune the vocabulary of a model and its tokenizer in memory: `prune_vocabulary`."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_afro.files import folder_written_whole
from hf_afro.sentence_modules import sentence_modules_of
from hf_afro.vocabulary.adapters import adapters_of, prune_adapter, put_on, save_adapters, without_adapters
from hf_afro.vocabulary.configuration import check_padding, move_padding, renumber_configuration
from hf_afro.vocabulary.mapping import MAP_FILE, VocabularyMap
from hf_afro.vocabulary.segmentation import report_on_text, warn_of_prompts
from hf_afro.vocabulary.tensors import VocabularyTensors, copy_with_rows, find_vocabulary_tensors
from hf_afro.vocabulary.tokenizers.backend import (
    backend_state,
    gc_paused,
    table_of,
)
from hf_afro.vocabulary.tokenizers.cutting import check_map, prune_tokenizer, save_tokenizer
from hf_afro.vocabulary.tokenizers.table import TokenizerTable
from hf_afro.vocabulary.verify import REPORT_FILE, VerificationReport, verify

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PruningReport:
    """What pruning changed in a model.

    Attributes:
        model_type: The model type of its configuration.
        old_size: Size of the old tokenizer.
        new_size: Size of the new tokenizer.
        spare_rows: Rows of the old embedding beyond the tokenizer's ids, which were dropped.
        padding_rows: Rows of zeros added to the new embedding for `pad_to_multiple_of`.
        tensors: Names of the pruned tensors, including tied names.
        adapters: Names of the PEFT adapters pruned with the model.
        old_parameters: Number of parameters before, tied ones once.
        new_parameters: Number of parameters after.
        old_bytes: Bytes of the parameters before.
        new_bytes: Bytes of the parameters after.
        selection: The provenance of the map: how the tokens were chosen.
    """

    model_type: str
    old_size: int
    new_size: int
    spare_rows: int
    padding_rows: int
    tensors: tuple[str, ...]
    adapters: tuple[str, ...]
    old_parameters: int
    new_parameters: int
    old_bytes: int
    new_bytes: int
    selection: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PrunedModel:
    """A pruned model with its tokenizer, map and report.

    Attributes:
        model: The model; a `peft.PeftModel` if one was given.
        tokenizer: The tokenizer, of the same class as the old one.
        vocabulary_map: The old id of every new id.
        report: What pruning changed.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    vocabulary_map: VocabularyMap
    report: PruningReport
    _old_model: PreTrainedModel | PeftModel = field(repr=False)
    _old_tokenizer: PreTrainedTokenizerBase = field(repr=False)

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        held_out: Mapping[str, Iterable[str]] | None = None,
        modules_from: str | os.PathLike[str] | None = None,
    ) -> VerificationReport:
        """Save model, tokenizer, map and report to a folder, which appears only after it is verified.

        PEFT adapters are saved in the subfolder ``adapter``; the folder itself holds the base model. Its path becomes
        the model's `name_or_path`, so that adapters trained on it name it as their base.

        Args:
            folder: A new or empty folder, or one written by an earlier call, which is replaced.
            held_out: Lines by language, preferably not counted before, to report how they are split before and after.
            modules_from: Folder or repository of the Hub that the old model was loaded from. If it is a
                sentence-transformers model, its pooling, prompts and other modules are copied.

        Returns:
            The verification, which is also part of the saved report.

        Raises:
            ValueError: If a sentence-transformers module depends on the vocabulary.
            VerificationError: If anything read back from disk differs from the original, for example because the
                pruned model has been trained since.
            FileExistsError: If the folder holds other files.
        """
        modules = None if modules_from is None else sentence_modules_of(modules_from)
        if modules is not None:
            modules.check(pruned=True)
        with folder_written_whole(folder, MAP_FILE) as beside:
            without_adapters(self.model).save_pretrained(beside)
            if isinstance(self.model, PeftModel):
                save_adapters(self.model, beside, os.fspath(folder))
            save_tokenizer(self.tokenizer, beside)
            self.vocabulary_map.save(beside / MAP_FILE)
            if modules is not None:
                modules.carry(beside)
                warn_of_prompts(
                    modules, self._old_tokenizer, np.arange(self.vocabulary_map.old_size), self.vocabulary_map
                )
            verification = verify(beside, self._old_model, self._old_tokenizer)
            on_text = report_on_text(held_out or {}, self._old_tokenizer, self.tokenizer, self.vocabulary_map)
            verification = dataclasses.replace(verification, held_out=on_text)
            write_report(beside, self.report, verification)
        _name(without_adapters(self.model), os.fspath(folder))
        return verification


def _name(model: PreTrainedModel, name: str) -> None:
    """Set a model's path, which PEFT writes into adapters and uses to compare vocabularies."""
    model.name_or_path = model.config.name_or_path = name


@gc_paused()
def prune_vocabulary(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    keep: VocabularyMap,
    *,
    pad_to_multiple_of: int | None = None,
) -> PrunedModel:
    """Prune a model and its tokenizer to the tokens kept.

    The given model and tokenizer are not changed. The new model has the same class, weights, types, ties, training
    flags and configuration, except for the dropped rows and the renumbered ids.

    Args:
        model: An encoder, decoder or encoder-decoder with any head, or a `peft.PeftModel` of one. Its vocabulary
            tensors must be known; see `find_vocabulary_tensors`.
        tokenizer: The tokenizer the map was made with.
        keep: The tokens to keep, from `select_tokens`.
        pad_to_multiple_of: Add rows up to a multiple of this number, such as 64, which some GPUs multiply faster. The
            rows are zeros, and -10,000 in a bias on the logits, so that they are never predicted; without such a bias
            their logits are 0. ``config.vocab_size`` includes them.

    Raises:
        TypeError: If the model is not a Hugging Face model or has injected adapters, or the tokenizer is not a fast
            one.
        ValueError: If map, tokenizer and model do not belong together, a special token or one trained by an adapter
            is not kept, or pruning does not know a tensor of the vocabulary's size.

    Example:
        >>> pruned = prune_vocabulary(model, tokenizer, keep)
        >>> pruned.save_pretrained("pruned")
    """
    _check_model(model)
    multiple = 1 if pad_to_multiple_of is None else pad_to_multiple_of
    if multiple < 1:
        raise ValueError(f"pad_to_multiple_of is {pad_to_multiple_of}; expected 1 or more rows, such as 64, or None")
    base = without_adapters(model)
    state = backend_state(tokenizer)
    table = table_of(state, tokenizer.unk_token)
    found = check_together(base, table, keep)
    padding = -len(keep) % multiple
    pruned_model: PreTrainedModel | PeftModel = _prune_base(base, found, keep, padding)
    if isinstance(model, PeftModel):
        adapters = {
            name: prune_adapter(adapter, base, found, keep, padding) for name, adapter in adapters_of(model).items()
        }
        pruned_model = put_on(pruned_model, adapters, model)
    report = report_pruning(model, pruned_model, found, table, keep, padding)
    pruned_tokenizer = prune_tokenizer(tokenizer, state, keep)
    return PrunedModel(pruned_model, pruned_tokenizer, keep, report, model, tokenizer)


def check_together(model: PreTrainedModel, table: TokenizerTable, keep: VocabularyMap) -> VocabularyTensors:
    """Check that model, tokenizer and map belong together, and find the tensors to prune.

    Args:
        model: The model, which may be on the meta device.
        table: The tokens of its tokenizer.
        keep: The tokens to keep.

    Raises:
        ValueError: If they do not, a special token is not kept, or pruning does not know a tensor of the vocabulary's
            size.
    """
    check_map(keep, table)
    found = find_vocabulary_tensors(model)
    _check_rows(model, found, len(table))
    if found.rows > len(table):
        logger.info(
            "the model has %d rows and the tokenizer %d ids; the %d spare rows are dropped",
            found.rows,
            len(table),
            found.rows - len(table),
        )
    check_padding(model, keep)
    return found


def report_pruning(
    model: PreTrainedModel | PeftModel,
    pruned: PreTrainedModel | PeftModel,
    found: VocabularyTensors,
    table: TokenizerTable,
    keep: VocabularyMap,
    padding: int = 0,
) -> PruningReport:
    """Return the report of pruning a model; both models may be on the meta device."""
    return PruningReport(
        model_type=model.config.model_type,
        old_size=len(table),
        new_size=len(keep),
        spare_rows=found.rows - len(table),
        padding_rows=padding,
        tensors=found.names,
        adapters=tuple(model.peft_config) if isinstance(model, PeftModel) else (),
        old_parameters=sum(one.numel() for one in model.parameters()),
        new_parameters=sum(one.numel() for one in pruned.parameters()),
        old_bytes=sum(one.numel() * one.element_size() for one in model.parameters()),
        new_bytes=sum(one.numel() * one.element_size() for one in pruned.parameters()),
        selection=keep.provenance,
    )


def write_report(folder: Path, report: PruningReport, verification: VerificationReport) -> None:
    """Write the report and the verification to a pruned folder."""
    text = json.dumps(
        dataclasses.asdict(report) | {"verification": dataclasses.asdict(verification)}, indent=1, ensure_ascii=False
    )
    (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")


def _prune_base(base: PreTrainedModel, found: VocabularyTensors, keep: VocabularyMap, padding: int) -> PreTrainedModel:
    pruned = copy_with_rows(base, found, torch.from_numpy(keep.old_ids.copy()), padding)
    move_padding(pruned, keep, len(keep) + padding)
    renumber_configuration(pruned, keep, found.rows, len(keep) + padding)
    _name(pruned, "")  # the path of the old model would be wrong
    return pruned


def _check_model(model: PreTrainedModel | PeftModel) -> None:
    injected = hasattr(model, "peft_config") or getattr(model, "_hf_peft_config_loaded", False)
    if injected and not isinstance(model, PeftModel):
        raise TypeError(
            f"{type(model).__name__} carries PEFT adapters that were injected into it; expected a peft.PeftModel, "
            "made by peft.get_peft_model or PeftModel.from_pretrained, which can be pruned with its adapters"
        )
    if not isinstance(model, (PreTrainedModel, PeftModel)):
        raise TypeError(f"expected a transformers.PreTrainedModel, received {type(model).__name__}")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError(f"{type(model).__name__} has weights on the meta device; load it with its weights first")


def _check_rows(model: PreTrainedModel, found: VocabularyTensors, size: int) -> None:
    if found.rows < size:
        raise ValueError(
            f"the tokenizer makes ids up to {size - 1}, but the embedding of {type(model).__name__} has only "
            f"{found.rows} rows; expected the tokenizer the model was trained with"
        )

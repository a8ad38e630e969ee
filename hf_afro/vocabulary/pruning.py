"""prune_vocabulary: a model and its tokenizer with the tokens kept only, everything else as it was."""

from __future__ import annotations

import copy
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
from hf_afro.vocabulary.checkpoint_files import warn_of_prompts
from hf_afro.vocabulary.configuration import check_padding, move_padding, renumber_configuration
from hf_afro.vocabulary.mapping import MAP_FILE, VocabularyMap
from hf_afro.vocabulary.saving import save_tokenizer
from hf_afro.vocabulary.segmentation import report_on_text
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

# Where the tokenizer classes of mBART and NLLB write down the ids of their languages and special tokens.
_HELD_IDS = {
    "lang_code_to_id",
    "id_to_lang_code",
    "fairseq_tokens_to_ids",
    "fairseq_ids_to_tokens",
    "cur_lang_code",
    "cur_lang_code_id",
    "prefix_tokens",
    "suffix_tokens",
}


@dataclass(frozen=True)
class PruningReport:
    """What pruning did to a model.

    Attributes:
        model_type: Family of the model.
        old_size: Ids of the old tokenizer.
        new_size: Ids of the new one.
        spare_rows: Rows of the old embedding beyond its tokenizer, which were dropped.
        padding_rows: Rows of the new one beyond its tokenizer, zeros, for `pad_to_multiple_of`.
        tensors: Names of the tensors cut, tied names too.
        adapters: Names of the PEFT adapters pruned along.
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
    """A pruned model with all that belongs to it.

    Attributes:
        model: The model, with one row a token kept; a `peft.PeftModel` where one was given.
        tokenizer: A tokenizer of the class of the old one, that makes the new ids.
        vocabulary_map: Old ids by new id.
        report: What was done.
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
        """Save model, tokenizer, map and report to a folder that appears only once it is verified.

        PEFT adapters are saved in a folder inside, ``adapter``, as PEFT saves them; the folder itself holds the model
        without them. The model is then known by the folder, which an adapter trained on it names as its base.

        Args:
            folder: A new or empty folder, or one written by an earlier call, which is replaced whole.
            held_out: Lines by language, best such as were not counted, to report how they are split before and after.
            modules_from: Folder, or repository of the Hub, that the old model was loaded from. If it is a model of
                sentence-transformers, its pooling, dense layers, prompts and other modules are carried.

        Returns:
            The figures of the verification, which are in the saved report too.

        Raises:
            ValueError: If a module of sentence-transformers depends on the vocabulary.
            VerificationError: If anything read back from disk differs from what it should be; the pruned model must
                not have been trained before it is saved this way.
            FileExistsError: If the folder holds other things.
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
    """Say where a model is loaded from; PEFT writes it into adapters, and compares vocabularies by it."""
    model.name_or_path = model.config.name_or_path = name


def prune_vocabulary(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    keep: VocabularyMap,
    *,
    pad_to_multiple_of: int | None = None,
) -> PrunedModel:
    """Cut a model and its tokenizer down to the tokens kept.

    Neither the model nor the tokenizer is changed. The new model has the same class, weights, types, ties, training
    flags and configuration, apart from the rows dropped and the ids renumbered.

    Args:
        model: An encoder, a decoder or a model of both, with any head, whose vocabulary tensors can be found (see
            `find_vocabulary_tensors`); or one with PEFT adapters in its layers, as ``peft.get_peft_model`` gives it.
        tokenizer: The tokenizer the map was made with.
        keep: The tokens to keep, from `select_tokens`.
        pad_to_multiple_of: Add rows behind those of the tokens until there are a multiple of so many, which some
            GPUs multiply faster. They are zeros, and -10,000 where a bias is added to the logits, so that none of
            them is ever predicted; without such a bias their logits are 0. ``config.vocab_size`` counts them.

    Raises:
        TypeError: If the model is no Hugging Face model or has adapters injected, or the tokenizer is not a fast one.
        ValueError: If map, tokenizer and model do not belong together, a special token or one that an adapter trained
            is not kept, or a tensor of the size of the vocabulary cannot be placed.

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
    """Find the tensors to cut, once model, tokenizer and map are known to belong together.

    Args:
        model: The model; its weights are not looked at, so they may be on the meta device.
        table: The pieces of its tokenizer.
        keep: The tokens to keep.

    Raises:
        ValueError: If they do not, a special token is not kept, or a tensor of the size of the vocabulary cannot be
            placed.
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
    """Say what was done to a model; both may be on the meta device."""
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
    """Write what was done and what was compared into a pruned folder."""
    text = json.dumps(
        dataclasses.asdict(report) | {"verification": dataclasses.asdict(verification)}, indent=1, ensure_ascii=False
    )
    (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")


def _prune_base(base: PreTrainedModel, found: VocabularyTensors, keep: VocabularyMap, padding: int) -> PreTrainedModel:
    pruned = copy_with_rows(base, found, torch.from_numpy(keep.old_ids.copy()), padding)
    move_padding(pruned, keep, len(keep) + padding)
    renumber_configuration(pruned, keep, found.rows, len(keep) + padding)
    _name(pruned, "")  # what lies where the old one was loaded from is another model
    return pruned


def prune_tokenizer(
    tokenizer: PreTrainedTokenizerBase, state: dict[str, Any], keep: VocabularyMap
) -> PreTrainedTokenizerBase:
    """Return a copy of a tokenizer that has the tokens kept only.

    Args:
        tokenizer: The old tokenizer; it is not changed.
        state: Its backend in JSON form.
        keep: The tokens to keep.
    """
    pruned = with_backend(tokenizer, rewrite_tokenizer(state, keep.old_ids))
    for name in _HELD_IDS & vars(pruned).keys():
        setattr(pruned, name, _moved(getattr(pruned, name), keep))
    return settle(pruned)


def with_backend(tokenizer: PreTrainedTokenizerBase, rewritten: dict[str, Any]) -> PreTrainedTokenizerBase:
    """Return a copy of a tokenizer around another backend, given in JSON form; `settle` is still to come."""
    backend = build_backend(rewritten)
    backend.encode_special_tokens = tokenizer.split_special_tokens
    # The copy gets the new backend and, in place of the old ones, which are never copied, the new pieces and merges
    # that some classes hold besides.
    vocab, merges = rewritten["model"]["vocab"], rewritten["model"].get("merges", ())
    pieces = vocab if isinstance(vocab, dict) else [tuple(entry) for entry in vocab]
    replaced: dict[str, Any] = {
        "_tokenizer": backend,
        "_vocab": pieces,
        "_vocab_scores": pieces,
        "_merges": [tuple(merge) for merge in merges],
    }
    replaced = {name: value for name, value in replaced.items() if name in vars(tokenizer)}
    return copy.deepcopy(tokenizer, {id(getattr(tokenizer, name)): value for name, value in replaced.items()})


def settle(pruned: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Make a pruned tokenizer save all that it is set to and nothing of the old vocabulary; it is changed in place."""
    for name in ("vocab_file", "merges_file"):  # the old files say nothing about the new pieces
        pruned.init_kwargs.pop(name, None)
    pruned.init_kwargs.pop("added_tokens_decoder", None)  # holds old ids, and would add dropped tokens again
    for name in ("padding_side", "truncation_side", "src_lang", "tgt_lang"):
        if hasattr(pruned, name):  # set after loading, they would not be saved otherwise
            pruned.init_kwargs[name] = getattr(pruned, name)
    return pruned


def _moved(held: Any, keep: VocabularyMap) -> Any:
    """Renumber the ids that some classes hold: one, a list, a map to ids or a map from them."""
    if isinstance(held, dict):
        return {_moved(key, keep): _moved(value, keep) for key, value in held.items()}
    if isinstance(held, list):
        return [_moved(one, keep) for one in held]
    return keep.to_new([held])[0] if isinstance(held, int) else held


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


def check_map(keep: VocabularyMap, table: TokenizerTable) -> None:
    """Refuse a map that was made with another tokenizer, or that lacks what the tokens kept cannot do without.

    Raises:
        ValueError: If it is one.
    """
    if keep.old_size != len(table) or keep.tokenizer_fingerprint != table.fingerprint:
        raise ValueError(
            f"the map was made for another tokenizer: one of {keep.old_size} ids with fingerprint "
            f"{keep.tokenizer_fingerprint}; this one has {len(table)} and {table.fingerprint}. "
            "Count and select with the tokenizer of the model"
        )
    missing = [table.pieces[one] for one in table.always_kept if not keep.keeps([one])[0]]
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

"""Prune the folder of a model: `prune_model` for every format, `prune_checkpoint` file by file for safetensors."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedModel

from hf_afro.files import folder_written_whole, write_whole
from hf_afro.pretrained.loading import load_adapter, load_model, load_tokenizer
from hf_afro.pretrained.model_class import TensorMatch, class_for, match_tensors, named_tensors, of_encoder, shown
from hf_afro.pretrained.weights import (
    CARRIED,
    INDEX,
    CheckpointWeights,
    StoredTensor,
    checkpoint_folder,
    has_safetensors,
    read_weights,
)
from hf_afro.sentence_modules import SentenceModules, encoder_of, sentence_modules_of
from hf_afro.vocabulary.configuration import renumber_configuration
from hf_afro.vocabulary.mapping import MAP_FILE, VocabularyMap
from hf_afro.vocabulary.pruning import (
    PrunedModel,
    PruningReport,
    check_together,
    prune_vocabulary,
    report_pruning,
    write_report,
)
from hf_afro.vocabulary.safetensors_rows import RowsKept, first_difference, force_to_disk, same_tensor, write_with_rows
from hf_afro.vocabulary.segmentation import TextReport, ids_found_in, probe_texts, report_on_text, warn_of_prompts
from hf_afro.vocabulary.tensors import VocabularyTensors, row_axis, word_embedding_of
from hf_afro.vocabulary.tokenizers.backend import backend_state, table_of
from hf_afro.vocabulary.tokenizers.cutting import SourceTokenizer, read_tokenizer
from hf_afro.vocabulary.verify import (
    VerificationError,
    VerificationReport,
    check_comparable,
    check_sizes,
    check_ties,
    verify_tokenizer,
)

logger = logging.getLogger(__name__)

GENERATION_FILE = "generation_config.json"
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def prune_model(
    source: str,
    keep: VocabularyMap,
    folder: Path,
    *,
    revision: str | None = None,
    held_out: Mapping[str, Iterable[str]] | None = None,
    adapter: str | None = None,
    pad_to_multiple_of: int | None = None,
) -> tuple[PrunedCheckpoint | PrunedModel, VerificationReport]:
    """Prune a model and its tokenizer, given by name or folder, into a new folder.

    Weights in safetensors are rewritten file by file by `prune_checkpoint`: every stored tensor is kept, whatever
    class it belongs to. For other formats, and with `adapter` or `pad_to_multiple_of`, the model is loaded and pruned
    in memory by `prune_vocabulary`.

    Args:
        source: A folder, or a repository of the Hub.
        keep: The tokens to keep, from `select_tokens`.
        folder: A new or empty folder, or one written by an earlier call, which is replaced.
        revision: Branch, tag or commit of the repository.
        held_out: Lines by language, to report how they are split before and after pruning.
        adapter: Folder or Hub name of a PEFT adapter of the model, which is pruned with it.
        pad_to_multiple_of: Add rows of zeros up to a multiple of this number; see `prune_vocabulary`.

    Raises:
        ValueError: If it cannot be pruned; the message says why.
        LostTensors: If a model pruned in memory would lose stored tensors that its class does not take.
        VerificationError: If the folder written differs from what the original says it should be.
    """
    if adapter is None and pad_to_multiple_of is None and has_safetensors(source, revision):
        pruned = prune_checkpoint(source, keep, folder, revision=revision, held_out=held_out)
        return pruned, pruned.verification

    settings: dict[str, Any] = {} if revision is None else {"revision": revision}
    model = load_model(encoder_of(source, revision), all_heads=True, **settings)
    check_comparable(model)
    if adapter is not None:
        model = load_adapter(model, adapter)
    tokenizer = load_tokenizer(encoder_of(source, revision), **settings)
    in_memory = prune_vocabulary(model, tokenizer, keep, pad_to_multiple_of=pad_to_multiple_of)
    return in_memory, in_memory.save_pretrained(folder, held_out=held_out, modules_from=source)


def foresee_pruning(
    source: str, keep: VocabularyMap, *, revision: str | None = None, pad_to_multiple_of: int | None = None
) -> PruningReport:
    """Return the report that `prune_model` would write, with the sizes before and after, and write nothing.

    Of weights in safetensors only the headers are read.

    Args:
        source: See `prune_model`.
        keep: See `prune_model`.
        revision: See `prune_model`.
        pad_to_multiple_of: See `prune_model`.

    Raises:
        ValueError: If the map is of another tokenizer, or the model cannot be pruned.
    """
    if has_safetensors(source, revision):
        encoder = Path(encoder_of(str(checkpoint_folder(source, revision))))
        model, _ = model_without_weights(encoder, read_weights(encoder))
        table = read_tokenizer(encoder, keep).table
    else:
        settings: dict[str, Any] = {} if revision is None else {"revision": revision}
        model = load_model(encoder_of(source, revision), all_heads=True, **settings)
        tokenizer = load_tokenizer(encoder_of(source, revision), **settings)
        table = table_of(backend_state(tokenizer), tokenizer.unk_token)
    found = check_together(model, table, keep)
    padding = -len(keep) % (pad_to_multiple_of or 1)
    sizes = [
        (one.numel() // found.rows * (len(keep) + padding) if name in found.names else one.numel(), one.element_size())
        for name, one in model.named_parameters()
    ]
    return dataclasses.replace(
        report_pruning(model, model, found, table, keep, padding),
        new_parameters=sum(number for number, _ in sizes),
        new_bytes=sum(number * size for number, size in sizes),
    )


@dataclass(frozen=True)
class PrunedCheckpoint:
    """A pruned folder with its map, report and verification.

    Attributes:
        folder: The folder written.
        vocabulary_map: The old id of every new id.
        report: What pruning changed.
        verification: What was compared after writing.
    """

    folder: Path
    vocabulary_map: VocabularyMap
    report: PruningReport
    verification: VerificationReport


def prune_checkpoint(
    source: str | os.PathLike[str],
    keep: VocabularyMap,
    output_dir: str | os.PathLike[str],
    *,
    revision: str | None = None,
    held_out: Mapping[str, Iterable[str]] | None = None,
) -> PrunedCheckpoint:
    """Prune a checkpoint and its tokenizer file by file, without loading the model.

    Tensors with one row per token are written with only the rows kept; all others are copied, a block at a time. The
    folder holds what `prune_vocabulary` and `save_pretrained` would write: every tensor is equal byte for byte, with
    the names, shards and types of the source, even if ``config.json`` names another type. It appears only after every
    tensor has been read back and compared with the source, and the tokenizer has been checked as by `verify`. No model
    is run, so no outputs are compared.

    Licences, code and the sentence-transformers modules that ``modules.json`` names are copied; the encoder then lies
    in the folder itself. A README is not copied, because it describes the original model; nor are weights in other
    formats and files of the old vocabulary.

    Args:
        source: A folder with a model in safetensors, sharded or not, and its tokenizer; or a repository of the Hub,
            read from the cache if it is there or ``HF_HUB_OFFLINE`` is set.
        keep: The tokens to keep, from `select_tokens`.
        output_dir: A new or empty folder, or one written by an earlier call, which is replaced.
        revision: Branch, tag or commit of the repository.
        held_out: Lines by language, preferably ones that were not counted, to report how they are split before and
            after.

    Raises:
        TypeError: If the tokenizer is not a fast one.
        ValueError: If there is no such checkpoint, or it is damaged, quantised, an adapter or not in safetensors; if
            map, tokenizer and model do not belong together, a special token is not kept, or pruning does not know a
            tensor of the vocabulary's size; if a sentence-transformers module depends on the vocabulary.
        VerificationError: If what was written differs from the source.
        FileExistsError: If `output_dir` holds other files.

    Example:
        >>> hf_afro.prune_checkpoint("FacebookAI/xlm-roberta-large", keep, "pruned")
    """
    folder = checkpoint_folder(source, revision)
    if folder.resolve() == Path(output_dir).resolve():
        raise ValueError(f"output_dir is the source itself, {folder}; expected another folder")
    modules = sentence_modules_of(folder)
    if modules is not None:
        modules.check(pruned=True)
    encoder = folder if modules is None else modules.encoder
    weights = read_weights(encoder)
    model, match = model_without_weights(encoder, weights)
    original = read_tokenizer(encoder, keep)
    found = check_together(model, original.table, keep)
    kept = rows_kept(model, match, found, weights.tensors, keep)
    check_complete(model, match, weights.tensors, encoder)
    with folder_written_whole(output_dir, MAP_FILE) as beside, ThreadPoolExecutor(1) as disk:
        files = tuple(write_with_rows(file, beside / file.path.name, kept) for file in weights.files)
        on_disk = [disk.submit(force_to_disk, file.path) for file in files]
        _write_configuration(model, found, keep, beside)
        original.save_pruned(keep, beside)
        prompts = [] if modules is None else [*modules.prompts.values()]
        probes = [*probe_texts(original.table, keep.old_ids, seed=0), *prompts]
        needed = ids_found_in(probes, original.part, original.table)
        keep.save(beside / MAP_FILE)
        written = CheckpointWeights(files, weights.index)
        pruned, _ = model_without_weights(beside, written)
        report = report_pruning(model, pruned, found, original.table, keep)
        if weights.index is not None:
            write_index(written, beside, report.new_parameters)
        left = carry_files(folder, beside, modules)
        _check_weights(weights, read_weights(beside), kept)
        _check_model(model, pruned, found, keep)
        splitter = original.with_at_least(needed)
        classes, texts_kept, texts_other = verify_tokenizer(
            beside, splitter, original.state, original.table, keep, probes
        )
        if modules is not None:
            warn_of_prompts(modules, *splitter, keep)
        verification = VerificationReport(
            tokens=len(keep),
            tokenizer_classes=classes,
            vocabulary_tensors=len(kept),
            other_tensors=len(weights.tensors) - len(kept),
            texts_kept=texts_kept,
            texts_other=texts_other,
            hidden_difference=None,
            logit_difference=None,
            held_out=_report_on_held_out(held_out, original, beside, keep),
        )
        write_report(beside, report, verification)
        for one in on_disk:
            one.result()
    if left:
        logger.info("left behind in %s: %s", folder, ", ".join(left))
    return PrunedCheckpoint(Path(output_dir), keep, report, verification)


def _report_on_held_out(
    held_out: Mapping[str, Iterable[str]] | None, source: SourceTokenizer, folder: Path, keep: VocabularyMap
) -> dict[str, TextReport]:
    """Report on held-out text, which may contain any token, so that the whole original tokenizer is loaded."""
    if not held_out:
        return {}
    if source.is_whole:
        original = source.part
    else:
        original = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
    return report_on_text(held_out, original, AutoTokenizer.from_pretrained(folder, trust_remote_code=False), keep)


def _write_configuration(model: PreTrainedModel, found: VocabularyTensors, keep: VocabularyMap, folder: Path) -> None:
    """Renumber the model's configurations in place and write them, as `save_pretrained` does."""
    renumber_configuration(model, keep, found.rows, len(keep))
    model.config.save_pretrained(folder)
    generation = getattr(model, "generation_config", None)
    if generation is not None:
        generation.save_pretrained(folder)


def _check_weights(weights: CheckpointWeights, written: CheckpointWeights, kept: Mapping[str, RowsKept]) -> None:
    """Compare every tensor written with its source, byte for byte."""
    for old, new in zip(weights.files, written.files, strict=True):
        different = first_difference(old, new, kept)
        if different is not None:
            raise VerificationError(
                f"{new.path.name}: {different} is not what {old.path} has for the tokens kept; one of the two changed "
                "while it was written, or the disk is failing"
            )


def _check_model(old: PreTrainedModel, new: PreTrainedModel, found: VocabularyTensors, keep: VocabularyMap) -> None:
    """Compare the model that the written configuration describes: its class, tensors, ties and size."""
    if type(new) is not type(old):
        raise VerificationError(
            f"the class of the pruned model is {type(new).__name__}; expected {type(old).__name__}"
        )
    expected = {name: tuple(tensor.shape) for name, tensor in named_tensors(old).items()}
    for name in found.names:
        expected[name] = RowsKept(row_axis(expected[name], found.rows), keep.old_ids).shape_of(expected[name])
    shapes = {name: tuple(tensor.shape) for name, tensor in named_tensors(new).items()}
    if shapes != expected:
        name = min({*shapes.items()} ^ {*expected.items()})[0]
        raise VerificationError(
            f"{name} of the pruned model is {shapes.get(name)} by its configuration, expected {expected.get(name)}"
        )
    check_ties(old, new, found.names)
    check_sizes(new, len(keep))


def model_without_weights(folder: Path, weights: CheckpointWeights) -> tuple[PreTrainedModel, TensorMatch]:
    """Build the model that a folder's configuration names on the meta device, so that its weights take no memory.

    Args:
        folder: Folder with ``config.json``.
        weights: The stored weights, whose type becomes the model's.

    Returns:
        The model with its head, ties, configuration and generation configuration, and its match with the weights.

    Raises:
        ValueError: If the configuration cannot be read, the weights are quantised, the class is unknown, or a stored
            tensor has another shape than the configuration says.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder / 'config.json'} is no configuration of a known model: {error}") from error
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(
            f"{folder} is quantised, so its rows are not plain numbers; prune the checkpoint it was made from and "
            "quantise the result"
        )
    tensors = weights.tensors
    kind = class_for(config, tensors, str(folder))
    with torch.device("meta"):
        model = kind(config)
    match = match_tensors(model, tensors)
    for name in match.mismatched:
        expected = list(named_tensors(model)[match.own_names[name]].shape)
        raise ValueError(
            f"{name} of {folder} is {list(tensors[name].shape)}, its configuration says {expected}; expected the "
            "weights that were saved with its config.json"
        )
    _untie(model, weights, match.own_names)
    dtype = _stored_type(model, tensors, match.own_names)
    if config.dtype is None:  # as from_pretrained does
        config.dtype = dtype
    for name in config.sub_configs:
        if getattr(config, name, None) is not None:
            getattr(config, name).dtype = config.dtype
    if (folder / GENERATION_FILE).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.to(dtype), match


def _untie(model: PreTrainedModel, weights: CheckpointWeights, names: Mapping[str, str]) -> None:
    """Untie weights that the checkpoint stores twice with different values, as `from_pretrained` does.

    The heads of the published mT5 checkpoints are such weights, although their configuration ties them.
    """
    stored = {own_name: name for name, own_name in names.items()}
    places = {name: (file, tensor) for file in weights.files for name, tensor in file.tensors.items()}
    for target, source in model.all_tied_weights_keys.items():
        if target in stored and source in stored and not same_tensor(places[stored[target]], places[stored[source]]):
            module, _, leaf = target.rpartition(".")
            setattr(model.get_submodule(module), leaf, nn.Parameter(torch.empty_like(model.get_parameter(target))))


def _stored_type(model: PreTrainedModel, tensors: Mapping[str, StoredTensor], names: Mapping[str, str]) -> torch.dtype:
    """Return the type in which the word embedding is stored."""
    embedding = word_embedding_of(model).weight
    own = named_tensors(model)
    stored = [tensors[name].dtype for name, own_name in names.items() if own[own_name] is embedding]
    if not stored:
        raise ValueError(f"the checkpoint has no word embedding for {type(model).__name__}; copy it again")
    if stored[0] not in _TYPES:
        raise ValueError(f"the word embedding is stored as {stored[0]}; expected one of {', '.join(_TYPES)}")
    return _TYPES[stored[0]]


def check_complete(
    model: PreTrainedModel, match: TensorMatch, tensors: Mapping[str, StoredTensor], folder: Path
) -> None:
    """Refuse an encoder with missing or surplus weights; warn about missing heads and poolers.

    Weights that are never stored, such as Marian's computed position table, are not missing. Nothing is missing either
    if as many numbers are stored under names that the model does not have, because transformers then renames them on
    loading (NomicBert).

    Raises:
        ValueError: If weights of the encoder are missing, or it does not have stored ones.
    """
    expected = "expected the weights that were saved with its config.json; copy the folder again"
    own = named_tensors(model)
    made_anew = [*(model._keys_to_ignore_on_load_missing or ()), *(model._keys_to_ignore_on_save or ())]
    needed = [name for name in match.missing if not any(re.search(pattern, name) for pattern in made_anew)]
    missing = list({id(own[name]): name for name in needed}.values())  # tied weights count once
    renamed = sum(prod(one.shape) for name, one in tensors.items() if name not in match.own_names)
    if missing and renamed == sum(own[name].numel() for name in missing):
        return
    if beyond := of_encoder(model, match.left_over):
        raise ValueError(f"{folder} has {shown(beyond)}, and its configuration has not; {expected}")
    if not missing:
        return
    if lost := of_encoder(model, sorted(missing)):
        raise ValueError(f"{folder} lacks {shown(lost)}; {expected}")
    logger.warning(
        "the checkpoint lacks %d weights of %s, such as %s; so will the pruned one",
        len(missing),
        type(model).__name__,
        min(missing),
    )


def rows_kept(
    model: PreTrainedModel,
    match: TensorMatch,
    found: VocabularyTensors,
    tensors: Mapping[str, StoredTensor],
    keep: VocabularyMap,
) -> dict[str, RowsKept]:
    """Return the rows to keep of every stored tensor with one row per token.

    Args:
        model: The model without weights.
        match: Its match with the stored tensors.
        found: Its vocabulary tensors.
        tensors: The stored tensors by name.
        keep: The tokens to keep.

    Raises:
        ValueError: If the model does not know a stored tensor of the vocabulary's size.
    """
    names = match.own_names
    strangers = [
        f"{name} {list(one.shape)}" for name, one in tensors.items() if name not in names and found.rows in one.shape
    ]
    if strangers:
        raise ValueError(
            f"the checkpoint has tensors as large as its vocabulary of {found.rows} that {type(model).__name__} "
            f"does not know: {', '.join(strangers)}; if they are of no use, leave them out by loading it with "
            "from_pretrained and saving it with save_pretrained"
        )
    if match.left_over:
        logger.info("%s does not take %s; copied as stored", type(model).__name__, shown(match.left_over))
    kept = {}
    for name in [one for one, own_name in names.items() if own_name in found.names]:
        shape = tensors[name].shape
        axis = row_axis(shape, found.rows)
        if any(size != 1 for size in shape[:axis]):
            raise ValueError(
                f"{name} {list(shape)} has its tokens in columns, which lie apart in the file; prune the model in "
                "memory, with prune_vocabulary"
            )
        kept[name] = RowsKept(axis, keep.old_ids)
    return kept


def write_index(weights: CheckpointWeights, folder: Path, total_parameters: int) -> None:
    """Write the index of shards, as transformers writes it.

    Args:
        weights: The written shards, with the old index.
        folder: Their folder.
        total_parameters: Number of parameters, tied ones once; written only if the old index has it.
    """
    index = weights.index or {}
    metadata = {**index.get("metadata", {}), "total_size": sum(one.size for one in weights.tensors.values())}
    if "total_parameters" in metadata:
        metadata["total_parameters"] = total_parameters
    write_whole(folder / INDEX, json.dumps({**index, "metadata": metadata}, indent=2, sort_keys=True) + "\n")


def carry_files(source: Path, target: Path, modules: SentenceModules | None = None) -> list[str]:
    """Copy the files of a model that do not depend on its vocabulary.

    Args:
        source: The folder of the old model.
        target: The folder of the new one.
        modules: The sentence-transformers modules of the source, if it has any.

    Returns:
        The names of files and folders of the source that are not in the target.
    """
    for pattern in CARRIED:
        for path in source.glob(pattern):
            if path.is_file():
                copy = target / path.relative_to(source)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, copy)
    if modules is None:
        return _not_in(target, source)
    modules.carry(target)
    inside = () if modules.encoder == source else _not_in(target, modules.encoder)
    return sorted({*_not_in(target, source), *inside} - {modules.encoder.name})


def _not_in(target: Path, source: Path) -> list[str]:
    return sorted(path.name for path in source.iterdir() if not (target / path.name).exists())

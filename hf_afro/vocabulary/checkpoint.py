"""prune_checkpoint: prune a folder file by file, without building its model, however large it is."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel

from hf_afro.files import folder_written_whole
from hf_afro.sentence_modules import sentence_modules_of
from hf_afro.vocabulary.checkpoint_files import (
    CheckpointWeights,
    carry_files,
    checkpoint_folder,
    read_weights,
    warn_of_prompts,
    write_index,
)
from hf_afro.vocabulary.configuration import renumber_configuration
from hf_afro.vocabulary.mapping import MAP_FILE, VocabularyMap
from hf_afro.vocabulary.pruning import PruningReport, check_together, report_pruning, write_report
from hf_afro.vocabulary.safetensors_files import RowsKept, first_difference, write_with_rows
from hf_afro.vocabulary.saving import save_tokenizer
from hf_afro.vocabulary.segmentation import TextReport, ids_found_in, probe_texts, report_on_text
from hf_afro.vocabulary.source_tokenizer import SourceTokenizer, read_tokenizer
from hf_afro.vocabulary.tensors import VocabularyTensors, named_tensors, row_axis
from hf_afro.vocabulary.verify import VerificationError, VerificationReport, check_sizes, check_ties, verify_tokenizer
from hf_afro.vocabulary.weightless import check_complete, model_without_weights, rows_kept

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrunedCheckpoint:
    """A pruned folder and what is known of it.

    Attributes:
        folder: The folder written.
        vocabulary_map: Old ids by new id.
        report: What was done.
        verification: What was compared once it was written.
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
    """Cut a checkpoint and its tokenizer down to the tokens kept, file by file.

    The model is never built: of tensors with a row a token the rows kept are read and written, all others are copied,
    a piece at a time. The folder holds what `prune_vocabulary` and `save_pretrained` write of the same model, every
    tensor equal byte for byte, in as many shards as the source has and under the names they have there; weights that
    are stored in another type than ``config.json`` says keep theirs. It appears only once each tensor has been read
    back and compared with the source, and the tokenizer as `verify` does. No outputs are compared: no model is run.

    Licences and code go along, and the modules of sentence-transformers that ``modules.json`` names, whose encoder is
    then in the folder itself. A README does not, since it tells of the model before; nor do weights in other formats,
    and the files of the old vocabulary.

    Args:
        source: A folder with a model in safetensors, sharded or not, and its tokenizer; or a repository of the Hub,
            from the cache where it is there or ``HF_HUB_OFFLINE`` is set.
        keep: The tokens to keep, from `select_tokens`.
        output_dir: A new or empty folder, or one written by an earlier call, which is replaced whole.
        revision: Branch, tag or commit of the repository.
        held_out: Lines by language, best such as were not counted, to report how they are split before and after.

    Raises:
        TypeError: If the tokenizer is not a fast one.
        ValueError: If there is no such checkpoint, it is damaged, quantised, an adapter or not in safetensors; if map,
            tokenizer and model do not belong together, a special token is not kept, or a tensor of the size of the
            vocabulary cannot be placed; if a module of sentence-transformers depends on the vocabulary.
        VerificationError: If what was written is not what the source says it should be.
        FileExistsError: If `output_dir` holds other things.

    Example:
        >>> hf_afro.prune_checkpoint("FacebookAI/xlm-roberta-large", keep, "pruned")
    """
    folder = checkpoint_folder(source, revision)
    if folder.resolve() == Path(output_dir).resolve():
        raise ValueError(f"{folder} is to be read and to be replaced; name another output_dir")
    modules = sentence_modules_of(folder)
    if modules is not None:
        modules.check(pruned=True)
    encoder = folder if modules is None else modules.encoder
    weights = read_weights(encoder)
    model = model_without_weights(encoder, weights)
    original, pruned_tokenizer = read_tokenizer(encoder, keep)
    found = check_together(model, original.table, keep)
    kept = rows_kept(model, found, weights.tensors, keep)
    check_complete(model, weights.tensors, encoder)
    with folder_written_whole(output_dir, MAP_FILE) as beside:
        _write_configuration(model, found, keep, beside)
        save_tokenizer(pruned_tokenizer, beside)
        prompts = [] if modules is None else [*modules.prompts.values()]
        probes = [*probe_texts(original.table, keep, seed=0), *prompts]
        needed = ids_found_in(probes, pruned_tokenizer, original.table)
        del pruned_tokenizer  # of the large ones there is only one at a time
        keep.save(beside / MAP_FILE)
        files = tuple(write_with_rows(file, beside / file.path.name, kept) for file in weights.files)
        written = CheckpointWeights(files, weights.index)
        pruned = model_without_weights(beside, written)
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
    if left:
        logger.info("left behind in %s: %s", folder, ", ".join(left))
    return PrunedCheckpoint(Path(output_dir), keep, report, verification)


def _report_on_held_out(
    held_out: Mapping[str, Iterable[str]] | None, source: SourceTokenizer, folder: Path, keep: VocabularyMap
) -> dict[str, TextReport]:
    """Report on text that may hold any piece, for which the original tokenizer is built whole."""
    if not held_out:
        return {}
    original = source.whole or AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
    return report_on_text(held_out, original, AutoTokenizer.from_pretrained(folder, trust_remote_code=False), keep)


def _write_configuration(model: PreTrainedModel, found: VocabularyTensors, keep: VocabularyMap, folder: Path) -> None:
    """Write the configurations with new ids, as `save_pretrained` does."""
    renumbered = copy.deepcopy(model)  # it has no weights, and the old ids are needed yet
    renumber_configuration(renumbered, keep, found.rows, len(keep))
    renumbered.config.save_pretrained(folder)
    generation = getattr(renumbered, "generation_config", None)
    if generation is not None:
        generation.save_pretrained(folder)


def _check_weights(weights: CheckpointWeights, written: CheckpointWeights, kept: Mapping[str, RowsKept]) -> None:
    """Compare every tensor written, byte for byte, with the one it came from."""
    for old, new in zip(weights.files, written.files, strict=True):
        different = first_difference(old, new, kept)
        if different is not None:
            raise VerificationError(
                f"{new.path.name}: {different} is not what {old.path} has for the tokens kept; one of the two changed "
                "while it was written, or the disk is failing"
            )


def _check_model(old: PreTrainedModel, new: PreTrainedModel, found: VocabularyTensors, keep: VocabularyMap) -> None:
    """Compare the model that the written configuration builds: its class, its tensors, what is tied, its size."""
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

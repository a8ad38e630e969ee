"""Prune a model by its name or folder: file by file where its weights are safetensors, in memory otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.sentence_modules import encoder_of

if TYPE_CHECKING:
    from hf_afro.vocabulary import PrunedCheckpoint, PrunedModel, VerificationReport, VocabularyMap


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
    """Prune a model and its tokenizer into a folder, with all that belongs to them.

    Weights in safetensors are rewritten file by file, as `prune_checkpoint` does: every stored tensor is kept,
    whatever class it belongs to, and none is drawn. The model is built for other formats, and for what only pruning
    in memory can do.

    Args:
        source: A folder, or a repository of the Hub.
        keep: The tokens to keep, from `select_tokens`.
        folder: A new or empty folder.
        revision: Branch, tag or commit of the repository.
        held_out: Lines by language, to report how they are split before and after.
        adapter: A PEFT adapter of the model, which is pruned along; in memory.
        pad_to_multiple_of: Rows of zeros are added until there are a multiple of this; in memory.

    Raises:
        ValueError: If it cannot be pruned; the message says why.
        LostTensors: In memory, if a tensor is stored that the model's class does not take.
        VerificationError: If what was written is not what it should be.
    """
    from hf_afro.vocabulary import prune_checkpoint
    from hf_afro.vocabulary.checkpoint_files import has_safetensors

    if adapter is None and pad_to_multiple_of is None and has_safetensors(source, revision):
        pruned = prune_checkpoint(source, keep, folder, revision=revision, held_out=held_out)
        return pruned, pruned.verification

    from hf_afro.recipes.pretrained import load_adapter, load_model, load_tokenizer
    from hf_afro.vocabulary import prune_vocabulary
    from hf_afro.vocabulary.outputs import check_comparable

    settings: dict[str, Any] = {} if revision is None else {"revision": revision}
    model = load_model(encoder_of(source, revision), all_heads=True, **settings)
    check_comparable(model)
    if adapter is not None:
        model = load_adapter(model, adapter)
    tokenizer = load_tokenizer(encoder_of(source, revision), **settings)
    in_memory = prune_vocabulary(model, tokenizer, keep, pad_to_multiple_of=pad_to_multiple_of)
    return in_memory, in_memory.save_pretrained(folder, held_out=held_out, modules_from=source)

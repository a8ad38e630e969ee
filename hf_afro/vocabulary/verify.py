"""Read a pruned folder back from disk and compare every row, token and output with the original."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hf_afro.vocabulary.adapters import adapters_of, load_adapters, prune_adapter, saved_adapter, without_adapters
from hf_afro.vocabulary.mapping import MAP_FILE, VocabularyMap
from hf_afro.vocabulary.segmentation import TextReport, compare_segmentation, probe_texts
from hf_afro.vocabulary.tensors import (
    find_vocabulary_tensors,
    models_in,
    named_tensors,
    padding_value,
    row_axis,
    word_embedding_of,
)
from hf_afro.vocabulary.tokenizers.backend import backend_state, gc_paused, kind_of, table_of
from hf_afro.vocabulary.tokenizers.table import TokenizerTable

REPORT_FILE = "pruning_report.json"

# Tolerance of logits relative to the largest, by type: another matrix shape may round differently.
_LOGIT_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
_ROWS_AT_ONCE = 16_384
_PERHAPS_TRAINED = (
    "one of the models may have been changed (trained) since it was pruned: save the pruned model before training, or "
    "save the trained one itself with model.save_pretrained"
)
_SEQUENCES, _LENGTH = 4, 24
_LOGITS = ("logits", "prediction_logits")


class VerificationError(RuntimeError):
    """Something read back from a pruned folder differs from the original."""


@dataclass(frozen=True)
class VerificationReport:
    """The result of verifying a pruned folder.

    Attributes:
        tokens: Size of the new tokenizer; every id is the same token as its old id, in every class that loads it.
        tokenizer_classes: The classes it was loaded with.
        vocabulary_tensors: Number of tensors with one row per token, every row bit-equal to the old one.
        other_tensors: Number of other tensors, all bit-equal.
        texts_kept: Number of texts whose old tokens are all kept; all were split alike.
        texts_other: Number of texts with a dropped token, which were not compared.
        hidden_difference: Largest difference of last hidden states, 0.0; None if no model was run, as by
            `prune_checkpoint`.
        logit_difference: Largest difference of logits relative to the largest logit; None without a language-model
            head.
        held_out: Comparison of held-out text by language; empty if none was given.
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
    """Compare a pruned folder with the original model and tokenizer.

    Args:
        folder: Folder with model, tokenizer and ``vocabulary_map.json``.
        model: The original model.
        tokenizer: The original tokenizer.
        texts: Texts to split with both tokenizers, besides texts of tokens drawn with `seed`.
        seed: Seed of the drawn texts and ids.

    Raises:
        VerificationError: If anything differs: a row, a tie, a token, a special token, the split of a text whose
            tokens are all kept, a hidden state, a logit.
    """
    folder = Path(folder)
    keep = VocabularyMap.load(folder / MAP_FILE)
    state = backend_state(tokenizer)
    table = table_of(state, tokenizer.unk_token)
    tried = [*probe_texts(table, keep.old_ids, seed), *texts]
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


@gc_paused()
def verify_tokenizer(
    folder: Path,
    original: tuple[PreTrainedTokenizerBase, np.ndarray],
    old_state: dict[str, Any],
    table: TokenizerTable,
    keep: VocabularyMap,
    texts: Sequence[str],
) -> tuple[tuple[str, ...], int, int]:
    """Compare the tokenizer of a pruned folder with the original; see `verify`.

    Args:
        folder: The pruned folder.
        original: The original tokenizer, or a part of it that splits the texts alike, and the old id of each of its
            ids.
        old_state: The original's backend in JSON form.
        table: Its tokens.
        keep: The tokens kept.
        texts: Texts to split with both.

    Returns:
        The classes it was loaded with, the number of texts whose old tokens are all kept, and that of other texts.
    """
    classes = []
    tokenizer, its_old_ids = original
    model = old_state["model"]
    expected = kind_of(old_state).rewrite_model(model, keep.old_ids[keep.old_ids < len(model["vocab"])])
    # Loaded with the class that the settings name and with the generic class that reads tokenizer.json as it is; one
    # at a time, because a large vocabulary takes much memory.
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
                f"loaded as {classes[-1]}, the tokenizer splits a text differently although its tokens are all kept: "
                f"{alike.first_difference!r}"
            )
        del loaded  # before loading the next one
    return tuple(classes), alike.kept, alike.other


def _check_tokenizer(
    loaded: PreTrainedTokenizerBase,
    table: TokenizerTable,
    old_state: dict[str, Any],
    expected: dict[str, Any],
    keep: VocabularyMap,
) -> None:
    """Compare size, highest id, every token and score, the other settings of the model and the steps around it."""
    name = type(loaded).__name__
    highest = max(loaded.get_vocab().values())
    if len(loaded) != len(keep) or highest != len(keep) - 1:  # transformers invents a few tokens for an empty folder
        raise VerificationError(
            f"loaded as {name}, the tokenizer has {len(loaded)} tokens with ids up to {highest}; "
            f"expected {len(keep)} and {len(keep) - 1}"
        )
    state = backend_state(loaded)
    try:
        new_table = table_of(state, loaded.unk_token)
    except ValueError as error:  # this library wrote it, so it is not the user's mistake
        raise VerificationError(f"loaded as {name}, the tokenizer cannot be read: {error}") from error
    for new_id, old_id in enumerate(keep.old_ids.tolist()):
        if new_table.pieces[new_id] != table.pieces[old_id]:
            raise VerificationError(
                f"loaded as {name}, id {new_id} is the token {new_table.pieces[new_id]!r}, but its row belongs to "
                f"{table.pieces[old_id]!r}"
            )
    _check_added_tokens(name, state, old_state, keep)
    scores = table.scores[keep.old_ids]
    # Classes that build their backend in Python read scores exactly; the tokenizers library is off by up to one unit
    # in the last place.
    allowed = np.spacing(np.abs(scores)) if type(loaded) is PreTrainedTokenizerFast else np.zeros_like(scores)
    if np.any(np.abs(new_table.scores - scores) > allowed):  # added tokens have NaN, which compares as False
        raise VerificationError(f"loaded as {name}, the tokenizer gives a token another score")
    for step in ("normalizer", "pre_tokenizer", "decoder"):
        if state[step] != old_state[step]:
            raise VerificationError(f"loaded as {name}, the tokenizer's {step} is {state[step]}")
    # Everything besides tokens and scores: merges, the unknown token, byte fallback.
    different = [key for key in expected if key != "vocab" and expected[key] != state["model"].get(key)]
    if different:
        raise VerificationError(
            f"loaded as {name}, the tokenizer's {' and '.join(different)} differ from the original"
        )


def _check_added_tokens(name: str, state: dict[str, Any], old_state: dict[str, Any], keep: VocabularyMap) -> None:
    """Compare the added tokens and how they are matched in text."""
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
    """Compare the special tokens around one text and two; a tokenizer's own call would change its backend."""
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
    """Load a folder with the class and type of the original."""
    loaded = type(model).from_pretrained(
        folder, dtype=model.dtype, attn_implementation=model.config._attn_implementation
    )
    # Some layers of T5 are loaded in fp32 whatever was saved, which is exact.
    types = {name: tensor.dtype for name, tensor in named_tensors(model).items()}
    for name, tensor in named_tensors(loaded).items():
        if name in types and tensor.dtype == torch.float32:
            tensor.data = tensor.data.to(types[name])
    return loaded.to(model.device)


def _check_weights(read_back: PreTrainedModel, model: PreTrainedModel, keep: VocabularyMap) -> tuple[int, int]:
    """Compare every tensor bit by bit, and the ties; return the numbers of vocabulary and of other tensors."""
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
    """Compare which of some tensors are tied.

    Raises:
        VerificationError: If two are tied in only one of the models.
    """
    old_tensors, new_tensors = named_tensors(old), named_tensors(new)
    for first, second in itertools.combinations(names, 2):
        if (old_tensors[first] is old_tensors[second]) != (new_tensors[first] is new_tensors[second]):
            raise VerificationError(f"{first} and {second} are tied in one of the two models only")


def check_sizes(model: PreTrainedModel, rows: int) -> None:
    """Compare the vocabulary sizes in the configurations of a model and the models inside it with its rows.

    Raises:
        VerificationError: If one differs.
    """
    for part in models_in(model):
        size = vars(part.config).get("vocab_size", rows)
        if size != rows:
            raise VerificationError(f"config.vocab_size is {size}, the embedding has {rows} rows")


def _check_adapters(folder: Path, model: PeftModel, base: PreTrainedModel, keep: VocabularyMap, rows: int) -> int:
    """Compare every saved tensor of the adapters with the pruned original; return their number."""
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
    """Return whether a tensor equals the old one bit by bit, or its rows kept followed by padding."""
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


class NotComparable(ValueError):
    """A model cannot be run on token ids alone, so its outputs cannot be compared."""


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch a model to evaluation mode and restore the mode of every module afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.inference_mode()
def compare_outputs(
    model: PreTrainedModel, pruned: PreTrainedModel, keep: VocabularyMap, seed: int
) -> tuple[float, float | None]:
    """Compare last hidden states and logits on random kept ids, with padding in some sequences.

    For an encoder-decoder the decoder gets other ids, and the last hidden states of both are compared.

    Args:
        model: The original, with its PEFT adapters inside if it has any.
        pruned: The pruned model, of the same class and on the same device.
        keep: The map between their ids.
        seed: Seed of the drawn ids.

    Returns:
        The largest difference of last hidden states, and the largest difference of logits of kept ids relative to the
        largest logit; None for a model without an output embedding.

    Raises:
        NotComparable: If the model does not run on token ids alone, or has an output embedding but no output with a
            known name of logits.
    """
    generator = torch.Generator().manual_seed(seed)
    new_ids, mask = _draw(pruned, keep, generator)
    new = {"input_ids": new_ids, "attention_mask": mask}
    if _has_decoder(model):
        decoder_ids, decoder_mask = _draw(pruned, keep, generator)
        new |= {"decoder_input_ids": decoder_ids, "decoder_attention_mask": decoder_mask}
    old = {name: keep.to_old(value) if name.endswith("input_ids") else value for name, value in new.items()}
    with evaluating(model), evaluating(pruned):
        pairs = zip(hidden_states(model, old), hidden_states(pruned, new), strict=True)
        hidden = max(float((before - after).abs().max()) for before, after in pairs)
        if model.get_output_embeddings() is None:
            return hidden, None
        old_logits = _logits(model, old)
        new_logits = _logits(pruned, new)[..., : len(keep)]  # padding rows come last
    kept = torch.from_numpy(keep.old_ids.copy()).to(old_logits.device)
    difference = (old_logits.index_select(-1, kept) - new_logits).abs().max()
    return hidden, float(difference / old_logits.abs().max().clamp(min=torch.finfo(old_logits.dtype).tiny))


@torch.inference_mode()
def check_comparable(model: PreTrainedModel) -> None:
    """Check that `compare_outputs` can run a model.

    Raises:
        NotComparable: If it needs other inputs (pixels, audio, boxes), or its outputs are unknown.
    """
    ids = torch.zeros((1, 2), dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if _has_decoder(model):
        inputs |= {"decoder_input_ids": ids, "decoder_attention_mask": torch.ones_like(ids)}
    with evaluating(model):
        hidden_states(model, inputs)
        if model.get_output_embeddings() is not None:
            _logits(model, inputs)


def _has_decoder(model: PreTrainedModel) -> bool:
    return bool(getattr(model.config, "is_encoder_decoder", False))


def _draw(
    pruned: PreTrainedModel, keep: VocabularyMap, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw padded sequences of new ids of decreasing length, with their mask."""
    positions = getattr(pruned.config.get_text_config(), "max_position_embeddings", None)
    length = min(_LENGTH, positions - 2) if positions and positions > 2 else _LENGTH
    new_ids = torch.randint(len(keep), (_SEQUENCES, length), generator=generator)
    mask = torch.ones_like(new_ids)
    for sequence in range(_SEQUENCES):
        mask[sequence, length - sequence * length // _SEQUENCES :] = 0
    padding = getattr(pruned.config.get_text_config(), "pad_token_id", None)
    if padding is not None:
        new_ids[mask == 0] = padding
    return new_ids, mask


def hidden_states(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Return the last hidden states of a model, or of its encoder and decoder.

    Raises:
        NotComparable: If the model does not run on these inputs.
    """
    if not _has_decoder(model):
        return [_forward(model.base_model, inputs)[0]]
    # Neither is run by itself, because models connect them differently; and `output_hidden_states` would leave hooks
    # of transformers in the model.
    parts = (model.get_encoder(), model.get_decoder().base_model)
    states: list[torch.Tensor] = []
    hooks = [part.register_forward_hook(lambda _part, _inputs, outputs: states.append(outputs[0])) for part in parts]
    try:
        _forward(model.base_model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return states


def _logits(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the logits over the vocabulary, which models with two heads (BertForPreTraining) name differently."""
    outputs = _forward(model, inputs)
    found = next((outputs[name] for name in _LOGITS if name in outputs), None)
    if found is None:
        raise NotComparable(
            f"{type(model).__name__} has an output embedding and gives {', '.join(outputs)}; expected "
            f"{' or '.join(_LOGITS)} among them, to compare. Prune it with prune_checkpoint, which runs no model"
        )
    return found


def _forward(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> Any:
    """Run the forward method of a model's class, because a trainer may have wrapped the model's own in autocast.

    Raises:
        NotComparable: If the model does not run on these inputs.
    """
    placed = {name: value.to(model.device) for name, value in inputs.items()}
    try:
        return type(model).forward(model, **placed)
    except (TypeError, ValueError, AttributeError) as error:  # raised for missing inputs
        raise NotComparable(
            f"{type(model).__name__} does not run on {' and '.join(one for one in inputs if 'mask' not in one)} alone "
            f"({type(error).__name__}: {' '.join(str(error).split())}). Prune it with prune_checkpoint, which runs no "
            "model"
        ) from error

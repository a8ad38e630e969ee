"""Read a fast tokenizer's backend as a table of pieces, and rewrite it with fewer pieces, every id renumbered."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import Model
from transformers import PreTrainedTokenizerBase

from hf_afro.model_folders import written_in_python
from hf_afro.vocabulary.tokenizers import bpe, byte_level, unigram, wordpiece
from hf_afro.vocabulary.tokenizers.table import TokenizerKind, TokenizerTable

logger = logging.getLogger(__name__)

KINDS: dict[str, TokenizerKind] = {
    kind.name: kind for kind in (unigram.KIND, wordpiece.KIND, byte_level.KIND, bpe.KIND)
}


def backend_state(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the backend of a fast tokenizer as the plain value of its JSON form, its padding by `correct_padding`.

    Raises:
        TypeError: If the tokenizer has no backend of the `tokenizers` library.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise TypeError(
            f"expected a tokenizer backed by the tokenizers library, received {type(tokenizer).__name__}, which is "
            f"{written_in_python(type(tokenizer).__name__)}"
        )
    return correct_padding(json.loads(backend.to_str()))


def correct_padding(state: dict[str, Any]) -> dict[str, Any]:
    """Return a backend's JSON form in which the padding has the id of the token that it names.

    Some files hold that of another vocabulary there. No text is ever padded with it, since Hugging Face tokenizers set
    the padding anew whenever they are called; so it is corrected, with a warning.

    Raises:
        ValueError: If there is no such token.
    """
    padding = state["padding"]
    if padding is None:
        return state
    vocab, token = state["model"]["vocab"], padding["pad_token"]
    pieces = {piece: index for index, (piece, _) in enumerate(vocab)} if isinstance(vocab, list) else vocab
    expected = {**pieces, **{one["content"]: one["id"] for one in state["added_tokens"]}}.get(token)
    if expected is None:
        raise ValueError(
            f"the padding of the tokenizer names {token!r}, which is not in its vocabulary; expected its padding "
            'token. Write "padding": null in tokenizer.json'
        )
    if expected == padding["pad_id"]:
        return state
    logger.warning(
        "the padding of the tokenizer gives %r the id %d, which is another vocabulary's; its id %d is used",
        token,
        padding["pad_id"],
        expected,
    )
    return {**state, "padding": {**padding, "pad_id": expected}}


def plain_backend(
    tokenizer: PreTrainedTokenizerBase, *, added_tokens: bool = True, model: Model | None = None
) -> Tokenizer:
    """Return a backend that splits text as a tokenizer does, without truncation, padding and special tokens around.

    It is put together from the tokenizer's own parts, not from their JSON: reading that, the library gets a quarter of
    XLM-R's scores wrong in the last binary place.

    Args:
        tokenizer: The tokenizer.
        added_tokens: Find its added tokens in the text; else their letters are text like any other.
        model: A model to put in the place of its own.
    """
    original = tokenizer.backend_tokenizer
    plain = Tokenizer(original.model if model is None else model)
    plain.normalizer = original.normalizer
    plain.pre_tokenizer = original.pre_tokenizer
    if added_tokens:
        plain.add_tokens([token for _, token in sorted(original.get_added_tokens_decoder().items())])
    plain.encode_special_tokens = tokenizer.split_special_tokens
    return plain


def build_backend(state: dict[str, Any]) -> Tokenizer:
    """Build a backend from its JSON form, with every number of the model exact; see `plain_backend`."""
    backend = Tokenizer.from_str(json.dumps(state))
    build_model = kind_of(state).build_model
    if build_model is not None:
        backend.model = build_model(state["model"])
    return backend


def kind_of(state: dict[str, Any]) -> TokenizerKind:
    """Return the record of a backend's kind, the backend being in JSON form.

    Raises:
        ValueError: If the kind is not supported; the message names those that are.
    """
    for kind in KINDS.values():
        if kind.matches(state):
            return kind
    raise ValueError(_refusal(state["model"].get("type")))


def kind_named(name: str) -> TokenizerKind:
    """Return the record of a kind by the name that tables carry.

    Raises:
        ValueError: If the kind is not supported; the message names those that are.
    """
    if name not in KINDS:
        raise ValueError(_refusal(name))
    return KINDS[name]


def _refusal(name: str | None) -> str:
    return f"tokenizers of kind {name!r} are not supported; expected one of {', '.join(sorted(KINDS))}"


def read_table(tokenizer: PreTrainedTokenizerBase) -> TokenizerTable:
    """Return the pieces of a tokenizer by id.

    Raises:
        TypeError: If the tokenizer has no backend of the `tokenizers` library.
        ValueError: If its kind is not supported, two ids share a piece, some id has no piece, text could lose its
            pieces for want of an unknown token, or the post-processor holds ids of another vocabulary.
    """
    return table_of(backend_state(tokenizer), tokenizer.unk_token)


def table_of(state: dict[str, Any], unknown_token: str | None = None) -> TokenizerTable:
    """Return the pieces of a backend in JSON form; see `read_table`.

    Args:
        state: The backend.
        unknown_token: The tokenizer's own, for models that spell everything in bytes and so name none.
    """
    kind = kind_of(state)
    model = kind.read_model(state["model"])
    pieces, unknown_id = model.pieces, model.unknown_id
    scores = np.full(len(pieces), np.nan) if model.scores is None else model.scores
    beyond = {token["id"]: token["content"] for token in state["added_tokens"] if token["id"] >= len(pieces)}
    expected = range(len(pieces), len(pieces) + len(beyond))
    if sorted(beyond) != list(expected):
        raise ValueError(
            f"the added tokens beyond the model's {len(pieces)} pieces have the ids {sorted(beyond)}, "
            f"expected {list(expected)} without gaps; save the tokenizer with save_pretrained and load it again"
        )
    pieces = [*pieces, *(beyond[index] for index in expected)]
    if len(set(pieces)) != len(pieces):
        twice = Counter(pieces).most_common(1)[0][0]
        raise ValueError(f"the piece {twice!r} has two ids; expected one id a piece, so that rows can be told apart")
    if unknown_id is None and model.byte_fallback and unknown_token in pieces:
        unknown_id = pieces.index(unknown_token)
    if unknown_id is None and not model.byte_fallback:
        raise ValueError(
            "the tokenizer has no unknown token and does not spell all text in bytes; expected one of the two, since "
            "text may lose its pieces. Name an unknown token of its vocabulary in the model of tokenizer.json"
        )
    _check_processor(state["post_processor"], pieces, unknown_id)
    return TokenizerTable(
        kind=kind.name,
        pieces=tuple(pieces),
        scores=np.concatenate([scores, np.full(len(beyond), np.nan)]),
        unknown_id=unknown_id,
        special_ids=tuple(sorted(token["id"] for token in state["added_tokens"])),
        byte_fallback=model.byte_fallback,
        fingerprint=_fingerprint(state, pieces, scores),
        merges=model.merges,
    )


def _fingerprint(state: dict[str, Any], pieces: list[str], scores: np.ndarray) -> str:
    model = {key: value for key, value in state["model"].items() if key not in ("vocab", "merges")}
    added = [(token["id"], token["content"]) for token in state["added_tokens"]]
    rest = [model, added, state["normalizer"], state["pre_tokenizer"], state["model"].get("merges")]
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    digest.update("\n".join(f"{len(piece)} {piece}" for piece in pieces).encode())
    # In single precision: the library's own JSON moves the last bit of a double, in copies and pickles too.
    digest.update(scores.astype(np.float32).tobytes())
    return digest.hexdigest()[:32]


def rewrite_tokenizer(state: dict[str, Any], old_ids: np.ndarray) -> dict[str, Any]:
    """Return a backend's JSON form with the pieces of `old_ids` only.

    Every place that holds an id is renumbered: the model, the added tokens, the post-processor and the padding.

    Args:
        state: The backend's JSON form; it is not changed.
        old_ids: Old ids kept, ascending, ``[new_size]``; all added tokens are among them.
    """
    kind = kind_of(state)
    new_ids = {old: new for new, old in enumerate(old_ids.tolist())}
    model_size = len(state["model"]["vocab"])
    model = kind.rewrite_model(state["model"], old_ids[old_ids < model_size])
    return {**renumber_around_model(state, new_ids), "model": model}


def renumber_around_model(state: dict[str, Any], new_ids: dict[int, int]) -> dict[str, Any]:
    """Return all of a backend's JSON form but its model, with other ids in it.

    Args:
        state: The backend's JSON form; it is not changed.
        new_ids: What becomes of each id.
    """
    rewritten = {key: copy.deepcopy(value) for key, value in state.items() if key != "model"}
    for token in rewritten["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    if rewritten["padding"] is not None:
        rewritten["padding"]["pad_id"] = new_ids[rewritten["padding"]["pad_id"]]
    _renumber_processor(rewritten["post_processor"], new_ids)
    return rewritten


def _check_processor(processor: dict[str, Any] | None, pieces: list[str], unknown_id: int | None) -> None:
    """Refuse a post-processor that puts another token around texts than the one it names.

    For a token that is not in the vocabulary, such as a language of NLLB's, transformers puts the unknown one.
    """
    for token, found in _tokens_around(processor):
        if 0 <= found < len(pieces) and pieces[found] == token:
            continue
        expected = pieces.index(token) if token in pieces else unknown_id
        if found != expected:
            raise ValueError(
                f"the post-processor of the tokenizer puts the id {found} around texts for {token!r}, expected "
                f"{expected}: it holds ids of another vocabulary, and a model would be given other tokens than it "
                "knows. Correct them under post_processor in tokenizer.json"
            )


def _tokens_around(processor: dict[str, Any] | None) -> Iterator[tuple[str, int]]:
    """Yield the tokens that a post-processor puts around texts, by name and by id."""
    if processor is None:
        return
    for part in processor.get("processors", ()):
        yield from _tokens_around(part)
    if processor["type"] == "TemplateProcessing":
        for special in processor["special_tokens"].values():
            yield from zip(special["tokens"], special["ids"], strict=True)
    for end in ("sep", "cls"):
        if isinstance(processor.get(end), list):
            yield processor[end][0], processor[end][1]


def _renumber_processor(processor: dict[str, Any] | None, new_ids: dict[int, int]) -> None:
    if processor is None:
        return
    for part in processor.get("processors", ()):  # a Sequence holds processors of its own
        _renumber_processor(part, new_ids)
    if processor["type"] == "TemplateProcessing":
        for special in processor["special_tokens"].values():
            special["ids"] = [new_ids[old] for old in special["ids"]]
    for end in ("sep", "cls"):  # BertProcessing and RobertaProcessing write [token, id]
        if isinstance(processor.get(end), list):
            processor[end] = [processor[end][0], new_ids[processor[end][1]]]

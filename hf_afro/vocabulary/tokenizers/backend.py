"""Read the backend of a fast tokenizer as a table of tokens, and rewrite it with fewer, renumbered tokens."""

from __future__ import annotations

import contextlib
import copy
import gc
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import Model
from transformers import PreTrainedTokenizerBase

from hf_afro.model_folders import written_in_python
from hf_afro.vocabulary.tokenizers import bpe, byte_level, unigram, wordpiece
from hf_afro.vocabulary.tokenizers.table import TokenizerKind, TokenizerTable
from hf_afro.vocabulary.tokenizers.unigram import BYTE_PIECES

logger = logging.getLogger(__name__)

KINDS: dict[str, TokenizerKind] = {
    kind.name: kind for kind in (unigram.KIND, wordpiece.KIND, byte_level.KIND, bpe.KIND)
}


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """Pause Python's garbage collector, which would visit each token of a large vocabulary many times.

    It takes a third off reading, cutting and verifying XLM-R's tokenizer. Also usable as a decorator.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def backend_state(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the backend of a fast tokenizer in JSON form, with its padding id corrected by `correct_padding`.

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
    """Return a backend's JSON form in which the padding id is that of the padding token.

    Some files have an id of another vocabulary there. It is never used, because Hugging Face tokenizers set the
    padding on every call; so it is corrected with a warning.

    Raises:
        ValueError: If the padding token does not exist.
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
    """Return a backend that splits text like a tokenizer, without truncation, padding and special tokens around it.

    It is made of the tokenizer's own parts and not from JSON, because the library misreads a quarter of XLM-R's scores
    there by one unit in the last place.

    Args:
        tokenizer: The tokenizer.
        added_tokens: Whether to match its added tokens in the text.
        model: A model to use instead of its own.
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
    """Build a backend from its JSON form with exact scores; see `plain_backend`."""
    backend = Tokenizer.from_str(json.dumps(state))
    build_model = kind_of(state).build_model
    if build_model is not None:
        backend.model = build_model(state["model"])
    return backend


def kind_of(state: dict[str, Any]) -> TokenizerKind:
    """Return the kind of a backend in JSON form.

    Raises:
        ValueError: If the kind is not supported.
    """
    for kind in KINDS.values():
        if kind.matches(state):
            return kind
    raise ValueError(_refusal(state["model"].get("type")))


def kind_named(name: str) -> TokenizerKind:
    """Return a kind by its name.

    Raises:
        ValueError: If the kind is not supported.
    """
    if name not in KINDS:
        raise ValueError(_refusal(name))
    return KINDS[name]


def _refusal(name: str | None) -> str:
    return f"tokenizers of kind {name!r} are not supported; expected one of {', '.join(sorted(KINDS))}"


def read_table(tokenizer: PreTrainedTokenizerBase) -> TokenizerTable:
    """Return the tokens of a tokenizer by id.

    Raises:
        TypeError: If the tokenizer has no backend of the `tokenizers` library.
        ValueError: If the kind is not supported, two ids have the same token, an id has none, text could get lost
            because there is no unknown token, or the post-processor has ids of another vocabulary.
    """
    return table_of(backend_state(tokenizer), tokenizer.unk_token)


def table_of(state: dict[str, Any], unknown_token: str | None = None) -> TokenizerTable:
    """Return the tokens of a backend in JSON form; see `read_table`.

    Args:
        state: The backend.
        unknown_token: The tokenizer's unknown token, for models with byte fallback, which need not name one.
    """
    kind = kind_of(state)
    model = kind.read_model(state["model"])
    pieces, unknown_id = model.pieces, model.unknown_id
    scores = np.full(len(pieces), np.nan) if model.scores is None else model.scores
    beyond = {token["id"]: token["content"] for token in state["added_tokens"] if token["id"] >= len(pieces)}
    expected = range(len(pieces), len(pieces) + len(beyond))
    if sorted(beyond) != list(expected):
        raise ValueError(
            f"the added tokens beyond the model's {len(pieces)} tokens have the ids {sorted(beyond)}, "
            f"expected {list(expected)} without gaps; save the tokenizer with save_pretrained and load it again"
        )
    pieces = [*pieces, *(beyond[index] for index in expected)]
    if len(set(pieces)) != len(pieces):
        twice = Counter(pieces).most_common(1)[0][0]
        raise ValueError(f"the token {twice!r} has two ids; expected one id per token, so that rows can be told apart")
    if unknown_id is None and model.byte_fallback and unknown_token in pieces:
        unknown_id = pieces.index(unknown_token)
    if unknown_id is None and not model.byte_fallback:
        raise ValueError(
            "the tokenizer has no unknown token and does not spell all text in bytes; expected one of the two, since "
            "parts of a text may be lost. Name an unknown token of its vocabulary in the model of tokenizer.json"
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
    digest.update("\n".join([f"{len(piece)} {piece}" for piece in pieces]).encode())
    # In single precision, because the library's JSON, copies and pickles change the last bit of doubles.
    digest.update(scores.astype(np.float32).tobytes())
    return digest.hexdigest()[:32]


def rewrite_tokenizer(state: dict[str, Any], old_ids: np.ndarray) -> dict[str, Any]:
    """Return a backend's JSON form with only the tokens `old_ids`.

    All ids are renumbered: those of the model, the added tokens, the post-processor and the padding.

    Args:
        state: The backend's JSON form; it is not changed.
        old_ids: Old ids to keep in ascending order, ``[new_size]``, including all added tokens.
    """
    kind = kind_of(state)
    new_ids = {old: new for new, old in enumerate(old_ids.tolist())}
    model_size = len(state["model"]["vocab"])
    model = kind.rewrite_model(state["model"], old_ids[old_ids < model_size])
    return {**renumber_around_model(state, new_ids), "model": model}


def renumber_around_model(state: dict[str, Any], new_ids: dict[int, int]) -> dict[str, Any]:
    """Return a backend's JSON form without its model, and with renumbered ids.

    Args:
        state: The backend's JSON form; it is not changed.
        new_ids: The new id of each old id.
    """
    rewritten = {key: copy.deepcopy(value) for key, value in state.items() if key != "model"}
    for token in rewritten["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    if rewritten["padding"] is not None:
        rewritten["padding"]["pad_id"] = new_ids[rewritten["padding"]["pad_id"]]
    _renumber_processor(rewritten["post_processor"], new_ids)
    return rewritten


def _check_processor(processor: dict[str, Any] | None, pieces: list[str], unknown_id: int | None) -> None:
    """Refuse a post-processor whose ids do not belong to the tokens it names.

    For a token outside the vocabulary, such as a language of NLLB, transformers uses the unknown token's id.
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
    """Yield the name and id of each token that a post-processor puts around texts."""
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
    for part in processor.get("processors", ()):  # a Sequence of processors
        _renumber_processor(part, new_ids)
    if processor["type"] == "TemplateProcessing":
        for special in processor["special_tokens"].values():
            special["ids"] = [new_ids[old] for old in special["ids"]]
    for end in ("sep", "cls"):  # BertProcessing and RobertaProcessing write [token, id]
        if isinstance(processor.get(end), list):
            processor[end] = [processor[end][0], new_ids[processor[end][1]]]


def piece_bytes(table: TokenizerTable, special_ids: Iterable[int]) -> tuple[bytes, ...]:
    """Return the UTF-8 bytes of every token, so that the bytes of a sequence of ids join to its text.

    A token that starts a word has a space before it, and a byte token may be part of a character. Special tokens
    become a space, so that words end at them; other added tokens start a word.

    Args:
        table: The tokens of the tokenizer.
        special_ids: The added tokens that are special.
    """
    specials = frozenset(special_ids)
    added = frozenset(table.special_ids) - specials
    return tuple(
        b" " if index in specials else b" " + piece.strip().encode() if index in added else _bytes_of(piece, table)
        for index, piece in enumerate(table.pieces)
    )


def _bytes_of(piece: str, table: TokenizerTable) -> bytes:
    if table.kind == byte_level.KIND.name and all(letter in byte_level.BYTE_OF for letter in piece):
        return bytes(byte_level.BYTE_OF[letter] for letter in piece)
    if table.byte_fallback and piece in BYTE_PIECES:
        return bytes([int(piece[3:5], 16)])  # "<0x0A>"
    return kind_named(table.kind).spell([piece]).encode()

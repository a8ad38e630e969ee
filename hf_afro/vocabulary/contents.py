"""What a vocabulary holds: tokens by script, special and unused tokens, spare rows, the weight of its embedding."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_afro.files import write_whole
from hf_afro.pretrained import load_model, load_tokenizer
from hf_afro.pretrained.model_class import named_tensors
from hf_afro.sentence_modules import encoder_of
from hf_afro.vocabulary.scripts import script_of
from hf_afro.vocabulary.tensors import find_vocabulary_tensors
from hf_afro.vocabulary.tokenizers.backend import KINDS, gc_paused
from hf_afro.vocabulary.tokenizers.unigram import BYTE_PIECES

CONTENTS_FILE = "vocabulary_contents.json"
ADDED, BYTES, UNUSED, NO_LETTER = "added tokens", "bytes", "unused", "no letter"
"""Groups of tokens besides scripts."""

# mBERT and BERT, XLM-R's fairseq, T5.
_UNUSED = re.compile(r"\[?unused_?\d+\]?|<unused_?\d+>|madeupword\d+|<extra_id_\d+>")


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of a tokenizer as they are, also where ids are missing or taken twice.

    Attributes:
        state: The backend in JSON form.
        kind: The name of its kind, as in `TokenizerTable`, or of a model that is not supported.
        entries: All ids with their tokens, ascending; an id or a token may occur twice.
        added_ids: The ids of added tokens.
    """

    state: dict[str, Any]
    kind: str
    entries: tuple[tuple[int, str], ...]
    added_ids: frozenset[int]

    @classmethod
    @gc_paused()
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Tokens:
        """Read a fast tokenizer."""
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        vocab, added = state["model"]["vocab"], state["added_tokens"]
        of_model = (
            [(token_id, piece) for token_id, (piece, _) in enumerate(vocab)]
            if isinstance(vocab, list)
            else [(token_id, piece) for piece, token_id in vocab.items()]
        )
        entries = {*of_model, *((token["id"], token["content"]) for token in added)}
        kind = next((kind.name for kind in KINDS.values() if kind.matches(state)), str(state["model"].get("type")))
        return cls(state, kind, tuple(sorted(entries)), frozenset(token["id"] for token in added))

    @property
    def by_id(self) -> dict[int, str]:
        """The token of each id."""
        return dict(self.entries)

    @property
    def by_group(self) -> dict[str, int]:
        """Number of tokens by script, and of tokens without one by group, the largest first."""
        bare_text = KINDS[self.kind].bare_text if self.kind in KINDS else str
        groups = Counter(
            ADDED if token_id in self.added_ids else _group_of(piece, bare_text(piece))
            for token_id, piece in self.entries
        )
        return dict(groups.most_common())


def _group_of(piece: str, text: str) -> str:
    if piece in BYTE_PIECES:
        return BYTES
    return UNUSED if _UNUSED.fullmatch(piece) else script_of(text) or NO_LETTER


@dataclass(frozen=True)
class VocabularyContents:
    """What a model's vocabulary holds.

    Attributes:
        name: Folder or repository of the model.
        kind: The kind of tokenizer, such as ``"Unigram"``.
        tokenizer_class: Its class in transformers.
        tokens: Number of tokens.
        by_group: Number of tokens by script, and of tokens without one: added ones, bytes, unused ones such as
            ``[unused7]``, and those without a letter.
        special_tokens: Id and token of each special token, by its name, such as ``unk_token``.
        added_tokens: All added tokens.
        rows: Rows of the embedding.
        spare_rows: Rows beyond the highest id.
        tied: Whether input and output embedding are one tensor; None without an output embedding.
        tensors: The shape of each tensor with one row per token, tied ones once.
        vocabulary_parameters: Number of parameters in them.
        parameters: Number of parameters of the model.
        vocabulary_bytes: Bytes of the former.
        bytes: Bytes of the latter.
        padding_ids: Id of the padding token in the configuration and in the tokenizer; they should be the same.
    """

    name: str
    kind: str
    tokenizer_class: str
    tokens: int
    by_group: Mapping[str, int]
    special_tokens: Mapping[str, tuple[int, str]]
    added_tokens: tuple[str, ...]
    rows: int
    spare_rows: int
    tied: bool | None
    tensors: Mapping[str, tuple[int, ...]]
    vocabulary_parameters: int
    parameters: int
    vocabulary_bytes: int
    bytes: int
    padding_ids: tuple[int | None, int | None]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the contents into a folder as JSON, and return the file."""
        path = Path(folder) / CONTENTS_FILE
        write_whole(path, json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n")
        return path


def inspect_vocabulary(name: str) -> VocabularyContents:
    """Read what the vocabulary of a model holds.

    Args:
        name: A folder, or a repository of the Hub.

    Raises:
        ValueError: If model or tokenizer cannot be read, or the meaning of a tensor of the vocabulary's size is
            unknown.
    """
    encoder = encoder_of(name)
    tokenizer, model = load_tokenizer(encoder), load_model(encoder)
    tokens = Tokens.of(tokenizer)
    found = find_vocabulary_tensors(model)
    tensors = named_tensors(model)
    of_vocabulary = {id(tensors[one]): one for one in reversed(found.names)}  # tied ones by their first name
    own = [tensors[one] for one in of_vocabulary.values()]
    return VocabularyContents(
        name=Path(name).name if Path(name).is_dir() else name,
        kind=tokens.kind,
        tokenizer_class=type(tokenizer).__name__,
        tokens=len(tokens.entries),
        by_group=tokens.by_group,
        special_tokens=dict(_special_tokens(tokenizer)),
        added_tokens=tuple(piece for token_id, piece in tokens.entries if token_id in tokens.added_ids),
        rows=found.rows,
        spare_rows=max(found.rows - 1 - tokens.entries[-1][0], 0),
        tied=_is_tied(model),
        tensors={one: tuple(tensors[one].shape) for one in sorted(of_vocabulary.values())},
        vocabulary_parameters=sum(one.numel() for one in own),
        parameters=sum(one.numel() for one in model.parameters()),
        vocabulary_bytes=sum(one.nbytes for one in own),
        bytes=sum(one.nbytes for one in model.parameters()),
        padding_ids=(getattr(model.config.get_text_config(), "pad_token_id", None), tokenizer.pad_token_id),
    )


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> Iterable[tuple[str, tuple[int, str]]]:
    for name, token in tokenizer.special_tokens_map.items():
        if isinstance(token, list):  # tokens without a role of their own
            continue
        yield name, (int(tokenizer.convert_tokens_to_ids(str(token))), str(token))


def _is_tied(model: PreTrainedModel) -> bool | None:
    output = model.get_output_embeddings()
    weight = None if output is None else getattr(output, "weight", None)
    return None if weight is None else weight is model.get_input_embeddings().weight

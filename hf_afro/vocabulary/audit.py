"""Audit a reduced vocabulary, made by whatever tool, against the model it was cut from: `compare_vocabularies`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import sentencepiece
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_afro.files import read_limited, write_whole
from hf_afro.model_folders import MASKED_LM_HEAD
from hf_afro.pretrained import load_config, load_model, load_tokenizer
from hf_afro.pretrained.model_class import named_tensors, shown
from hf_afro.sentence_modules import encoder_of
from hf_afro.tokenizer_checks import HIGH_UNKNOWN_SHARE, differing_steps
from hf_afro.version import __version__
from hf_afro.vocabulary.contents import Tokens
from hf_afro.vocabulary.scripts import main_script
from hf_afro.vocabulary.segmentation import SplitCounts, batches, encode, probe_texts
from hf_afro.vocabulary.tensors import find_vocabulary_tensors, row_axis, word_embedding_of
from hf_afro.vocabulary.tokenizers.backend import read_table
from hf_afro.vocabulary.verify import NotComparable, evaluating, hidden_states

AUDIT_FILE = "vocabulary_audit.json"
_FORMAT = 1
_LONGEST = 64 << 20  # bytes
DRAWN = "drawn tokens"
"""Name of the texts made of tokens drawn from those kept, beside the languages."""

_NO_UNKNOWN = -2  # stands for the unknown token of a cut whose original has none
_ROWS_AT_ONCE = 16_384
# Texts of each language that both models are run on, and the tokens of each at most.
_RUN_PER_LANGUAGE, _RUN_TOKENS = 4, 64
_EXAMPLE = 80  # characters
_SETTINGS = ("model_max_length", "padding_side", "truncation_side")

Read = TypeVar("Read")


@dataclass(frozen=True)
class RowComparison:
    """The rows of one tensor of the vocabulary, each compared with the original's row of the same token.

    Attributes:
        tensor: Its name, without the prefix of the encoder.
        old_rows: Rows of the original.
        rows: Rows of the cut.
        compared: Rows whose token is in the original.
        different: Those of them that are not bit-equal to the original's.
        of_other_tokens: Those of the different ones that are the original's row of another token: the cut is scrambled
            there, and not trained.
    """

    tensor: str
    old_rows: int
    rows: int
    compared: int
    different: int
    of_other_tokens: int


@dataclass(frozen=True)
class VocabularyAudit:
    """A comparison of a reduced vocabulary with the original.

    Attributes:
        original: Name of the original model.
        cut: Name of the reduced one.
        kind: The kind of the original's tokenizer.
        old_size: Tokens of the original.
        new_size: Tokens of the cut; 0 if its tokenizer cannot be used.
        kept: Tokens of the cut that the original has.
        ascending: Whether the tokens kept stand in the original's order.
        findings: What is wrong, one sentence each; empty for an exact renumbering.
        notes: What is worth knowing and not wrong.
        groups: Number of tokens in the original and in the cut by script; see `VocabularyContents.by_group`.
        rows: The rows of each tensor of the vocabulary.
        other_tensors: Number of other tensors that both models have.
        other_different: Those of them that are not bit-equal.
        languages: How the text of each language is split before and after.
        scripts: The same text by the script of most words of a line.
        drawn: The same of texts of tokens drawn from those kept.
        hidden_texts: Number of texts, of those split alike, that both models were run on.
        hidden_difference: Largest difference of their last hidden states; None if no model was run.
        versions: Library versions.
    """

    original: str
    cut: str
    kind: str
    old_size: int
    new_size: int = 0
    kept: int = 0
    ascending: bool = False
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    groups: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    rows: tuple[RowComparison, ...] = ()
    other_tensors: int = 0
    other_different: int = 0
    languages: Mapping[str, SplitCounts] = field(default_factory=dict)
    scripts: Mapping[str, SplitCounts] = field(default_factory=dict)
    drawn: SplitCounts = field(default_factory=SplitCounts)
    hidden_texts: int = 0
    hidden_difference: float | None = None
    versions: Mapping[str, str] = field(default_factory=lambda: {"hf_afro": __version__})

    @property
    def exact(self) -> bool:
        """Whether the cut is the original with fewer, renumbered tokens, and nothing else has changed."""
        return not self.findings

    @property
    def starved(self) -> dict[str, SplitCounts]:
        """The languages and scripts that lose more than one percent of their running tokens, the worst first."""
        both = {**self.languages, **self.scripts}
        worst = sorted(both, key=lambda name: both[name].lost_share, reverse=True)
        return {name: both[name] for name in worst if both[name].lost_share > HIGH_UNKNOWN_SHARE}

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if self.findings:
            more = len(self.findings) - 1
            return f"not an exact renumbering: {self.findings[0]}" + (f" (and {more} more)" if more else "")
        verdict = f"exact renumbering: {self.kept:,} of {self.old_size:,} tokens, every row and tensor the original's"
        if not self.starved:
            return verdict
        worst = (f"{name} {100 * one.lost_share:.1f} %" for name, one in self.starved.items())
        return f"{verdict}; but running tokens are lost: {', '.join(worst)}"

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the audit into a folder as JSON, and return the file."""
        path = Path(folder) / AUDIT_FILE
        facts = {"format": _FORMAT, "verdict": self.verdict, **dataclasses.asdict(self)}
        write_whole(path, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> VocabularyAudit:
        """Read an audit written by `save`, from its file or its folder.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file holds something else.
        """
        file = Path(path) / AUDIT_FILE if Path(path).is_dir() else Path(path)
        message = f"{file} holds no vocabulary audit of format {_FORMAT}; expected what `hf-afro compare` wrote"
        try:
            facts = json.loads(read_limited(file, _LONGEST))
            if facts.pop("format") != _FORMAT:
                raise ValueError(message)
            del facts["verdict"]
            return cls(
                rows=tuple(RowComparison(**one) for one in facts.pop("rows")),
                groups={name: (before, after) for name, (before, after) in facts.pop("groups").items()},
                languages={name: SplitCounts(**one) for name, one in facts.pop("languages").items()},
                scripts={name: SplitCounts(**one) for name, one in facts.pop("scripts").items()},
                drawn=SplitCounts(**facts.pop("drawn")),
                findings=tuple(facts.pop("findings")),
                notes=tuple(facts.pop("notes")),
                **facts,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(message) from error


def compare_vocabularies(
    original: str, cut: str, texts: Mapping[str, Iterable[str]] | None = None, *, seed: int = 0
) -> VocabularyAudit:
    """Compare a reduced vocabulary, made by whatever tool, with the original.

    Tokens are matched by their spelling, and every row of the cut is compared with the original's row of its token.
    Whatever is wrong with the cut is a finding of the result, not an error.

    Args:
        original: Folder of the original model with its tokenizer, or its name on the Hub.
        cut: The same of the reduced model.
        texts: Lines by language, to report what each language and script pays.
        seed: Seed of the texts made of drawn tokens, which are split by both tokenizers in any case.

    Raises:
        ValueError: If the original cannot be read, or there is no such folder or repository as `cut`.

    Example:
        >>> audit = compare_vocabularies("xlm-roberta-base", "their-cut", {"swa": open("swa.txt", encoding="utf-8")})
        >>> print(audit.verdict)
    """
    if not Path(cut).is_dir():
        load_config(cut)
    audit = _Audit(original, cut)
    audit.compare_tokens()
    audit.compare_weights()
    audit.compare_text(texts or {}, seed)
    audit.compare_outputs()
    return audit.result()


class _Audit:
    """The comparison of two models: each step adds to what was found before."""

    def __init__(self, original: str, cut: str) -> None:
        self.cut = cut
        self.findings: list[str] = []
        self.notes: list[str] = []
        self.facts: dict[str, Any] = {"original": _name_of(original), "cut": _name_of(cut)}
        self.old_tokenizer = load_tokenizer(encoder_of(original))
        self.old_model = load_model(encoder_of(original))
        self.new_tokenizer = self._attempt("tokenizer", load_tokenizer)
        self.new_model = self._attempt("model", load_model)
        self.table = read_table(self.old_tokenizer)
        self.old = Tokens.of(self.old_tokenizer)
        self.new = None if self.new_tokenizer is None else Tokens.of(self.new_tokenizer)
        self.backends = [one.backend_tokenizer for one in (self.old_tokenizer, self.new_tokenizer) if one is not None]
        for backend in self.backends:
            backend.no_truncation()
            backend.no_padding()
        self.facts |= {"kind": self.old.kind, "old_size": len(self.old.entries)}
        # The original's id of every id of the cut whose token the original has.
        self.old_of: dict[int, int] = {}
        self.split_alike: list[str] = []

    def result(self) -> VocabularyAudit:
        return VocabularyAudit(**self.facts, findings=tuple(self.findings), notes=tuple(self.notes))

    def _attempt(self, what: str, read: Callable[[str], Read]) -> Read | None:
        """Read a part of the cut; where that is not possible, the reason is a finding."""
        try:
            return read(encoder_of(self.cut))
        except (ValueError, TypeError, RuntimeError, OSError, FloatingPointError) as error:
            reason = " ".join(str(error).replace(self.cut, _name_of(self.cut)).split())
            self.findings.append(f"its {what} cannot be used: {reason}")
            return None

    def compare_tokens(self) -> None:
        """Match the tokens by their spelling, and compare all else of the tokenizers."""
        if self.new is None or self.new_tokenizer is None:
            return
        ids_before = {piece: token_id for token_id, piece in reversed(self.old.entries)}
        self.old_of = {new: ids_before[piece] for new, piece in self.new.entries if piece in ids_before}
        matched = [self.old_of[new] for new in sorted(self.old_of)]
        before, after = self.old.by_group, self.new.by_group
        self.facts |= {
            "new_size": len(self.new.entries),
            "kept": len(set(matched)),
            "ascending": all(one < other for one, other in zip(matched, matched[1:], strict=False)),
            "groups": {name: (before.get(name, 0), after.get(name, 0)) for name in {**before, **after}},
        }
        if not self.facts["ascending"]:
            self.notes.append("the tokens kept do not stand in the original's order")
        if self.new.kind != self.old.kind:
            self.findings.append(f"its tokenizer is {self.new.kind}, the original's {self.old.kind}")
        self.findings += _wrong_ids(self.new, ids_before)
        self.findings += _wrong_specials(self.old_tokenizer, self.old, self.new_tokenizer, self.new, self.old_of)
        if self.new.kind == self.old.kind:
            self.findings += _wrong_steps(self.old.state, self.new.state)
        self.findings += _stale_files(self.cut, self.new)
        for name in _SETTINGS:
            own, expected = getattr(self.new_tokenizer, name), getattr(self.old_tokenizer, name)
            if own != expected:
                self.notes.append(f"the tokenizer's {name} is {own!r}, the original's {expected!r}")

    def compare_weights(self) -> None:
        """Compare every row with the original's row of its token, and all other tensors."""
        if self.new_model is None:
            return
        if self.new_model.dtype != self.old_model.dtype:
            self.notes.append(
                f"its weights are {self.new_model.dtype}, the original's {self.old_model.dtype}, which were rounded "
                "before they were compared"
            )
            self.old_model = self.old_model.to(self.new_model.dtype)
        if getattr(self.new_model.config, MASKED_LM_HEAD, None) == "drawn":
            self.findings.append("its masked-LM head is not stored: whoever loads it gets one drawn at random")
        found = find_vocabulary_tensors(self.old_model)
        before, after = _own_names(self.old_model), _own_names(self.new_model)
        embedding = word_embedding_of(self.old_model)
        first = next(f"{name}.weight" for name, one in self.old_model.named_modules() if one is embedding)
        names = sorted(found.names, key=lambda name: name != first)
        of_vocabulary = [_own_name(name, self.old_model) for name in names]
        seen: set[tuple[int, int]] = set()
        rows: list[RowComparison] = []
        for name in of_vocabulary:
            if name in after and (tensors := (id(before[name]), id(after[name]))) not in seen:  # tied in both
                seen.add(tensors)
                rows += self._compare_rows(name, before[name], after[name], row_axis(before[name].shape, found.rows))
        self.facts["rows"] = tuple(rows)
        self._check_sizes(word_embedding_of(self.new_model).weight.shape[0])
        lacking = [name for name in before if name not in after]
        if lacking:
            self.findings.append(f"it lacks {len(lacking)} tensors of the original: {shown(lacking)}")
        if more := [name for name in after if name not in before]:
            self.notes.append(f"it has {len(more)} tensors that the original lacks: {shown(more)}")
        others = [name for name in before if name in after and name not in of_vocabulary]
        different = [name for name in others if not torch.equal(before[name], after[name])]
        self.facts |= {"other_tensors": len(others), "other_different": len(different)}
        if different:
            self.findings.append(
                f"{len(different)} of {len(others)} tensors besides the vocabulary's differ: {shown(different)}; it "
                "was trained after it was cut, or is a cut of another model"
            )

    def _compare_rows(self, name: str, old: torch.Tensor, new: torch.Tensor, axis: int) -> Iterator[RowComparison]:
        if new.dim() != old.dim() or new.movedim(axis, 0).shape[1:] != old.movedim(axis, 0).shape[1:]:
            self.findings.append(f"{name} is {list(new.shape)}, the original's {list(old.shape)}")
            return
        old, new = (one.detach().movedim(axis, 0).reshape(one.shape[axis], -1) for one in (old, new))
        pairs = [(mine, its) for mine, its in sorted(self.old_of.items()) if mine < len(new) and its < len(old)]
        different = _different_rows(old, new, pairs)
        is_vector = old.shape[1] > 1  # equal numbers in a bias mean nothing
        # Without a tokenizer each row is looked for among all of the original's.
        wanted = [new_id for new_id, _ in different] if self.new is not None else range(len(new))
        elsewhere = _found_elsewhere(old, new, wanted) if is_vector and len(wanted) else {}
        if self.new is None and is_vector:
            self.notes.append(f"{len(elsewhere):,} of {len(new):,} rows of {name} are rows of the original")
        yield RowComparison(name, len(old), len(new), len(pairs), len(different), len(elsewhere) if pairs else 0)
        if different:
            finding = f"{len(different):,} of {len(pairs):,} rows of {name} are not the original's"
            mine = next(iter(elsewhere), None)
            if mine is not None and self.new is not None:
                names, old_names = self.new.by_id, self.old.by_id
                finding += (
                    f", {len(elsewhere):,} of them are rows of other tokens: that of {names[mine]!r} (id {mine}) is "
                    f"the original's of {old_names.get(elsewhere[mine], 'no token')!r}"
                )
            self.findings.append(finding)

    def _check_sizes(self, rows: int) -> None:
        """Compare the ids of the tokenizer and of the configuration with the rows of the embedding."""
        if self.new is None or self.new_tokenizer is None or self.new_model is None:
            return
        beyond = [(token_id, piece) for token_id, piece in self.new.entries if token_id >= rows]
        if beyond:
            token_id, piece = beyond[0]
            self.findings.append(
                f"{len(beyond):,} tokens have ids beyond the {rows:,} rows of the embedding, such as {piece!r} with "
                f"{token_id}: text with them cannot be encoded"
            )
        elif (spare := rows - 1 - self.new.entries[-1][0]) > 0:
            self.notes.append(f"{spare:,} rows of the embedding have no token")
        before, after = self.old.by_id, self.new.by_id
        settings = self.old_model.config.to_dict()
        for name, old_id in sorted(settings.items()):
            if not name.endswith("_token_id") or not isinstance(old_id, int):
                continue
            new_id = getattr(self.new_model.config, name, None)
            found = None if new_id is None else after.get(new_id)
            # The original's own id may be wrong, as multilingual-e5-small's; that of the tokenizer is always right.
            # A tokenizer has no id for a decoder's first token.
            if found != before.get(old_id) and (new_id is None or new_id != getattr(self.new_tokenizer, name, None)):
                self.findings.append(
                    f"its configuration has {name} {new_id} ({found!r}), which in the original is "
                    f"{before.get(old_id)!r}"
                )

    def compare_text(self, texts: Mapping[str, Iterable[str]], seed: int) -> None:
        """Split text with both tokenizers, and collect some that both split alike."""
        if self.new is None or self.new_tokenizer is None or not self.old_of:
            return
        drawn = probe_texts(self.table, np.unique(list(self.old_of.values())), seed)
        languages: dict[str, SplitCounts] = {}
        scripts: dict[str, SplitCounts] = {}
        otherwise: list[str] = []
        old_unknown = _NO_UNKNOWN if self.table.unknown_id is None else self.table.unknown_id
        old_of = dict(self.old_of)
        if self.new_tokenizer.unk_token_id is not None:
            old_of[self.new_tokenizer.unk_token_id] = old_unknown
        kept = {*old_of.values()}
        for language, lines in {DRAWN: drawn, **texts}.items():
            languages[language], ready = SplitCounts(), []
            for batch in batches(line.rstrip("\r\n") for line in lines):
                for text, one, other in zip(
                    batch, *(encode(backend, batch) for backend in self.backends), strict=True
                ):
                    lost = sum(token not in kept for token in one.ids)
                    translated = [old_of.get(token, -1) for token in other.ids]
                    counted = SplitCounts.of(text, one.ids, translated, lost, old_unknown)
                    languages[language] += counted
                    if language != DRAWN:
                        script = main_script(text) or "no letter"
                        scripts[script] = scripts.get(script, SplitCounts()) + counted
                    if counted.lines_kept_alike and one.ids and len(ready) < _RUN_PER_LANGUAGE:
                        ready.append(text)
                    if counted.lines_kept and not counted.lines_kept_alike:
                        otherwise.append(text)
            self.split_alike += ready
        self.facts |= {"drawn": languages.pop(DRAWN), "languages": languages, "scripts": dict(sorted(scripts.items()))}
        if otherwise:
            self.findings.append(
                f"{len(otherwise):,} texts whose tokens are all kept are split otherwise, such as "
                f"{otherwise[0][:_EXAMPLE]!r}"
            )

    def compare_outputs(self) -> None:
        """Run both models on texts that are split alike, as a user would."""
        if self.new_tokenizer is None or self.new_model is None or not self.split_alike:
            return
        largest, ran = 0.0, 0
        try:
            for text in self.split_alike:
                states = [
                    _states_of(text, tokenizer, model)
                    for tokenizer, model in (
                        (self.old_tokenizer, self.old_model),
                        (self.new_tokenizer, self.new_model),
                    )
                ]
                if [one.shape for one in states[0]] == [one.shape for one in states[1]]:
                    differences = (_difference(old, new) for old, new in zip(*states, strict=True))
                    largest = float(np.max([largest, *differences]))  # max() would lose a NaN
                    ran += 1
        except (NotComparable, IndexError) as error:
            # An id beyond the rows, which is a finding already.
            self.notes.append(f"hidden states were not compared: {' '.join(str(error).split())}")
            return
        self.facts |= {"hidden_texts": ran, "hidden_difference": largest if ran else None}
        if ran < len(self.split_alike):
            self.findings.append(f"{len(self.split_alike) - ran} texts that are split alike give other hidden shapes")
        if largest != 0:
            self.findings.append(f"hidden states of texts that are split alike differ by up to {largest:.3g}")


def _name_of(model: str) -> str:
    return Path(model).resolve().name if Path(model).is_dir() else model


def _own_name(name: str, model: PreTrainedModel) -> str:
    return name.removeprefix(f"{model.base_model_prefix}.")


def _own_names(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the tensors of a model by name, those of the encoder without its prefix, with which a head loads it."""
    return {_own_name(name, model): tensor for name, tensor in named_tensors(model).items()}


def _wrong_ids(new: Tokens, ids_before: Mapping[str, int]) -> Iterator[str]:
    """Say which tokens the original lacks, and which ids are missing or taken twice."""
    strangers = [piece for _, piece in new.entries if piece not in ids_before]
    if strangers:
        yield f"{len(strangers):,} of its tokens are not in the original: {_few(strangers)}"
    pieces = Counter(piece for _, piece in new.entries)
    if len(pieces) < len(new.entries):
        yield f"tokens have two ids: {_few([piece for piece, times in pieces.items() if times > 1])}"
    ids = Counter(token_id for token_id, _ in new.entries)
    if len(ids) < len(new.entries):
        both = next(token_id for token_id, times in ids.items() if times > 1)
        named = [piece for token_id, piece in new.entries if token_id == both]
        yield f"{len(new.entries) - len(ids):,} ids stand for two tokens, such as {both} for {_few(named)}"
    highest = new.entries[-1][0]
    if len(ids) <= highest:
        missing = next(token_id for token_id in range(highest + 1) if token_id not in ids)
        yield (
            f"its ids were not renumbered: {len(ids):,} ids run up to {highest:,}, and {missing} is the first without "
            "a token"
        )


def _wrong_specials(
    old_tokenizer: PreTrainedTokenizerBase,
    old: Tokens,
    new_tokenizer: PreTrainedTokenizerBase,
    new: Tokens,
    old_of: Mapping[int, int],
) -> Iterator[str]:
    """Say which special and added tokens differ, and whether others are put around texts."""
    expected, found = (_special_tokens(one) for one in (old_tokenizer, new_tokenizer))
    for name in expected:
        if found.get(name) != expected[name]:
            yield f"its {name} is {found.get(name)!r}, the original's {expected[name]!r}"
    pieces = {piece for _, piece in new.entries}
    names = old.by_id
    if lacking := [names[one] for one in sorted(old.added_ids) if names[one] not in pieces]:
        yield f"{len(lacking):,} added tokens of the original are missing: {_few(lacking)}"
    for texts in (("",), ("", "")):
        before, after = (one.backend_tokenizer.encode(*texts).ids for one in (old_tokenizer, new_tokenizer))
        if before != [old_of.get(token, -1) for token in after]:
            own = new.by_id
            put = " ".join(own.get(one, f"(id {one})") for one in after)
            yield f"it puts {put or 'nothing'} around texts, the original {' '.join(names[one] for one in before)}"
            return


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, str | list[str]]:
    return {
        name: [*map(str, token)] if isinstance(token, list | tuple) else str(token)
        for name, token in tokenizer.special_tokens_map.items()
    }


def _wrong_steps(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Say which steps around the model, scores and merges differ."""
    for part, difference in differing_steps(old, new).items():
        yield f"its {part} differs: {difference}"
    vocab, vocab_before = new["model"]["vocab"], old["model"]["vocab"]
    if isinstance(vocab, list):
        # In single precision, in which SentencePiece stores them.
        scores = {piece: np.float32(score) for piece, score in vocab_before}
        other = [piece for piece, score in vocab if np.float32(score) != scores.get(piece, np.float32(score))]
        if other:
            yield f"{len(other):,} of its tokens have another score: {_few(other)}"
    if "merges" in old["model"]:
        merges, merges_before = _merges(new), _merges(old)
        lost = [merge for merge in merges_before if merge not in merges and {*merge, "".join(merge)} <= vocab.keys()]
        if lost:
            yield f"{len(lost):,} merges of tokens that are kept are missing: {_few(map(' + '.join, lost))}"
        if strangers := [merge for merge in merges if merge not in merges_before]:
            yield f"{len(strangers):,} merges are not in the original: {_few(map(' + '.join, strangers))}"
        common, ordered = (
            [merge for merge in one if merge in other]
            for one, other in ((merges, merges_before), (merges_before, merges))
        )
        if moved := [own for own, merge in zip(common, ordered, strict=True) if own != merge]:
            yield f"its merges stand in another order than the original's, from {' + '.join(moved[0])!r} on"


def _merges(state: dict[str, Any]) -> dict[tuple[str, ...], None]:
    """Return the merges of a BPE model in order; older versions write both parts as one text."""
    return {
        tuple(one.split(" ")) if isinstance(one, str) else tuple(one): None for one in state["model"].get("merges", ())
    }


def _stale_files(cut: str, new: Tokens) -> Iterator[str]:
    """Say which other vocabulary files in a folder still hold tokens that the tokenizer does not have."""
    if not Path(cut).is_dir():
        return
    pieces = {piece for _, piece in new.entries}
    for path in sorted(Path(encoder_of(cut)).glob("*.model")):
        try:
            model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError):
            yield f"{path.name} cannot be read as a SentencePiece model"
            continue
        learnt = [model.id_to_piece(one) for one in range(model.get_piece_size()) if not model.is_control(one)]
        stale = [piece for piece in learnt if piece not in pieces]
        if stale:
            yield (
                f"{path.name} still holds {len(stale):,} tokens that the tokenizer does not have: programs that read "
                "it get other ids"
            )


def _few(names: Iterable[str]) -> str:
    return shown([repr(name) for name in names])


def _different_rows(old: torch.Tensor, new: torch.Tensor, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return those pairs of a new and an old id whose rows differ."""
    different = []
    for start in range(0, len(pairs), _ROWS_AT_ONCE):
        part = pairs[start : start + _ROWS_AT_ONCE]
        mine, its = torch.tensor(part).T
        differ = (new[mine] != old[its]).any(dim=1)
        different += [part[place] for place in torch.nonzero(differ).flatten().tolist()]
    return different


def _found_elsewhere(old: torch.Tensor, new: torch.Tensor, ids: Iterable[int]) -> dict[int, int]:
    """Return, for each of some rows of the cut that the original has anywhere, the first old id of that row."""
    place: dict[bytes, int] = {}
    for old_id, row in enumerate(_hashes_of_rows(old)):
        place.setdefault(row, old_id)
    rows = _hashes_of_rows(new)
    return {new_id: place[rows[new_id]] for new_id in ids if rows[new_id] in place}


def _hashes_of_rows(tensor: torch.Tensor) -> list[bytes]:
    rows = tensor.contiguous().view(torch.uint8).numpy()
    return [hashlib.blake2b(row, digest_size=16).digest() for row in rows]


def _difference(old: torch.Tensor, new: torch.Tensor) -> float:
    """Return the largest difference, 0 where both are the same infinity or no number, NaN where only one is."""
    same = (old == new) | (old.isnan() & new.isnan())
    return float(torch.where(same, 0.0, (old - new).abs()).max())


@torch.inference_mode()
def _states_of(text: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> list[torch.Tensor]:
    """Return the last hidden states of one text, with special tokens around it."""
    ids = torch.tensor([tokenizer(text, truncation=True, max_length=_RUN_TOKENS)["input_ids"]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if getattr(model.config, "is_encoder_decoder", False):
        inputs |= {"decoder_input_ids": ids, "decoder_attention_mask": inputs["attention_mask"]}
    with evaluating(model):
        return hidden_states(model, inputs)

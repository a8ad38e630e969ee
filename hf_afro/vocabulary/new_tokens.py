"""New tokens for a tokenizer of any kind: which ones, and how they are added so that other text is split as before.

A token of a Unigram or WordPiece model is used only where its own text stands, so adding it is enough. A BPE model
makes tokens by merges, which act wherever their two parts meet. There are two ways, and both leave other text alone:

- Tokens of a script get merges after all old ones. Text is then split as before at first, and what a new merge joins
  is allowed only if it holds a whole letter of the script. Letters of three and four bytes are the one exception, see
  `_letter_merges`.
- Words need merges whose intermediate tokens would act in other words too. They get none: the model looks up whole
  words before it merges (``ignore_merges``), which finds exactly these words.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import regex
import sentencepiece
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerBase

from hf_afro.vocabulary.tokenizers import TokenizerTable, bpe, byte_level, unigram, wordpiece
from hf_afro.vocabulary.tokenizers.backend import backend_state, kind_named, table_of
from hf_afro.vocabulary.tokenizers.byte_level import BYTE_OF
from hf_afro.vocabulary.tokenizers.unigram import BYTE_PIECES, WORD_START
from hf_afro.vocabulary.tokenizers.word_cut import cuts_at_marks
from hf_afro.vocabulary.tokenizers.wordpiece import INSIDE

# SentencePiece's own first pieces: <unk>, <s>, </s>.
_OF_SENTENCEPIECE = 3
# A word with the marks of spaces before it.
_MARKED_WORD = rf"{WORD_START}*[^{WORD_START}]+|{WORD_START}+"
_A_WORD = regex.compile(r"\p{L}[\p{L}\p{M}'’ʼ-]*")
# A word, or two tokens side by side, that occurs once is no reason for a token.
_LEAST = 2
# By this much per token that it replaces a word's score is raised, so that it wins also against shorter new words.
_RAISED = 1e-4

Merge = tuple[str, str]


@dataclass(frozen=True, eq=False)
class OldTokenizer:
    """A tokenizer that gets new tokens.

    Attributes:
        backend: Its backend.
        state: The backend in JSON form.
        table: Its tokens.
    """

    backend: Tokenizer
    state: dict[str, Any]
    table: TokenizerTable

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> OldTokenizer:
        """Read a tokenizer.

        Raises:
            TypeError: If it is not a fast one.
            ValueError: If its kind is not supported, or ids of added tokens would no longer be matched as they were.
        """
        state = backend_state(tokenizer)
        table = table_of(state, tokenizer.unk_token)
        # They become tokens of the model, which would use them inside words.
        size = len(state["model"]["vocab"])
        alone = [one["content"] for one in state["added_tokens"] if one["single_word"] and one["id"] >= size]
        if alone:
            raise ValueError(
                f"the added tokens {', '.join(map(repr, alone[:4]))} are matched as whole words only (single_word); "
                "expected none of these after the tokens of the model"
            )
        return cls(tokenizer.backend_tokenizer, state, table)

    @property
    def spell(self) -> Callable[[Sequence[str]], str]:
        """The function that turns consecutive tokens into text."""
        return kind_named(self.table.kind).spell

    def words(self, texts: Iterable[str]) -> Counter[str]:
        """Count the parts in which the model sees text; lines that it sees whole are cut before marks of spaces."""
        normalizer, splitter = self.backend.normalizer, self.backend.pre_tokenizer
        counts: Counter[str] = Counter()
        for text in texts:
            normalized = text if normalizer is None else normalizer.normalize_str(text)
            parts = [(normalized, None)] if splitter is None else splitter.pre_tokenize_str(normalized)
            counts.update(word for part, _ in parts for word in regex.findall(_MARKED_WORD, part))
        return counts

    def spelt_by(self) -> Callable[[str], list[int]]:
        """Return a function from a new token to the old ids that spelt it, an empty list if nothing could."""
        split, lost = self.backend.model.tokenize, self.table.unknown_id
        inside = split
        if self.table.kind == wordpiece.KIND.name:  # a token inside a word is split after a letter that no token has
            vocab = {**self.state["model"]["vocab"], "\0": len(self.table)}
            inside = models.WordPiece(vocab, unk_token=self.state["model"]["unk_token"]).tokenize

        def ids(piece: str) -> list[int]:
            if inside is not split and piece.startswith(INSIDE):
                own = [token.id for token in inside("\0" + piece.removeprefix(INSIDE))][1:]
            else:
                own = [token.id for token in split(piece)]
            return [] if lost in own else own

        return ids

    def with_tokens(self, pieces: Sequence[str], **model: Any) -> dict[str, Any]:
        """Return a backend with a dict of tokens in JSON form, with more after the old ones, so that no id changes.

        Added tokens after the model's own tokens become tokens of the model, or the new ones would take their ids.
        They are still matched before the model sees the text, like XLM-R's mask, which is in both lists.

        Args:
            pieces: The new tokens.
            **model: Settings of the model that change.
        """
        old = self.state["model"]
        vocab = {piece: index for index, piece in enumerate([*self.table.pieces, *pieces])}
        return {**self.state, "model": {**old, "vocab": vocab, **model}}


NewTokens = tuple[dict[str, Any], tuple[str, ...]]
"""The backend in JSON form with the new tokens, and the new tokens in the order of their ids."""


def tokens_of_scripts(
    old: OldTokenizer, texts: Iterable[str], num_tokens: int, scripts: Sequence[str], shared_bytes: bool
) -> NewTokens:
    """Add tokens that contain a letter of some scripts, single letters first; see `extend_vocabulary`.

    Raises:
        ValueError: If the text contains no such letter, or more of them than `num_tokens` allows for, or a letter can
            only be joined by joining bytes of other characters.
    """
    letter = regex.compile("|".join(rf"\p{{Script={script}}}" for script in scripts) or r"(?!)")
    words = Counter({word: n for word, n in old.words(texts).items() if letter.search(old.spell([word]))})
    named = ", ".join(scripts)
    if not words:
        raise ValueError(f"the texts hold no word of {named or 'no script'}; give text and its script")
    letters = {one for word in words for one in old.spell([word]) if letter.match(one)}

    def check_room(needed: int) -> None:
        if needed > num_tokens:
            raise ValueError(
                f"num_tokens={num_tokens}, and the text has {len(letters)} letters of {named}, for which {needed} "
                "tokens are missing; expected room for each of them"
            )

    if old.table.kind == unigram.KIND.name:
        return _unigram_tokens(old, words, num_tokens, letter, check_room)
    if old.table.kind == wordpiece.KIND.name:
        return _wordpiece_tokens(old, words, num_tokens, letter, check_room)
    return _bpe_tokens(old, words, num_tokens, letter, letters, check_room, shared_bytes)


def _unigram_tokens(
    old: OldTokenizer,
    words: Counter[str],
    num_tokens: int,
    letter: regex.Pattern[str],
    check_room: Callable[[int], None],
) -> NewTokens:
    """Add subwords with their scores as learnt."""
    learnt = _learnt(words, num_tokens, letter)
    known, lowest = set(old.table.pieces), _lowest(old.table)
    letters = {one for word in words for one in word if letter.search(one)} - known
    check_room(len(letters))
    new = [(piece, max(score, lowest)) for piece, score in learnt if piece not in known and letter.search(piece)]
    new = sorted(new, key=lambda one: (one[0] not in letters, -one[1], one[0]))[:num_tokens]
    return _with_scores(old, new), tuple(piece for piece, _ in new)


def _lowest(table: TokenizerTable) -> float:
    """Return the lowest score. An unknown character costs it minus 10, so it must not change."""
    return min(score for score in table.scores.tolist() if score == score)


def _with_scores(old: OldTokenizer, new: list[tuple[str, float]]) -> dict[str, Any]:
    vocab = old.state["model"]["vocab"]
    beyond = [[piece, 0.0] for piece in old.table.pieces[len(vocab) :]]
    return {**old.state, "model": {**old.state["model"], "vocab": [*vocab, *beyond, *map(list, new)]}}


def _wordpiece_tokens(
    old: OldTokenizer,
    words: Counter[str],
    num_tokens: int,
    letter: regex.Pattern[str],
    check_room: Callable[[int], None],
) -> NewTokens:
    """Add subwords, and every letter for both places: at the start of a word and inside."""
    _check_spellable(old)
    known = set(old.table.pieces)
    alphabet = sorted({one for word in words for one in word if letter.search(one)})
    letters = [piece for one in alphabet for piece in (one, INSIDE + one) if piece not in known]
    check_room(len(letters))
    learnt = sorted(_learnt(words, num_tokens, letter), key=lambda one: (-one[1], one[0]))
    marked = [piece.removeprefix(WORD_START) if piece[0] == WORD_START else INSIDE + piece for piece, _ in learnt]
    others = [piece for piece in marked if piece not in known and letter.search(piece)]
    new = tuple(dict.fromkeys([*letters, *others]))[:num_tokens]
    return old.with_tokens(new), new


def _check_spellable(old: OldTokenizer) -> None:
    """Refuse a WordPiece vocabulary in which a longer token at the start of a word could make its rest unknown."""
    known = set(old.table.pieces)
    spelling = {
        single
        for piece in old.table.pieces
        if regex.fullmatch(r"[\p{L}\p{M}\p{N}]+", wordpiece.bare_text(piece))
        for single in wordpiece.letters(piece)
        if single.startswith(INSIDE)
    }
    if missing := sorted(spelling - known):
        raise ValueError(
            f"the vocabulary lacks {', '.join(missing[:5])}{' and others' if missing[5:] else ''}, single letters "
            "inside words that longer tokens contain; a known word could become unknown. Expected each of them"
        )


def _learnt(words: Counter[str], room: int, letter: regex.Pattern[str]) -> list[tuple[str, float]]:
    """Return the tokens of a Unigram model trained on words, with their scores."""
    parts: Counter[str] = Counter()
    for word, number in words.items():
        for one in word.replace(WORD_START, " ").split():
            if letter.search(one):
                parts[one] += number
    # Candidates are substrings with different characters after them, and the end of a line counts as one: a word that
    # has no longer forms is a candidate only if it also stands before a space.
    lines = (
        line
        for one, number in sorted(parts.items())
        for line in [f"{one} {one}"] * (number // 2) + [one] * (number % 2)
    )
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=trained,
        model_type="unigram",
        vocab_size=room + len({WORD_START}.union(*parts)) + _OF_SENTENCEPIECE,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        num_threads=1,  # with more threads, tokens of equal score change places between runs
        minloglevel=2,
    )
    learnt = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    return [(learnt.id_to_piece(one), learnt.get_score(one)) for one in range(_OF_SENTENCEPIECE, len(learnt))]


def _bpe_tokens(
    old: OldTokenizer,
    words: Counter[str],
    num_tokens: int,
    letter: regex.Pattern[str],
    letters: set[str],
    check_room: Callable[[int], None],
    shared_bytes: bool,
) -> NewTokens:
    """Add tokens with merges after the old ones: first what makes letters whole, then the most frequent pairs."""
    known = set(old.table.pieces)
    if old.table.kind == byte_level.KIND.name:
        split = old.backend.model
        given: list[str] = []
        in_letters = _letter_merges(letters, known, letter, shared_bytes)
    else:
        given = sorted(letters - known)
        check_room(len(given))
        split = Tokenizer.from_str(json.dumps(old.with_tokens(given))).model
        in_letters = None
    parts = [([token.value for token in split.tokenize(word)], n) for word, n in words.items()]
    merges = [] if in_letters is None else _learn_merges(parts, None, 1, in_letters)
    made = len({*given, *map("".join, merges)})
    check_room(made)
    not_text = {*BYTE_PIECES, old.state["model"].get("unk_token")}

    @functools.cache
    def in_words(left: str, right: str) -> bool:
        piece = left + right
        if piece in known or not_text & {left, right}:
            return False
        text = old.spell([piece])
        return "\ufffd" not in text and letter.search(text) is not None

    merges += _learn_merges(parts, num_tokens - made, _LEAST, in_words)
    new = tuple(dict.fromkeys([*given, *map("".join, merges)]))
    return old.with_tokens(new, merges=[*old.state["model"]["merges"], *map(list, merges)]), new


def _letter_merges(
    letters: set[str], known: set[str], letter: regex.Pattern[str], shared_bytes: bool
) -> Callable[[str, str], bool]:
    """Return which tokens of a byte-level model may be joined to make letters whole, with or without a space before.

    Two bytes of a letter of three are no letter yet, and joining them acts on every character that begins with them.
    Where all of these are of the scripts, as in the Vai block, other text cannot contain them.

    Raises:
        ValueError: By the function returned, if other characters begin with the bytes, unless `shared_bytes`.
    """
    whole = {one.encode() for one in letters}
    parts = {own[:end] for own in whole for end in range(2, len(own))}

    @functools.cache
    def joined(left: str, right: str) -> bool:
        own = bytes(BYTE_OF.get(one, 0) for one in left + right).lstrip(b" ")
        if left + right in known or own not in parts | whole:
            return False
        others = [] if own in whole or shared_bytes else [one for one in _beginning(own) if not letter.match(one)]
        if others:
            raise ValueError(
                f"letters of the scripts begin with the bytes {own.hex(' ').upper()}, as do {len(others)} other "
                f"characters from U+{ord(others[0]):04X} to U+{ord(others[-1]):04X}; a token of these bytes would be "
                "used in them too. If your text has none of them, or may have them split otherwise, set shared_bytes"
            )
        return True

    return joined


def _beginning(own: bytes) -> list[str]:
    """Return the assigned characters whose UTF-8 form begins with at least two bytes."""
    size = 3 if own[0] < 0xF0 else 4
    low, high = (ord((own + fill * (size - len(own))).decode()) for fill in (b"\x80", b"\xbf"))
    assigned = regex.compile(r"[^\p{Cn}\p{Cs}]")
    return [one for one in map(chr, range(low, high + 1)) if assigned.match(one)]


def _learn_merges(
    words: list[tuple[list[str], int]], room: int | None, least: int, may_join: Callable[[str, str], bool]
) -> list[Merge]:
    """Join the most frequent pair of neighbours, again and again.

    Args:
        words: The tokens of each distinct word, which are joined in place, and its number of occurrences.
        room: Number of tokens to make at most; None for as many as there are.
        least: Pairs that occur less often are left.
        may_join: Whether two tokens may be joined.

    References:
        Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units", algorithm 1.
    """
    counts: Counter[Merge] = Counter()
    places: defaultdict[Merge, set[int]] = defaultdict(set)

    def count(at: int, sign: int) -> None:
        parts, number = words[at]
        for pair in pairwise(parts):
            if may_join(*pair):
                counts[pair] += sign * number
                places[pair].add(at)

    for at in range(len(words)):
        count(at, 1)
    merges: list[Merge] = []
    made: set[str] = set()
    while counts and (room is None or len(made) < room):
        best = max(counts, key=lambda pair: (counts[pair], pair))
        if counts[best] < least:
            break
        merges.append(best)
        made.add("".join(best))
        for at in sorted(places.pop(best)):
            count(at, -1)
            words[at][0][:] = _joined(words[at][0], best)
            count(at, 1)
        del counts[best]
    return merges


def _joined(parts: list[str], pair: Merge) -> list[str]:
    joined: list[str] = []
    at = 0
    while at < len(parts):
        here = tuple(parts[at : at + 2]) == pair
        joined.append("".join(pair) if here else parts[at])
        at += 2 if here else 1
    return joined


def tokens_of_words(old: OldTokenizer, texts: Iterable[str], num_tokens: int) -> NewTokens:
    """Add the words that save the most tokens, each as one token; see `extend_vocabulary`.

    A word saves its occurrences times the tokens beyond one that it is split into.

    Raises:
        ValueError: If no word of the text is split, or the tokenizer cannot take words without splitting other text
            differently.
    """
    kind = kind_named(old.table.kind)
    is_bpe = kind in (bpe.KIND, byte_level.KIND)
    state = _whole_words_first(old) if is_bpe else old.state
    if kind is wordpiece.KIND:
        _check_spellable(old)
    known, spelt = set(old.table.pieces), old.spelt_by()
    saved = {
        word: number * (len(spelt(word)) - 1)
        for word, number in old.words(texts).items()
        if number >= _LEAST and word not in known and _A_WORD.fullmatch(kind.bare_text(word))
    }
    best = sorted((word for word in saved if saved[word] > 0), key=lambda word: (-saved[word], word))[:num_tokens]
    if not best:
        raise ValueError(
            "no word that occurs twice in the texts is split into several known tokens; give more text, or its script "
            "(scripts=) if the tokenizer does not know its letters"
        )
    if kind is unigram.KIND:
        return _with_scores(old, [(word, _winning_score(old.table, spelt(word))) for word in best]), tuple(best)
    settings = {"ignore_merges": True} if is_bpe else {}
    return dataclasses.replace(old, state=state).with_tokens(best, **settings), tuple(best)


def _winning_score(table: TokenizerTable, ids: list[int]) -> float:
    """Return a score that wins against the tokens that spelt a word, and hardly changes how longer words are split.

    It is the sum of their scores, slightly raised, so that in a longer word the new token replaces them where they
    stood. Where that is below the lowest score, which must not change, it is the lowest score.
    """
    lowest = _lowest(table)
    if any(table.pieces[one] in BYTE_PIECES for one in ids):
        return lowest
    return max(lowest, sum(table.scores[ids].tolist()) + _RAISED * len(ids))


def _whole_words_first(old: OldTokenizer) -> dict[str, Any]:
    """Return the backend of a BPE model with which every word is a part of its own, for ``ignore_merges``.

    The model then looks up each part before it merges. Old tokens must not be found that way unless merges give them
    too. Only the names of byte tokens, such as ``<0x0A>``, are split first, where they were split before.

    Raises:
        ValueError: If an old token would be found, or byte tokens cannot be split apart.
    """
    state, split = old.state, old.backend.model.tokenize
    if state["model"].get("ignore_merges"):
        return state
    if cuts_at_marks(state):
        if any(split(name)[0].offsets != (0, 1) for name in BYTE_PIECES & state["model"]["vocab"].keys()):
            raise ValueError(
                "the BPE model joins the first letters of names of bytes such as <0x0A>; expected '<' alone"
            )
        steps = [_isolated(_MARKED_WORD), _isolated(r"\A<(?=0x[0-9A-F]{2}>\z)")]
        state = {**state, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}
    steps_of = Tokenizer.from_str(json.dumps(state))
    added = {one["content"] for one in state["added_tokens"]}

    def is_one_part(piece: str) -> bool:
        if not kind_named(old.table.kind).bare_text(piece):
            return False  # bytes that are no whole characters
        text = old.spell([piece])
        text = text if steps_of.normalizer is None else steps_of.normalizer.normalize_str(text)
        return steps_of.pre_tokenizer is None or len(steps_of.pre_tokenizer.pre_tokenize_str(text)) == 1

    not_merged = (
        one for one in state["model"]["vocab"] if one not in added and [t.value for t in split(one)] != [one]
    )
    if found := [piece for piece in not_merged if is_one_part(piece)]:
        raise ValueError(
            f"the BPE model has {len(found)} tokens that its merges do not give, such as {', '.join(found[:4])}; if "
            "whole words were looked up, these would be used too. Only scripts can be added to this tokenizer"
        )
    return state


def _isolated(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}

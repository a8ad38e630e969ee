"""Masking: random tokens or whole words for training, and a fixed choice of words for bits per byte.

All choices are pure functions. A training mask depends on (seed, pass, sample id); the words masked for evaluation
depend on (seed, sentence), so that they are the same for every tokenizer and model.
"""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from hf_afro.batching.counter_random import MASK_TOKENS, random_words, uniform
from hf_afro.batching.packing import boundary_ids, plain_backend

IGNORED = -100
"""The label of positions that are left out of the loss, as in torch's cross entropy."""

MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1
"""Shares of the chosen tokens that become the mask token and a random token (BERT); the rest is kept."""

# Punctuation within words: Swahili ng'ombe, Hausa 'ya'ya, Portuguese guarda-chuva, Catalan cel·la.
_INSIDE_WORDS = frozenset("'\u2018\u2019-\u2010\u2011\u00b7")
# Scripts without spaces that BERT splits into characters: Han and the Japanese syllabaries.
_ONE_BY_ONE = ((0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
_LETTER, _SPACE, _SIGN, _APART = range(4)
_CODES = 0x110000


def mask_tokens(
    input_ids: np.ndarray,
    *,
    seed: int,
    epoch: int,
    sample_id: int,
    special_ids: Sequence[int] | np.ndarray,
    mask_id: int,
    vocab_size: int,
    probability: float = 0.15,
    words: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mask tokens of one sample for masked language modeling; the result depends on the arguments only.

    Of the chosen tokens 80 % become the mask token, 10 % a random token that is not special, and 10 % are kept.
    Special tokens, including the unknown token, are never chosen.

    Args:
        input_ids: One sample, integers ``[length]``; not modified.
        seed: The seed of all masks, 0 to 2**64 - 1.
        epoch: The pass over the sample's language, so that every pass masks other tokens.
        sample_id: The id of the sample.
        special_ids: Distinct ids that are never chosen and never inserted at random.
        mask_id: The id of the mask token.
        vocab_size: Random tokens are drawn from the ids below it.
        probability: The share of tokens to choose, 0 to 1.
        words: For whole-word masking, the word of each token, integers ``[length]`` from 0 to ``length - 1``. All
            tokens of a word are chosen together, and all are masked, replaced or kept; the expected share of chosen
            tokens is still `probability`.

    Returns:
        The masked ids, and the labels: the original id where chosen, -100 elsewhere; both int64 ``[length]``.

    References:
        Devlin et al., "BERT", NAACL 2019, section 3.1.
    """
    length = len(input_ids)
    choice, action, draw = uniform(random_words(seed, MASK_TOKENS, epoch, sample_id, 3 * length)).reshape(3, length)
    if words is not None:
        choice, action = choice[words], action[words]
    masked = np.array(input_ids, dtype=np.int64)
    chosen = (choice < probability) & ~np.isin(masked, special_ids)
    labels = np.where(chosen, masked, IGNORED)
    masked[chosen & (action < MASKED_SHARE)] = mask_id
    replaced = chosen & (action >= MASKED_SHARE) & (action < MASKED_SHARE + RANDOM_SHARE)
    masked[replaced] = _ordinary_ids(draw[replaced], np.sort(np.asarray(special_ids, dtype=np.int64)), vocab_size)
    return masked, labels


def _ordinary_ids(draw: np.ndarray, special_ids: np.ndarray, vocab_size: int) -> np.ndarray:
    """Turn doubles in [0, 1) into ids below `vocab_size` that are not among the sorted special ids."""
    special_ids = special_ids[special_ids < vocab_size]
    rank: np.ndarray = (draw * (vocab_size - len(special_ids))).astype(np.int64)
    # The ordinary id of rank r is r plus the specials before it; special k has special_ids[k] - k ordinary ids before.
    return rank + np.searchsorted(special_ids - np.arange(len(special_ids)), rank, side="right")


@dataclass(frozen=True, eq=False)
class WordsOfPieces:
    """Map each token of a row to its word, for any tokenizer.

    The bytes of the tokens are joined to the text of the row, words are found in the text, and a token belongs to the
    word of its first byte. So it does not matter how a tokenizer marks words, whether tokens are parts of characters,
    or that Ethiopic text may separate words by U+1361.

    Words are separated by white space. As in BERT, punctuation around a word is a word of its own; apostrophes and
    hyphens belong to the word. In Han and kana every character is a word. In scripts without other separators, such as
    Thai, everything between two spaces is one word.

    Attributes:
        spelling: The bytes of every token by id, see `hf_afro.vocabulary.tokenizers.spelling.piece_bytes`.
    """

    spelling: Sequence[bytes]

    def __call__(self, input_ids: np.ndarray) -> np.ndarray:
        """Return the word of each token, counted from 0, int64 ``[length]``, for ids ``[length]``."""
        spelt = [self.spelling[token] for token in input_ids.tolist()]
        # A row may begin or end within a character; each stray byte then becomes a surrogate from U+DC80 on.
        text = b"".join(spelt).decode("utf-8", "surrogateescape")
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        stray = (codes >= 0xDC80) & (codes <= 0xDCFF)
        sizes = np.where(stray, 1, 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000))
        word_of_character = np.cumsum(_begins_a_word(_classes()[codes])) - 1
        lengths = np.array([len(one) for one in spelt], dtype=np.int64)
        first_bytes = np.cumsum(lengths) - lengths
        first_characters = np.searchsorted(np.cumsum(sizes), first_bytes, side="right")
        words = word_of_character[np.minimum(first_characters, len(codes) - 1)] if len(codes) else first_bytes
        return np.unique(words, return_inverse=True)[1]  # words inside a token get no number


def _begins_a_word(classes: np.ndarray) -> np.ndarray:
    """Tell for each character whether a word begins there; white space belongs to the following word.

    Args:
        classes: The class of each character, ``[characters]``.
    """
    before = np.concatenate([[_LETTER], classes[:-1]])
    begins = (before != _SPACE) & ((classes != before) | (classes == _APART))
    begins[:1] = True
    return begins


@functools.cache
def _classes() -> np.ndarray:
    """Return the class of every code point, uint8."""
    classes: np.ndarray = np.zeros(_CODES, dtype=np.uint8)
    for code in range(_CODES):
        character = chr(code)
        if character.isspace():
            classes[code] = _SPACE
        elif unicodedata.category(character)[0] == "P" and character not in _INSIDE_WORDS:
            classes[code] = _SIGN
    for first, last in _ONE_BY_ONE:
        letters = classes[first : last + 1] == _LETTER
        classes[first : last + 1][letters] = _APART
    return classes


@dataclass(frozen=True, eq=False)
class MaskedSentence:
    """A sentence with some of its words masked.

    A word is unknown if its tokens include `<unk>` or it has no tokens. An unknown word costs a fixed number of bits;
    it is masked like the others, but has no labels.

    Attributes:
        input_ids: The token ids, special tokens included, int64 ``[length]``.
        labels: The original ids of masked words that are scored, -100 elsewhere, int64 ``[length]``.
        word_of: The index of each token's word in the sentence, int64 ``[length]``; -1 for special tokens.
        words: The indices of the masked words in the sentence.
        num_bytes: The UTF-8 bytes of each masked word.
        unknown: Whether each masked word is unknown.
        num_cut: The number of chosen words that were truncated, in full or in part; they are not masked or counted.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    word_of: np.ndarray
    words: tuple[int, ...]
    num_bytes: tuple[int, ...]
    unknown: tuple[bool, ...]
    num_cut: int

    @property
    def scored_bytes(self) -> int:
        """UTF-8 bytes of the masked words that are scored."""
        return sum(size for size, unknown in zip(self.num_bytes, self.unknown, strict=True) if not unknown)

    @property
    def unknown_bytes(self) -> int:
        """UTF-8 bytes of the masked words that are unknown."""
        return sum(size for size, unknown in zip(self.num_bytes, self.unknown, strict=True) if unknown)

    def restricted_to(self, kept: np.ndarray) -> MaskedSentence:
        """Return the sentence with all masked words unknown that have a token outside a smaller vocabulary.

        Args:
            kept: Whether each id is in the smaller vocabulary, bool ``[vocabulary]``.
        """
        lost = self.word_of[(self.labels != IGNORED) & ~kept[np.maximum(self.labels, 0)]]
        return replace(
            self,
            labels=np.where(np.isin(self.word_of, lost), IGNORED, self.labels),
            unknown=tuple(was or word in lost for word, was in zip(self.words, self.unknown, strict=True)),
        )

    @property
    def unknown_words(self) -> int:
        """The number of masked words that are unknown."""
        return sum(self.unknown)


def choose_words(sentence: str, *, seed: int, share: float = 0.15) -> list[int]:
    """Choose words of a sentence by a hash of (seed, sentence, word index), independent of tokenizer and model.

    The words are those of `sentence.split()`. The sentence is hashed with single spaces, so that white space does not
    change the choice. Each word is chosen independently with probability `share`; a sentence without chosen words is
    not measured.

    Args:
        sentence: One line of text.
        seed: The seed of the choice, 0 to 2**64 - 1.
        share: The expected share of chosen words, 0 to 1.

    Returns:
        The sorted indices of the chosen words.

    Raises:
        ValueError: If the share or the seed is outside its range.

    Example:
        >>> choose_words("Mvua kubwa ilinyesha jana usiku katika mji wa pwani.", seed=1, share=1.0)
        [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share is {share}; expected a number from 0 to 1")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed}; expected an integer from 0 to {2**64 - 1}")
    words = sentence.split()
    prefix = hashlib.blake2b(seed.to_bytes(8, "little") + " ".join(words).encode(), digest_size=8)
    limit = int(share * 2**64)
    chosen = []
    for index in range(len(words)):
        digest = prefix.copy()
        # Fixed widths on both sides of the sentence, so that different triples have different bytes.
        digest.update(index.to_bytes(8, "little"))
        if int.from_bytes(digest.digest(), "little") < limit:
            chosen.append(index)
    return chosen


def mask_sentences(
    sentences: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    seed: int,
    share: float = 0.15,
    batch_size: int = 1000,
) -> Iterator[MaskedSentence]:
    """Choose and mask words in many sentences, tokenized in batches on all cores.

    Args:
        sentences: Lines of text.
        tokenizer: A tokenizer with a mask token; not modified.
        max_length: The most tokens of a sentence, special tokens included.
        seed: See `choose_words`.
        share: See `choose_words`.
        batch_size: Sentences tokenized at a time.

    Yields:
        The sentences with at least one chosen word, in order; they are the same sentences for every tokenizer.

    Raises:
        ValueError: See `choose_words`; also if there is no mask token, or `max_length` has no room for a token.
    """
    pairs = ((sentence.split(), set(choose_words(sentence, seed=seed, share=share))) for sentence in sentences)
    pairs = (pair for pair in pairs if pair[1])
    while batch := list(islice(pairs, batch_size)):
        yield from _mask_batch(batch, tokenizer, max_length)


def _mask_batch(
    batch: Sequence[tuple[list[str], set[int]]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Iterator[MaskedSentence]:
    if tokenizer.mask_token_id is None:
        raise ValueError(
            f"the tokenizer ({type(tokenizer).__name__}) has no mask token; set tokenizer.mask_token first"
        )
    bos, eos = boundary_ids(tokenizer)
    room = max_length - (bos is not None) - (eos is not None)
    if room < 1:
        raise ValueError(f"max_length is {max_length}, which leaves no room between the special tokens")
    with plain_backend(tokenizer) as backend:
        # Words are encoded one by one, so that no token crosses a word boundary. The space in front is what byte-level
        # and SentencePiece models see within a sentence; the others drop it.
        encodings = backend.encode_batch(
            [[f" {word}" if index else word for index, word in enumerate(words)] for words, _ in batch],
            is_pretokenized=True,
            add_special_tokens=False,
        )
    front, back = [] if bos is None else [bos], [] if eos is None else [eos]
    for (words, chosen), encoding in zip(batch, encodings, strict=True):
        yield _mask_encoding(
            words, chosen, encoding, tokenizer.mask_token_id, tokenizer.unk_token_id, room, front, back
        )


def _mask_encoding(
    words: Sequence[str],
    chosen: set[int],
    encoding: Encoding,
    mask_id: int,
    unknown_id: int | None,
    room: int,
    front: list[int],
    back: list[int],
) -> MaskedSentence:
    """Mask the chosen words of one encoding and add the special tokens."""
    ids: np.ndarray = np.array(encoding.ids, dtype=np.int64)
    word_of: np.ndarray = np.array(encoding.word_ids, dtype=np.int64)
    cut = set(word_of[room:].tolist())
    kept = tuple(sorted(chosen - cut))
    unknown = set(kept) - set(word_of.tolist())  # words without tokens
    if unknown_id is not None:
        unknown.update(word_of[ids == unknown_id].tolist())
    ids, word_of = ids[:room], word_of[:room]
    hidden = np.isin(word_of, kept)
    scored = hidden & ~np.isin(word_of, list(unknown))
    return MaskedSentence(
        input_ids=np.concatenate([front, np.where(hidden, mask_id, ids), back]).astype(np.int64),
        labels=np.concatenate(
            [[IGNORED] * len(front), np.where(scored, ids, IGNORED), [IGNORED] * len(back)],
        ).astype(np.int64),
        word_of=np.concatenate([[-1] * len(front), word_of, [-1] * len(back)]).astype(np.int64),
        words=kept,
        num_bytes=tuple(len(words[index].encode()) for index in kept),
        unknown=tuple(index in unknown for index in kept),
        num_cut=len(chosen & cut),
    )

"""Which words are hidden to measure bits a byte, the same for every model, and what they become under a tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from hf_afro.batching.collators import IGNORED
from hf_afro.batching.tokenizing import boundary_ids, plain_backend


@dataclass(frozen=True, eq=False)
class MaskedSentence:
    """One sentence with some of its words hidden, ready for a model.

    A word is unknown when its pieces hold `<unk>`, or when the tokenizer makes nothing of it. Such a word costs a
    fixed number of bits and the model does not score it: it is hidden like the others, without labels.

    Attributes:
        input_ids: The pieces, special tokens included, int64 ``[length]``.
        labels: The old id at every piece of a hidden word that is scored, -100 elsewhere, int64 ``[length]``.
        word_of: The word each piece belongs to, as an index into the words of the sentence, int64 ``[length]``; -1
            for special tokens.
        words: The hidden words, as indices into the words of the sentence.
        num_bytes: The UTF-8 bytes of each hidden word.
        unknown: Whether each hidden word is unknown.
        num_cut: Chosen words that did not fit into the length, whole or in part; they are neither hidden nor counted.
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
        """UTF-8 bytes of the hidden words that the model scores."""
        return sum(size for size, unknown in zip(self.num_bytes, self.unknown, strict=True) if not unknown)

    @property
    def unknown_bytes(self) -> int:
        """UTF-8 bytes of the hidden words that are unknown."""
        return sum(size for size, unknown in zip(self.num_bytes, self.unknown, strict=True) if unknown)

    def restricted_to(self, kept: np.ndarray) -> MaskedSentence:
        """Call every hidden word unknown that has a piece outside a smaller vocabulary.

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
        """How many hidden words are unknown."""
        return sum(self.unknown)


def choose_words(sentence: str, *, seed: int, share: float = 0.15) -> list[int]:
    """Choose words of a sentence by a hash of (seed, sentence, word index): no tokenizer or model takes part.

    Words are those of `sentence.split()`, and the sentence is hashed with one space between them, so that the white
    space around and between words does not change the choice. Every word is chosen on its own with probability
    `share`: a short sentence may have none, and is then left out of the measure.

    Args:
        sentence: One line of text.
        seed: The seed of the choice, 0 to 2**64 - 1.
        share: The share of words chosen on average, 0 to 1.

    Returns:
        The indices of the words chosen, rising.

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
        # Fixed widths on both sides of the sentence, so that no two triples make the same bytes.
        digest.update(index.to_bytes(8, "little"))
        if int.from_bytes(digest.digest(), "little") < limit:
            chosen.append(index)
    return chosen


def mask_words(
    words: Sequence[str], chosen: Collection[int], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> MaskedSentence:
    """Tokenise one sentence and hide all pieces of the words chosen.

    Args:
        words: The words of the sentence.
        chosen: Indices of the words to hide.
        tokenizer: A tokenizer with a mask token.
        max_length: The most pieces, special tokens included; what is longer is cut off at the end.

    Returns:
        The sentence; see `mask_sentences` for many at once.

    Raises:
        ValueError: If the tokenizer has no mask token, or `max_length` leaves no room for a piece.
    """
    return next(_mask_batch([(list(words), set(chosen))], tokenizer, max_length))


def mask_sentences(
    sentences: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    seed: int,
    share: float = 0.15,
    batch_size: int = 1000,
) -> Iterator[MaskedSentence]:
    """Choose and hide words in many sentences, tokenised in batches on all cores.

    Args:
        sentences: Lines of text.
        tokenizer: A tokenizer with a mask token; left as it was.
        max_length: The most pieces of a sentence, special tokens included.
        seed: See `choose_words`.
        share: See `choose_words`.
        batch_size: Sentences tokenised at a time.

    Yields:
        One value a sentence that has a chosen word, in order: which these are is the same for every tokenizer.

    Raises:
        ValueError: See `choose_words` and `mask_words`.
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
        # Words one by one, so that pieces never cross them; the space in front is what a byte-level or SentencePiece
        # model sees within a sentence, and the others drop it.
        encodings = backend.encode_batch(
            [[f" {word}" if index else word for index, word in enumerate(words)] for words, _ in batch],
            is_pretokenized=True,
            add_special_tokens=False,
        )
    front, back = [] if bos is None else [bos], [] if eos is None else [eos]
    for (words, chosen), encoding in zip(batch, encodings, strict=True):
        yield _hide(words, chosen, encoding, tokenizer.mask_token_id, tokenizer.unk_token_id, room, front, back)


def _hide(
    words: Sequence[str],
    chosen: set[int],
    encoding: Encoding,
    mask_id: int,
    unknown_id: int | None,
    room: int,
    front: list[int],
    back: list[int],
) -> MaskedSentence:
    """Hide the chosen words of one encoding and put the special tokens around it."""
    ids: np.ndarray = np.array(encoding.ids, dtype=np.int64)
    word_of: np.ndarray = np.array(encoding.word_ids, dtype=np.int64)
    cut = set(word_of[room:].tolist())
    kept = tuple(sorted(chosen - cut))
    unknown = set(kept) - set(word_of.tolist())  # the tokenizer made nothing of these
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

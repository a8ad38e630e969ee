"""Where words begin in a row of pieces, whatever the tokenizer, so that whole words can be masked.

The pieces' bytes are joined to the text of the row, words are found in that, and each piece goes to the word in which
its first byte lies. So it does not matter how a tokenizer marks words, whether its pieces are parts of characters, or
that Ethiopic text may set words apart by U+1361 and no space.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Punctuation that stands inside words: Swahili ng'ombe, Hausa 'ya'ya, Portuguese guarda-chuva, Catalan cel·la.
_INSIDE_WORDS = frozenset("'\u2018\u2019-\u2010\u2011\u00b7")
# Scripts without spaces that BERT takes apart into characters: Han and the Japanese syllabaries.
_ONE_BY_ONE = ((0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
_LETTER, _SPACE, _SIGN, _APART = range(4)
_CODES = 0x110000


@dataclass(frozen=True, eq=False)
class WordsOfPieces:
    """Says which word of its row every piece belongs to.

    A word is what stands between white space, without the punctuation around it, which is a word of its own, as it is
    to BERT; apostrophes and hyphens belong to the word. Han and kana are a word a character. In scripts that set no
    words apart otherwise, such as Thai, it is all between two spaces.

    Attributes:
        spelling: The bytes of every piece by id, see `hf_afro.vocabulary.tokenizers.spelling.piece_bytes`.
    """

    spelling: Sequence[bytes]

    def __call__(self, input_ids: np.ndarray) -> np.ndarray:
        """Return the word of each piece, rising from 0, int64 ``[length]``, for ids of ``[length]``."""
        spelt = [self.spelling[token] for token in input_ids.tolist()]
        # A row may begin or end within a character; each stray byte then is a character of its own, U+DC80 and on.
        text = b"".join(spelt).decode("utf-8", "surrogateescape")
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        stray = (codes >= 0xDC80) & (codes <= 0xDCFF)
        sizes = np.where(stray, 1, 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000))
        word_of_character = np.cumsum(_begins_a_word(_classes()[codes])) - 1
        lengths = np.array([len(one) for one in spelt], dtype=np.int64)
        first_bytes = np.cumsum(lengths) - lengths
        first_characters = np.searchsorted(np.cumsum(sizes), first_bytes, side="right")
        words = word_of_character[np.minimum(first_characters, len(codes) - 1)] if len(codes) else first_bytes
        return np.unique(words, return_inverse=True)[1]  # a word that lies inside a piece has no number of its own


def _begins_a_word(classes: np.ndarray) -> np.ndarray:
    """Say of each character whether a word begins at it; the white space before a word is a part of it.

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

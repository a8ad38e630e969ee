"""A Unigram tokenizer of XLM-R's class, trained on some lines of text, the same one every time."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_MASK = "<mask>"
# Those that a SentencePiece model has in any case: <unk> <s> </s>.
_OF_SENTENCEPIECE = 3


def train_tokenizer(lines: Iterable[str], size: int, max_length: int) -> PreTrainedTokenizerBase:
    """Train a tokenizer by SentencePiece, as XLM-R's own was.

    The trainer of the tokenizers library adds up in parallel and in the order of a hash table, so that pieces of like
    score change places from run to run; SentencePiece in one thread gives the same scores to the last digit.

    Args:
        lines: Text, of all languages; its order has no effect.
        size: Pieces at most, special tokens included; fewer where the text has no more to give.
        max_length: Tokens that the model takes, special ones included.

    Returns:
        An XLM-R tokenizer, the special tokens where XLM-R has them: ``<s> <pad> </s> <unk>`` first, ``<mask>`` last.

    Raises:
        ValueError: If there is no text, or `size` has no room for every character of it.

    References:
        Kudo 2018, "Subword Regularization", section 3.2: the Unigram language model.
    """
    import sentencepiece
    from transformers import XLMRobertaTokenizer

    text = sorted(lines)
    # The mark of a word's beginning is a piece, white space is none.
    characters = {"▁"}.union(*text) - set(" \t\r\n")
    room = size - len(_SPECIAL) - 1
    if not text or len(characters) > room:
        raise ValueError(
            f"a tokenizer of {size} pieces has room for {room} besides the special tokens, and the text has "
            f"{len(characters)} characters; expected some text, and a larger size"
        )
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=trained,
        model_type="unigram",
        vocab_size=room + _OF_SENTENCEPIECE,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        max_sentence_length=1 << 30,  # bytes; a longer line would be left out
        num_threads=1,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    ids = range(_OF_SENTENCEPIECE, len(model))
    pieces = sorted(((model.id_to_piece(i), model.get_score(i)) for i in ids), key=lambda entry: (-entry[1], entry[0]))
    vocab = [*((token, 0.0) for token in _SPECIAL), *pieces, (_MASK, 0.0)]
    return XLMRobertaTokenizer(vocab=vocab, model_max_length=max_length)

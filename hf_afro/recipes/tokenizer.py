"""A Unigram tokenizer of XLM-R's class, trained on some lines of text, the same one every time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Training sums in parallel, so that scores differ in their last digits from run to run; these digits do not.
_DIGITS = 4
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


def train_tokenizer(lines: Iterable[str], size: int, max_length: int) -> PreTrainedTokenizerBase:
    """Train a tokenizer.

    Args:
        lines: Text, of all languages; its order has no effect.
        size: Pieces at most, special tokens included.
        max_length: Tokens that the model takes, special ones included.

    Returns:
        An XLM-R tokenizer, the special tokens where XLM-R has them: ``<s> <pad> </s> <unk>`` first, ``<mask>`` last.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import XLMRobertaTokenizer

    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=size - 1, special_tokens=list(_SPECIAL), unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(lines, trainer)
    found = json.loads(backend.to_str())["model"]["vocab"]
    scores = {piece: round(score, _DIGITS) for piece, score in found if piece not in _SPECIAL}
    pieces = sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
    vocab = [*((token, 0.0) for token in _SPECIAL), *pieces, ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=vocab, model_max_length=max_length)

"""Warn of languages of which a tokenizer does not know a large share: that text is lost to the model."""

from __future__ import annotations

import logging
from collections.abc import Mapping

logger = logging.getLogger(__name__)

HIGH_UNKNOWN_SHARE = 0.01
"""Share of a language's running tokens from which it is warned of.

Of 23 languages, 20 of them African, XLM-R knows all but 0.07 % at most (Yoruba), most of them without a single unknown
token. At 1 % whole letters are missing, if not the script. A WordPiece tokenizer makes one unknown token of a whole
word, so that even more text is lost.
"""


def warn_of_unknown(shares: Mapping[str, float]) -> None:
    """Log a warning that names the languages with a high share of unknown tokens.

    Args:
        shares: Unknown tokens over running tokens, by language.
    """
    high = {language: share for language, share in shares.items() if share > HIGH_UNKNOWN_SHARE}
    if high:
        named = ", ".join(f"{language} {share:.2%}" for language, share in sorted(high.items()))
        logger.warning(
            "the tokenizer does not know much of some languages (share of their tokens that is unknown: %s); a model "
            "cannot learn from text that it cannot read: take one whose tokenizer knows their script, or add pieces "
            "with extend_vocabulary",
            named,
        )

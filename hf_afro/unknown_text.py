"""Warn of languages of which a tokenizer does not know a large share: that text is lost to the model."""

from __future__ import annotations

import logging
from collections.abc import Mapping

logger = logging.getLogger(__name__)

HIGH_UNKNOWN_SHARE = 0.01
"""Share of a language's running tokens from which it is warned of.

In up to 1,500 lines of each of 23 languages, most of them African, XLM-R's tokenizer left 0.07 % unknown at most
(Yoruba) and nothing at all in 20; the threshold is well above that. A WordPiece tokenizer makes one unknown token of a
whole word, so that the share of the text that is lost is higher still.
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

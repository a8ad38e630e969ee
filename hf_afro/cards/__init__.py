"""Model cards rendered from evaluation reports and facts, with no number that they do not explain."""

from __future__ import annotations

from hf_afro.cards.card_facts import CardFacts as CardFacts, TextSource as TextSource
from hf_afro.cards.render import render_card as render_card

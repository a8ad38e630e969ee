"""Model cards: what one says, and the page written from it, every number of which was measured or counted."""

from __future__ import annotations

from hf_afro.cards.facts import CardFacts as CardFacts, TextSource as TextSource
from hf_afro.cards.render import render_card as render_card

"""The committed cards, rendered again by `python -m tests.cards.golden`."""

from __future__ import annotations

from pathlib import Path

from hf_afro.cards import CardFacts, render_card
from hf_afro.reports import EvalReport

MODEL_CARDS = Path(__file__).resolve().parents[2] / "model_cards"
FOLDERS = sorted(path for path in MODEL_CARDS.iterdir() if path.is_dir())


def card_file(folder: Path) -> Path:
    return folder.with_suffix(".md")


def read(folder: Path) -> tuple[list[EvalReport], CardFacts]:
    """Return the reports, that of the model itself first, and the facts."""
    return [EvalReport.load(path) for path in sorted(folder.glob("report-*.json"))], CardFacts.load(folder)


def main() -> None:
    for folder in FOLDERS:
        card_file(folder).write_text(render_card(*read(folder)), "utf-8")


if __name__ == "__main__":
    main()

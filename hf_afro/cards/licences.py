"""The licence that a model inherits from what it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

_UNCLEAR = ("other", "unknown")


def inherited_licence(base_models: Sequence[str]) -> str | None:
    """Return the one licence that the cards of all base models state; None where there is no base model.

    Args:
        base_models: Folders with a card, or names on the Hub.

    Raises:
        ValueError: If a card cannot be read or states none that is known, or they state several.
    """
    licences = {name: _licence_of(name) for name in base_models}
    if len(set(licences.values())) > 1:
        said = ", ".join(f"{name} {licence}" for name, licence in licences.items())
        raise ValueError(f"the base models have several licences: {said}")
    return next(iter(licences.values()), None)


def _licence_of(name: str) -> str:
    card = Path(name) / "README.md"
    try:
        licence = ModelCard.load(card if Path(name).is_dir() else name, ignore_metadata_errors=True).data.license
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, ValueError) as error:
        raise ValueError(f"the licence of {name} is not known, since its card could not be read ({error})") from error
    if not licence or licence in _UNCLEAR:
        raise ValueError(f"the card of {name} states no licence that is known ({licence})")
    return str(licence)

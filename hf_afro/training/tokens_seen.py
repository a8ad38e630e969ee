"""How many tokens of each language a model was trained on, over all processes and all runs that went on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

_NAME = "TokensSeen"


class TokensSeen(TrainerCallback, ExportableState):
    """Adds up the tokens of each step; part of the trainer's state, so that a run that goes on does not begin at zero.

    Special tokens count and padding does not; a sample that comes again counts again.
    """

    def __init__(self) -> None:
        self.by_language: dict[str, int] = {}

    def add(self, languages: Sequence[str], tokens: Sequence[int]) -> None:
        """Take note of the tokens that all processes together read in a step, in the order of `languages`."""
        for language, count in zip(languages, tokens, strict=True):
            self.by_language[language] = self.by_language.get(language, 0) + count

    def figures(self, prefix: str = "") -> dict[str, int]:
        """Return `tokens_seen` and `tokens_seen_<language>`, as they are logged."""
        own = {f"{prefix}tokens_seen_{language}": count for language, count in sorted(self.by_language.items())}
        return {f"{prefix}tokens_seen": sum(self.by_language.values()), **own}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint's trainer state keeps."""
        return {"args": {}, "attributes": {"by_language": dict(sorted(self.by_language.items()))}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Go on from the counts of the checkpoint, or from none."""
        callbacks: Mapping[str, Any] = state.stateful_callbacks or {}
        kept = callbacks.get(_NAME) if state.global_step else None
        self.by_language = {} if kept is None else dict(kept["attributes"]["by_language"])
        # A checkpoint of another trainer has none, and the Trainer looks its callbacks up by name when it saves.
        state.stateful_callbacks = {**callbacks, _NAME: self.state()}

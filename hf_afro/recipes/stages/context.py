"""`StageContext`: all that the work of a stage may know."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_afro.files import write_whole
from hf_afro.recipes.progress import Progress
from hf_afro.recipes.recipe import Recipe, Stage

HISTORY_FILE = "history.json"
"""The log of a training, in the folder of its stage."""


@dataclass(frozen=True)
class StageContext:
    """What the work of a stage is handed.

    Attributes:
        recipe: The recipe.
        stage: The stage, with its settings.
        folder: Where it writes; may hold what an earlier run that was cut short left of the very same stage.
        root: The folder that the finished stages are in.
        progress: Where it says how far it is.
    """

    recipe: Recipe
    stage: Stage
    folder: Path
    root: Path
    progress: Progress

    @property
    def settings(self) -> Any:
        """The stage's settings."""
        return self.stage.settings

    def input(self, field: str) -> Path:
        """Return the folder of the stage that a setting names."""
        (name,) = self.stage.inputs[field]
        return self.root / name

    def has(self, field: str) -> bool:
        """Tell whether a setting that may be left out names a stage."""
        return field in self.stage.inputs

    def write_json(self, name: str, facts: Any) -> None:
        """Write a JSON file into the stage's folder, whole."""
        write_whole(self.folder / name, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")

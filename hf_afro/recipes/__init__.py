"""Recipes: the whole chain in one YAML file, its schema, and the runner that does only what is not done yet."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_afro.recipes.folders import shipped_recipes
    from hf_afro.recipes.recipe import Recipe, Stage, load_recipe
    from hf_afro.recipes.runner import StageResult, run_recipe
    from hf_afro.recipes.schema import RecipeError

__all__ = ["Recipe", "RecipeError", "Stage", "StageResult", "load_recipe", "run_recipe", "shipped_recipes"]

_FILES = {
    "folders": "shipped_recipes",
    "recipe": "Recipe Stage load_recipe",
    "runner": "StageResult run_recipe",
    "schema": "RecipeError",
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for, so that the command line starts fast."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)

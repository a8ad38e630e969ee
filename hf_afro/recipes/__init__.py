"""Recipes: the whole pipeline in one YAML file, and the runner, which skips finished stages."""

from __future__ import annotations

from hf_afro.recipes.recipe import (
    Recipe as Recipe,
    RecipeError as RecipeError,
    Stage as Stage,
    load_recipe as load_recipe,
    shipped_recipes as shipped_recipes,
)
from hf_afro.recipes.runner import StageResult as StageResult, run_recipe as run_recipe

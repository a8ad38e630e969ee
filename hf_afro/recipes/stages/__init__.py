"""The work of each kind of stage, one function a kind, and what such a function is handed."""

from __future__ import annotations

from hf_afro.recipes.stages.context import StageContext

__all__ = ["StageContext"]

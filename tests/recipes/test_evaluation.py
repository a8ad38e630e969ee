"""The stage `evaluate` measures on the tasks that were taken out of the text, and on no others."""

from __future__ import annotations

import dataclasses
import json

import pytest

from hf_afro.recipes import load_recipe, run_recipe
from hf_afro.recipes.progress import Progress
from hf_afro.recipes.stages import StageContext
from hf_afro.recipes.stages.evaluation import run_evaluate


def test_tasks_that_are_others_by_now_are_refused(tmp_path):
    recipe = load_recipe("quickstart")
    (result,) = run_recipe(dataclasses.replace(recipe, stages=recipe.stages[:1]), tmp_path)
    file = result.folder / "tasks.json"
    found = json.loads(file.read_text("utf-8"))
    found[1]["fingerprint"] = "of other examples"
    file.write_text(json.dumps(found), "utf-8")
    context = StageContext(recipe, recipe.stage("evaluate"), tmp_path, tmp_path, Progress(1, "", show=False))
    with pytest.raises(ValueError, match=r"ner in swa is no longer what tasks read; remove .*tasks and run again"):
        run_evaluate(context)

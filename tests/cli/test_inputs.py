"""Inputs that cannot be right are refused before anything heavy is imported, and are never written over."""

from __future__ import annotations

from argparse import Namespace

import pytest

from hf_afro.cli.inputs import check_inputs


def arguments(target, **more) -> Namespace:
    return Namespace(**{"output_dir": str(target), "overwrite": True, **more})


@pytest.mark.parametrize("name", ["model", "teacher", "student_model", "tokenizer", "text", "counts"])
def test_an_input_is_not_replaced_with_overwrite_either(tmp_path, name):
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(ValueError, match=f"would replace what --{name} .* reads; name another folder"):
        check_inputs(arguments(tmp_path / "deep" / ".." / "source", **{name: str(source)}))


@pytest.mark.parametrize("parts", [("out", "counts.npz"), ("out.unfinished", "checkpoint-8")])
def test_an_input_inside_what_is_written_is_not_replaced(tmp_path, parts):
    path = tmp_path.joinpath(*parts)
    path.mkdir(parents=True)
    with pytest.raises(ValueError, match="would replace what --counts"):
        check_inputs(arguments(tmp_path / "out", counts=str(path)))


@pytest.mark.parametrize("name", ["data", "reports", "pruned", "trained"])
def test_what_is_evaluated_and_shown_is_an_input_too(tmp_path, name):
    (tmp_path / "scores" / "student").mkdir(parents=True)
    given = str(tmp_path / "scores" / "student")
    with pytest.raises(ValueError, match="would replace what (REPORT|--data|--pruned|--trained) .* reads"):
        check_inputs(arguments(tmp_path / "scores", **{name: [given] if name in ("reports", "trained") else given}))


def test_names_on_the_hub_and_a_folder_beside_are_let_through(tmp_path):
    (tmp_path / "text").mkdir()
    check_inputs(arguments(tmp_path / "out", model="FacebookAI/xlm-roberta-base", text=str(tmp_path / "text")))
    check_inputs(arguments(tmp_path / "text" / "out", tokenizer="gpt2", text=str(tmp_path / "text"), eval_text=None))

"""Steps: every piece of work from text to a published model, one file each, as commands and as stages of recipes.

A file has the step's settings, `Config`, and its work, ``run(config, folder)``; `running.run_step` makes the folder.
"""

from __future__ import annotations

from importlib import import_module

from hf_afro.steps.step import Step

# Name and summary, so that `hf-afro --help` imports no step; a test compares them with the steps themselves.
SUMMARIES = {
    "prepare": "Clean text, remove evaluation sentences from it, and hold lines out.",
    "count": "Count how often each language uses each token.",
    "prune": "Cut a model's vocabulary to the tokens its languages use.",
    "compare": "Audit a reduced vocabulary, made by whatever tool, against the model it was cut from.",
    "inspect": "Show what a vocabulary holds by script, and what its embedding weighs.",
    "extend": "Add tokens for words or scripts to a model's vocabulary.",
    "maft": "Adapt a masked language model to the languages of your text (MAFT).",
    "distill": "Distil a large encoder into a small student by its self-attention relations.",
    "tasks": "Read the sets a model will be evaluated on, and collect their sentences.",
    "evaluate": "Fine-tune models on tasks and score them, or measure bits per byte of text or bitext retrieval.",
    "report": "Show several models side by side: tables, plots, and one page that opens anywhere.",
    "card": "Write a model card from evaluation reports.",
    "export": "Export a model for other libraries and runtimes.",
    "push": "Publish a folder on the Hugging Face Hub, in one commit or not at all.",
    "base": "Name a pretrained model to start from, at one commit.",
    "pretrain": "Train a small XLM-R from scratch, and its tokenizer if none is given.",
}


def step_named(name: str) -> Step:
    """Return a step by its name."""
    return import_module(f"hf_afro.steps.{name}").STEP

"""The sample that ships: text of our own in 24 languages, and small tasks made from templates.

It was written by machine and not reviewed by speakers. Use it to try the tools, never to judge a model.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from hf_afro.sample.tasks import DEFAULT_SIZES, TASKS, task_languages, write_tasks

__all__ = ["DEFAULT_SIZES", "SAMPLE", "TASKS", "task_languages", "text_folder", "write_tasks"]

SAMPLE = "sample"
"""Stands for the sample where a folder of text or of tasks is expected; ``./sample`` is a folder of that name."""


def text_folder() -> Path:
    """Return the folder of the sample's text: ``<iso>.txt``, UTF-8, one sentence per line.

    It holds the 20 languages of AfroXLMR, and Russian, Chinese, Hindi and Korean, whose scripts pruning drops. The
    folder belongs to the installed package: read it only. `hf_afro.corpora.read_corpora` opens it.

    Example:
        >>> (text_folder() / "swa.txt").is_file()
        True
    """
    return Path(str(files("hf_afro.sample").joinpath("text")))

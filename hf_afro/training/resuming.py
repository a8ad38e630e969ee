"""Details of a resumed run: the figures before training are the first ones, and tied weights are not missing."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from accelerate.utils import broadcast_object_list

from hf_afro.files import write_whole
from hf_afro.log_filters import filtered_log

if TYPE_CHECKING:
    from torch import nn
    from transformers import Trainer

BEFORE_FILE = "before.json"
"""The figures before training, in the folder of an unfinished run."""

_MISSING = "There were missing keys in the checkpoint model loaded: "


def evaluate_before(trainer: Trainer, folder: Path) -> dict[str, float]:
    """Evaluate before training, once for a run and all that resume it.

    Args:
        trainer: With an `eval_dataset`; its model has not been trained.
        folder: Keeps the figures in `BEFORE_FILE`, which whoever ends the run removes.
    """
    path, is_main = folder / BEFORE_FILE, trainer.is_world_process_zero()
    # The main process looks, for all: they evaluate together or not at all.
    found = [json.loads(path.read_text("utf-8")) if is_main and path.is_file() else None]
    if trainer.args.world_size > 1:
        broadcast_object_list(found)
    if found[0] is not None:
        return found[0]
    figures = trainer.evaluate()
    if is_main:
        write_whole(path, json.dumps(figures, indent=1) + "\n")
    return figures


@contextmanager
def tied_keys_not_missing(model: nn.Module) -> Iterator[None]:
    """Keep the Trainer from warning of missing keys whose weights it has loaded under another name.

    A head tied to the embedding is saved once. `Trainer` compares names, so without this every run that goes on warns
    of `lm_head.decoder.weight`. Where a single key is really missing the whole warning stays.

    Args:
        model: What the checkpoint is loaded into.
    """

    def is_wanted(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if not text.startswith(_MISSING):
            return True
        missing = set(re.findall(r"'([^']+)'", text))
        own = dict(model.named_parameters(remove_duplicate=False))
        present = {id(weights) for name, weights in own.items() if name not in missing}
        return any(name not in own or id(own[name]) not in present for name in missing)

    with filtered_log("transformers.trainer", is_wanted):
        yield

"""Weights that a checkpoint leaves out because they are tied to others are not reported as missing."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hf_afro.log_filters import filtered_log

if TYPE_CHECKING:
    from torch import nn

_MISSING = "There were missing keys in the checkpoint model loaded: "


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

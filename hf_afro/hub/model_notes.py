"""Notes for whoever publishes a model: a card of another model, and code that the model needs beside it."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open

from hf_afro.files import read_limited

_LONGEST_CONFIG = 16 << 20  # bytes
_STUDENT, _CODE = "afro-student", "modeling_afro_student.py"
# The first row of the table of sizes is the card's own model; it is written by hf_afro.reports.tables.
_SIZE = re.compile(r"^### Size\n\n\| model \| parameters \|.*\n\|.*\n\| .*? \| ([\d,]+|[\d,]+\.\d M) \|", re.M)
# Tensors that a checkpoint may hold and a model that was loaded from it may lack, or hold once.
_OPTIONAL = ("pooler.", "decoder.weight", "decoder.bias")


def model_notes(root: Path, card: str | None) -> Iterator[str]:
    """Yield what somebody who publishes a model should know of it.

    Args:
        root: The folder of the model; one of an adapter has nothing to tell.
        card: The text of its card, if there is one.
    """
    if not (root / "config.json").is_file():
        return
    config = json.loads(read_limited(root / "config.json", _LONGEST_CONFIG))
    is_student = isinstance(config, dict) and config.get("model_type") == _STUDENT
    if is_student and not ("auto_map" in config and (root / _CODE).is_file()):
        yield (
            f"an {_STUDENT} loads only where hf_afro is installed and imported; `hf-afro export {root.name} --to "
            "remote-code` puts its code beside it for all others"
        )
    said = _SIZE.search(card or "")
    if said is None:
        return
    counts = parameter_counts(root)
    if not any(_agrees(said[1], count) for count in counts):
        yield (
            f"the card's model has {said[1]} parameters and the weights here have {max(counts):,}: the card is of "
            "another model; evaluate this one and write its own with `hf-afro card`"
        )


def parameter_counts(root: Path) -> set[int]:
    """Return how many parameters a folder's weights are, by the headers of its files alone.

    There are several answers where a checkpoint holds a pooler, or a tied output embedding a second time, which the
    model that is loaded from it may lack.

    Args:
        root: A folder with weights in safetensors.
    """
    whole = root / "model.safetensors"
    total, optional = 0, dict.fromkeys(_OPTIONAL, 0)
    for path in [whole] if whole.is_file() else sorted(root.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118, it is no dictionary
                tensor = file.get_slice(name)
                if not tensor.get_dtype().startswith(("F", "BF")):
                    continue  # a buffer, such as the numbers of positions
                size = math.prod(tensor.get_shape())
                total += size
                for part in _OPTIONAL:
                    optional[part] += size if part in name else 0
    sizes = list(optional.values())
    return {
        total - sum(left_out) for number in range(len(sizes) + 1) for left_out in itertools.combinations(sizes, number)
    }


def _agrees(said: str, count: int) -> bool:
    """Tell whether a number of parameters is what a table says, in millions with one decimal from a million up."""
    if said.endswith(" M"):
        return abs(float(said.removesuffix(" M").replace(",", "")) * 1e6 - count) <= 0.05e6
    return int(said.replace(",", "")) == count

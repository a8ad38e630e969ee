"""The masked-LM head at chosen positions only, through the model's own forward.

Of 8 x 128 tokens 15 % are masked, yet the stock head makes logits for all of them: at 250,002 tokens of vocabulary,
1 GB of numbers nobody reads. A hook on the encoder hands the head the hidden states of the chosen positions alone.
Since it acts inside the wrapped model's forward, DDP and autocast see an ordinary step.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hf_afro.families import FAMILIES, encoder_of

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


class MaskedOnlyHead:
    """Makes a masked language model's head run at chosen positions only, while `at` is in force.

    A model of a family that is not in the table keeps its full head; the log says so once, and `select` then takes
    the chosen positions from the full logits, so that callers need not know.

    Args:
        model: A `...ForMaskedLM` model, PEFT around it or not.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._positions: torch.Tensor | None = None
        self.is_lean = model.config.model_type in FAMILIES
        if self.is_lean:
            # One hook for the life of the model: hooks added after a first compiled call would not fire.
            self._hook = encoder_of(model).register_forward_hook(self._keep_chosen)
        else:
            logger.warning(
                "model_type %r is not in the table of families: logits are made for every position, and memory and "
                "time of the head are those of the stock model.",
                model.config.model_type,
            )

    def remove(self) -> None:
        """Take the hook off the model, which is then as it was before."""
        if self.is_lean:
            self._hook.remove()

    @contextmanager
    def at(self, positions: torch.Tensor) -> Iterator[None]:
        """Within, the head sees the hidden states at `positions` alone.

        Args:
            positions: ``[chosen]``, int64, indices into the flattened ``[batch x length]``.
        """
        self._positions = positions
        try:
            yield
        finally:
            self._positions = None

    def select(self, logits: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the logits of the chosen positions, ``[chosen, vocabulary]``, from a forward made inside `at`."""
        logits = logits.flatten(0, -2)
        return logits if self.is_lean else logits.index_select(0, positions)

    def _keep_chosen(self, _encoder: nn.Module, _inputs: Any, output: Any) -> Any:
        if self._positions is None:
            return output
        hidden = output[0].flatten(0, 1).index_select(0, self._positions).unsqueeze(0)  # [1, chosen, hidden]
        if isinstance(output, tuple):
            return (hidden, *output[1:])
        output.last_hidden_state = hidden
        return output

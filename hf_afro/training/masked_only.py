"""The masked-LM head at chosen positions only, through the model's own forward.

Of 8 x 128 tokens 15 % are masked, yet the stock head makes logits for all of them: at 250,002 tokens of vocabulary,
1 GB of numbers nobody reads. A hook on the encoder hands the head the hidden states of the chosen positions alone, and
where labels are given another one puts the summed loss in the place of the logits, which then are never whole. Since
both act inside the wrapped model's forward, DDP, FSDP and autocast see an ordinary step.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from hf_afro.families import FAMILIES, encoder_of
from hf_afro.losses import masked_lm_loss, projected_masked_lm_loss

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


class MaskedOnlyHead:
    """Makes a masked language model's head run at chosen positions only, while `at` is in force.

    A model of a family that is not in the table keeps its full head; the log says so once, and `select` and
    `summed_loss` then take the chosen positions from the full logits, so that callers need not know.

    Args:
        model: A `...ForMaskedLM` model, PEFT around it or not.

    Attributes:
        is_lean: Whether the head runs at the chosen positions only.
        is_projected: Whether, given labels, the loss is taken without logits: where the output embedding is a plain
            linear layer. It is not in DeBERTa's newer head, nor where PEFT wraps it.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._positions: torch.Tensor | None = None
        self._labels: torch.Tensor | None = None
        self._hidden: torch.Tensor | None = None
        self.is_lean = model.config.model_type in FAMILIES
        decoder = model.get_output_embeddings()
        rows = model.get_input_embeddings().weight.shape[0]
        self.is_projected = self.is_lean and type(decoder) is nn.Linear and decoder.out_features == rows
        # Hooks for the life of the model: those added after a first compiled call would not fire.
        self._hooks = []
        if self.is_lean:
            self._hooks.append(encoder_of(model).register_forward_hook(self._keep_chosen))
        else:
            logger.warning(
                "model_type %r is not in the table of families: logits are made for every position, and memory and "
                "time of the head are those of the stock model.",
                model.config.model_type,
            )
        if self.is_projected:
            self._hooks.append(decoder.register_forward_pre_hook(self._take_hidden))
            self._hooks.append(decoder.register_forward_hook(self._give_loss))

    def remove(self) -> None:
        """Take the hooks off the model, which is then as it was before."""
        for hook in self._hooks:
            hook.remove()

    @contextmanager
    def at(self, positions: torch.Tensor, labels: torch.Tensor | None = None) -> Iterator[None]:
        """Within, the head sees the hidden states at `positions` alone.

        Args:
            positions: ``[chosen]``, int64, indices into the flattened ``[batch x length]``.
            labels: ``[chosen]``, the ids that were masked there: then `summed_loss`, and not `select`, says what the
                forward's logits are.
        """
        self._positions, self._labels = positions, labels
        try:
            yield
        finally:
            self._positions = self._labels = self._hidden = None

    def select(self, logits: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the logits of the chosen positions, ``[chosen, vocabulary]``, from a forward made inside `at`."""
        logits = logits.flatten(0, -2)
        return logits if self.is_lean else logits.index_select(0, positions)

    def summed_loss(self, logits: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the summed cross-entropy, in nats, from the logits of a forward made inside `at` with labels."""
        return logits.sum() if self.is_projected else masked_lm_loss(self.select(logits, positions), labels)

    def _keep_chosen(self, _encoder: nn.Module, _inputs: Any, output: Any) -> Any:
        if self._positions is None:
            return output
        hidden = output[0].flatten(0, 1).index_select(0, self._positions).unsqueeze(0)  # [1, chosen, hidden]
        if isinstance(output, tuple):
            return (hidden, *output[1:])
        output.last_hidden_state = hidden
        return output

    def _take_hidden(self, _decoder: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._labels is None:
            return None
        (self._hidden,) = inputs
        return (self._hidden[:, :0].detach(),)  # the layer has nothing to do: its loss is taken below

    def _give_loss(self, decoder: nn.Linear, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        if self._labels is None:
            return output
        assert self._hidden is not None
        total = projected_masked_lm_loss(self._hidden.flatten(0, 1), decoder.weight, decoder.bias, self._labels)
        return total.reshape(1, 1, 1)  # where the model's output has its logits

"""Embedding-only warm-up: in the first steps only the rows of the vocabulary learn, the layers stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments


class EmbeddingWarmup(TrainerCallback):
    """Takes the gradients of everything but the vocabulary's tensors away for a number of steps.

    New rows are far from what the layers know, and their large gradients would first pull the layers away from the
    languages they have learnt. Gradients are taken away just before the optimizer's step, not the parameters out of
    the graph: so DDP and the counts of a step see nothing of it, and a resumed run is the same. An optimizer's state
    of the other parameters, its counts of steps too, begins when they do.

    Args:
        model: The model that is trained; its input and output embeddings with their biases learn from the start.
        steps: For how many optimizer steps.

    Raises:
        ValueError: If nothing of the vocabulary is trained at all, as under most adapters.
    """

    def __init__(self, model: PreTrainedModel, steps: int) -> None:
        self.steps = steps
        own = {id(parameter) for parameter in vocabulary_parameters(model) if parameter.requires_grad}
        if not own:
            raise ValueError(
                f"embedding_warmup_steps={steps}, and no embedding of {type(model).__name__} is trained; leave it at "
                "0 with adapters"
            )
        # Their names, since FSDP puts other parameters in the place of these.
        self._others = {name for name, one in model.named_parameters() if one.requires_grad and id(one) not in own}

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        **parts: Any,
    ) -> None:
        """Leave the optimizer nothing to do for the other parameters; without a gradient it passes them over."""
        if state.global_step < self.steps:
            assert model is not None  # the Trainer's own, not wrapped: names are those of the beginning
            for name, parameter in model.named_parameters():
                if name in self._others:
                    parameter.grad = None


def vocabulary_parameters(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """Return the parameters with one row a token: the word embedding, and the output embedding with its bias."""
    rows = model.get_input_embeddings().weight.shape[0]
    found = []
    for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
        found += [parameter for parameter in embedding.parameters() if parameter.shape[0] == rows]
    return found

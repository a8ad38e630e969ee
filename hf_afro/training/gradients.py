"""Drop the gradients of some parameters for the first steps: of all but the embeddings, or of the embeddings alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments


class DropGradients(TrainerCallback):
    """Keeps some parameters as they are for the first steps, by dropping their gradients.

    Gradients are dropped just before the optimizer's step, and the parameters stay in the graph: so DDP and the counts
    of a step are unaffected, and a resumed run is the same. The optimizer skips parameters without a gradient, so
    their state, its step counts too, starts when they do.

    Args:
        names: Names of the parameters in the model; not the parameters themselves, since FSDP replaces them.
        steps: Number of optimizer steps.
    """

    def __init__(self, names: Iterable[str], steps: int) -> None:
        self.names, self.steps = frozenset(names), steps

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        **parts: Any,
    ) -> None:
        """Drop the gradients."""
        if state.global_step < self.steps:
            assert model is not None  # the Trainer's own, not wrapped: names are those of the beginning
            for name, parameter in model.named_parameters():
                if name in self.names:
                    parameter.grad = None


def warm_up_embeddings(model: PreTrainedModel, steps: int) -> DropGradients:
    """Train the vocabulary's tensors alone for the first steps.

    New rows are far from what the layers know, and their large gradients would first pull the layers away from the
    languages they have learnt.

    Args:
        model: The model; its input and output embeddings with their biases learn from the start.
        steps: Number of optimizer steps.

    Raises:
        ValueError: If no embedding is trained at all, as under most adapters.
    """
    own = _vocabulary_names(model)
    if not own:
        raise ValueError(
            f"embedding_warmup_steps={steps}, but no embedding of {type(model).__name__} is trained; leave it at "
            "0 with adapters"
        )
    return DropGradients({name for name, one in model.named_parameters() if one.requires_grad} - own, steps)


def freeze_embeddings(model: PreTrainedModel, steps: int) -> DropGradients:
    """Train everything but the vocabulary's tensors for the first steps, the reverse of `warm_up_embeddings`.

    A student's embeddings are made from the teacher's and are good from the start, while its layers are not.

    Args:
        model: The model; its input and output embeddings with their biases wait.
        steps: Number of optimizer steps.
    """
    return DropGradients(_vocabulary_names(model), steps)


def vocabulary_parameters(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """Return the parameters with one row per token: the word embedding, and an output embedding with its bias."""
    rows = model.get_input_embeddings().weight.shape[0]
    found = []
    for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
        if embedding is not None:
            found += [parameter for parameter in embedding.parameters() if parameter.shape[0] == rows]
    return found


def _vocabulary_names(model: PreTrainedModel) -> set[str]:
    """Return the names of the vocabulary's parameters that are trained."""
    own = {id(parameter) for parameter in vocabulary_parameters(model)}
    return {name for name, one in model.named_parameters() if one.requires_grad and id(one) in own}

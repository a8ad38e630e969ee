"""A model as one file of ONNX: torch's own exporter, and ONNX Runtime's quantisation to int8."""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

_INPUTS = ("input_ids", "attention_mask")
_TYPES = "token_type_ids"
STATES, LOGITS = "last_hidden_state", "logits"
_HEADS = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
# Protocol buffers end at two gigabytes; the graph itself takes a few hundred kilobytes.
_LARGEST = (1 << 31) - (16 << 20)


class _FirstOutput(nn.Module):
    """A model as a function of ids, mask and, where it has them, token types, with one tensor coming out."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        types = {} if token_type_ids is None else {_TYPES: token_type_ids}
        return self.model(input_ids=input_ids, attention_mask=attention_mask, **types, return_dict=True)[0]


def inputs_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the inputs of a model's graph: ids, mask, and token types where they make a difference.

    They do where the model has more than one type and its tokenizer says which token is of which, as BERT's does for
    the second text of a pair. Without them in the graph every token would be of the first type.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
    """
    has_types = getattr(model.config, "type_vocab_size", 2) > 1  # a family without the field, as XLNet, has two
    takes_types = _TYPES in inspect.signature(model.forward).parameters
    return (*_INPUTS, _TYPES) if has_types and takes_types and _TYPES in tokenizer("a", "b") else _INPUTS


def output_of(model: PreTrainedModel) -> str:
    """Return what the output of a model is called: `logits`, or `last_hidden_state` where it has no head.

    Raises:
        ValueError: If it has another head than those that are exported, or adapters.
    """
    name = type(model).__name__
    if getattr(model, "peft_config", None):
        raise ValueError("the model carries adapters; merge them first with merge_and_unload()")
    if name.endswith(_HEADS):
        return LOGITS
    if "For" in name or "LMHead" in name or model.config.is_encoder_decoder:
        raise ValueError(
            f"{name} is not exported to ONNX; expected an encoder without a head, or one that ends with "
            f"{', '.join(_HEADS)}"
        )
    return STATES


def check_onnx_installed() -> None:
    """Refuse to begin where the packages of the extra `onnx` are missing.

    Raises:
        ModuleNotFoundError: If so; the message names them.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(f"ONNX needs {', '.join(missing)}; pip install 'hf_afro[onnx]'")


def in_single_precision(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model in evaluation mode, in fp32 on the CPU: itself where it is so, else a copy."""
    weight = next(model.parameters())
    as_wanted = weight.dtype == torch.float32 and weight.device.type == "cpu" and not model.training
    return model if as_wanted else copy.deepcopy(model).to(device="cpu", dtype=torch.float32).eval()


def write_graph(model: PreTrainedModel, example: dict[str, torch.Tensor], path: Path) -> None:
    """Write a model as a file of ONNX in fp32, with batch and length left open.

    A student is traced padded, as its class does by itself while it is exported. What the exporter notes of the source
    of each node is taken out: it names files of this machine.

    Args:
        model: In fp32 on the CPU, in evaluation mode; see `in_single_precision`.
        example: The inputs of the graph by name, in the order of `inputs_of`, each ``[2 or more, 2 or more]``: what
            the graph is traced with.
        path: The file.

    Raises:
        ValueError: If the weights are too large for one file, or torch cannot export this model.
    """
    size = sum(weight.numel() * 4 for weight in model.parameters())
    if size > _LARGEST:
        raise ValueError(
            f"the model has {size / 1e9:.2f} GB in fp32, and a file of ONNX ends at {_LARGEST / 1e9:.2f}; prune its "
            "vocabulary, or distil it, first"
        )
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    open_axes = tuple({0: batch, 1: length} for _ in example)
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                _FirstOutput(model).eval(),
                tuple(example.values()),
                dynamo=True,
                input_names=list(example),
                output_names=[output_of(model)],
                dynamic_shapes=open_axes,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().split("\n")[0]
            raise ValueError(f"torch cannot export {type(model).__name__} to ONNX: {reason}") from error
    graph = program.model_proto
    _without_sources(graph)
    path.write_bytes(graph.SerializeToString())


def quantise(source: Path, target: Path) -> None:
    """Write a graph with its weights in int8, the embedding's included, and activations quantised as they come.

    Args:
        source: A file that `write_graph` wrote.
        target: The file to write.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_suffix(".prepared")
    try:
        with _quiet():
            quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
            quantize_dynamic(prepared, target, weight_type=QuantType.QInt8, per_channel=False)
    finally:
        prepared.unlink(missing_ok=True)


def _without_sources(graph: Any) -> None:
    parts = graph.graph
    for part in (graph, parts, *parts.node, *parts.value_info, *parts.input, *parts.output, *parts.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter says of its own making: torchvision that is not there, names of axes, its future."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)

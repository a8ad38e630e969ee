"""Smaller forms of an ONNX graph: fp16, int8 and 4 bits, made by ONNX Runtime's own tools."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np

FORMATS = {
    "fp32": "onnx/model.onnx",
    "fp16": "onnx/model_fp16.onnx",
    "int8": "onnx/model_quantized.onnx",
    "int4": "onnx/model_q4.onnx",
}
"""Where each form of a graph lies in its folder, by the names that Transformers.js knows: fp32, fp16, q8 and q4."""

_LARGEST_INT8 = 127
_BLOCKS = {"MatMul": 16, "Gather": 128}
"""Weights with a common scale in 4 bits, of matrices and of embeddings. Errors of matrices add up over the layers."""


def write_fp16(source: Path, target: Path) -> None:
    """Write a graph that holds and computes everything in half precision; inputs and output keep their types."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def write_int8(source: Path, target: Path) -> None:
    """Write a graph with int8 weights: one scale per row of an embedding, and per column of a matrix.

    Activations are quantised while the graph runs, with one scale for a whole batch.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_suffix(".prepared")
    try:
        quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        quantise_rows(model.graph)
        onnx.save(model, prepared)
        matrices = {"op_types_to_quantize": ["MatMul", "Gemm"], "per_channel": True}
        quantize_dynamic(prepared, target, weight_type=QuantType.QInt8, **matrices)
    finally:
        prepared.unlink(missing_ok=True)


def write_int4(source: Path, target: Path) -> None:
    """Write a graph with weights of 4 bits, in blocks with a scale and a zero point each, and fp32 activations.

    A table that something else than a lookup reads, as the output of a masked-LM head does, has int8 rows instead.
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    model = onnx.load(source)
    quantise_rows(model.graph, only_shared=True)
    tables = _tables(model.graph)
    others = [node.name for node in model.graph.node if node.op_type == "Gather" and node.input[0] not in tables]
    for kind, block in _BLOCKS.items():
        settings = DefaultWeightOnlyQuantConfig(block_size=block, op_types_to_quantize=(kind,))
        quantiser = MatMulNBitsQuantizer(model, algo_config=settings, nodes_to_exclude=others)
        quantiser.process()
        model = quantiser.model.model
    onnx.save(model, target)


def quantise_rows(graph: Any, *, only_shared: bool = False) -> None:
    """Replace the embedding tables of a graph by int8 tables with one scale per row.

    Rows are gathered first and multiplied by their scales afterwards, so no table is ever held in fp32, unless
    something else than a lookup reads it, as the output of a masked-LM head does.

    Args:
        graph: An `onnx.GraphProto`, changed in place. Its tables are the fp32 matrices whose rows a `Gather` looks up.
        only_shared: Only tables that something else than a lookup reads too.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes = [[node] for node in graph.node]
    readers: dict[str, list[int]] = {}
    for place, node in enumerate(graph.node):
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(place)
    for name, table in _tables(graph).items():
        places = readers.get(name, [])
        lookups = [place for place in places if _looks_up_rows(graph.node[place], name)]
        others = [place for place in places if place not in lookups]
        if not lookups or (only_shared and not others):
            continue
        rows, scales = int8_rows(numpy_helper.to_array(table))
        graph.initializer.remove(table)
        graph.initializer.extend(
            [numpy_helper.from_array(rows, f"{name}_int8"), numpy_helper.from_array(scales, f"{name}_row_scales")]
        )
        for place in lookups:
            (output,), ids = graph.node[place].output, graph.node[place].input[1]
            scale = f"{output}_row_scale"
            nodes[place] = [
                helper.make_node("Gather", [f"{name}_int8", ids], [f"{output}_rows_int8"]),
                helper.make_node("Cast", [f"{output}_rows_int8"], [f"{output}_rows"], to=TensorProto.FLOAT),
                helper.make_node("Gather", [f"{name}_row_scales", ids], [scale], name=scale),
                helper.make_node("Unsqueeze", [scale, "last_axis"], [f"{output}_row_scales"]),
                helper.make_node("Mul", [f"{output}_rows", f"{output}_row_scales"], [output]),
            ]
        for place in others[:1]:
            whole = helper.make_node("DequantizeLinear", [f"{name}_int8", f"{name}_row_scales"], [name], axis=0)
            nodes[place] = [whole, graph.node[place]]
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), "last_axis"))
    ordered = [copy.deepcopy(node) for own in nodes for node in own]
    del graph.node[:]
    graph.node.extend(ordered)


def _tables(graph: Any) -> dict[str, Any]:
    """Return the fp32 matrices of a graph by name."""
    from onnx import TensorProto

    return {one.name: one for one in graph.initializer if one.data_type == TensorProto.FLOAT and len(one.dims) == 2}


def _looks_up_rows(node: Any, table: str) -> bool:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    return node.op_type == "Gather" and node.input[0] == table and axis == 0


def int8_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a matrix rounded to int8 by row, ``[rows, width]``, and the scales, fp32 ``[rows]``; zeros stay zeros."""
    largest = np.abs(table).max(axis=1)
    scales = (np.where(largest == 0, 1, largest) / _LARGEST_INT8).astype(np.float32)
    return np.rint(table / scales[:, None]).astype(np.int8), scales

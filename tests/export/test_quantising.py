"""Smaller forms of a graph: which numbers they hold, and what is computed with them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hf_afro.export.quantising import int8_rows, quantise_rows, write_fp16, write_int4, write_int8

onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")

WIDTH = 32
# The second row is a thousandth of the first: one scale for the whole table would round it to zeros.
TABLE = np.random.default_rng(0).uniform(-1, 1, (6, WIDTH)).astype(np.float32) * np.array(
    [[10], [0.01], [1], [3], [0], [2]], dtype=np.float32
)
MATRIX = np.random.default_rng(1).uniform(-1, 1, (WIDTH, WIDTH)).astype(np.float32)
IDS = np.array([[0, 1, 4], [2, 5, 3]])


def graph_of(path: Path, *, shared: bool = False) -> Path:
    """A graph that looks up rows and multiplies them by a matrix, or by the table itself, as a masked-LM head does."""
    helper, types = onnx.helper, onnx.TensorProto
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"], name="lookup")]
    initializers = [onnx.numpy_helper.from_array(TABLE, "table")]
    if shared:
        nodes.append(helper.make_node("Transpose", ["table"], ["matrix"], name="transpose", perm=[1, 0]))
    else:
        initializers.append(onnx.numpy_helper.from_array(MATRIX, "matrix"))
    nodes.append(helper.make_node("MatMul", ["rows", "matrix"], ["found"], name="multiply"))
    given = [helper.make_tensor_value_info("ids", types.INT64, ["batch", "length"])]
    taken = [helper.make_tensor_value_info("found", types.FLOAT, ["batch", "length", None])]
    graph = helper.make_graph(nodes, "graph", given, taken, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def ran(path: Path) -> np.ndarray:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"ids": IDS})[0]


def test_the_largest_of_a_row_is_127_and_zeros_stay_zeros():
    rows, scales = int8_rows(np.array([[1.0, -0.5, 0.25], [0.0, 0.0, 0.0], [-0.0127, 0.0064, 0.0]], dtype=np.float32))
    np.testing.assert_array_equal(rows, [[127, -64, 32], [0, 0, 0], [-127, 64, 0]])
    np.testing.assert_allclose(scales, [1 / 127, 1 / 127, 0.0001], rtol=1e-6)
    assert (rows.dtype, scales.dtype) == (np.int8, np.float32)


def test_each_row_is_off_by_at_most_half_of_its_own_step(tmp_path):
    model = onnx.load(graph_of(tmp_path / "graph.onnx"))
    quantise_rows(model.graph)
    assert {one.name: one.data_type for one in model.graph.initializer}["table_int8"] == onnx.TensorProto.INT8
    assert "table" not in {one.name for one in model.graph.initializer}
    model.graph.output[0].name = "rows"
    onnx.save(model, tmp_path / "rows.onnx")
    steps = np.abs(TABLE).max(1, keepdims=True)[IDS] / 127
    assert (np.abs(ran(tmp_path / "rows.onnx") - TABLE[IDS]) <= steps * 0.501).all()


@pytest.mark.parametrize("write", [write_fp16, write_int8, write_int4])
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_what_is_computed_stays_within_the_rounding(tmp_path, write, shared):
    source = graph_of(tmp_path / "graph.onnx", shared=shared)
    write(source, tmp_path / "small.onnx")
    wanted = ran(source)
    np.testing.assert_allclose(wanted, TABLE[IDS] @ (TABLE.T if shared else MATRIX), rtol=1e-5, atol=1e-5)
    # Half a step of 11, 8 and 4 bits in 32 products, each of two rounded factors.
    bound = {write_fp16: 2**-11, write_int8: 1 / 127, write_int4: 1 / 15}[write]
    # Activations in int8 have one scale for the whole batch.
    largest = np.abs(TABLE[IDS]).max(None if write is write_int8 else -1, keepdims=True) * (10 if shared else 1)
    assert (np.abs(ran(tmp_path / "small.onnx") - wanted) <= largest * bound * np.sqrt(WIDTH) * 2).all()
    assert not list(tmp_path.glob("*.prepared"))


def test_what_each_form_holds(tmp_path):
    kinds = {}
    for shared in (False, True):
        source = graph_of(tmp_path / "graph.onnx", shared=shared)
        for write in (write_fp16, write_int8, write_int4):
            write(source, tmp_path / "small.onnx")
            model = onnx.load(tmp_path / "small.onnx")
            large = [one for one in model.graph.initializer if one.dims and np.prod(one.dims) >= WIDTH * len(TABLE)]
            kinds[write.__name__, shared] = (
                {one.data_type for one in large},
                Counter(node.op_type for node in model.graph.node),
            )
    types = onnx.TensorProto
    assert kinds["write_fp16", False][0] == {types.FLOAT16}
    assert kinds["write_int8", False][0] == kinds["write_int8", True][0] == {types.INT8}
    assert kinds["write_int8", False][1]["MatMulInteger"] == 1
    assert {"GatherBlockQuantized", "MatMulNBits"} <= set(kinds["write_int4", False][1])
    assert types.FLOAT not in kinds["write_int4", False][0]
    # A head reads the whole table, which a lookup of 4 bits cannot give it.
    assert kinds["write_int4", True][0] == {types.INT8}
    assert kinds["write_int4", True][1]["DequantizeLinear"] == 1


def test_only_shared_tables_are_replaced_where_asked(tmp_path):
    for shared in (False, True):
        model = onnx.load(graph_of(tmp_path / "graph.onnx", shared=shared))
        quantise_rows(model.graph, only_shared=True)
        assert ("table_int8" in {one.name for one in model.graph.initializer}) == shared

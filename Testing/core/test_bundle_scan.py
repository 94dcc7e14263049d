"""The ONNX scan sees what the onnx package sees, and refuses what could do more than compute."""

import numpy as np
import onnx
import pytest
import tiny_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fedkdtavi_core.bundle import onnx_scan


def _model(nodes, opset=17, domain="", initializers=(), **more):
    port = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [port("image", 1, None)], [port("out", 1, None)], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)], ir_version=8, **more)


def _refusal(model):
    return onnx_scan.refusal(onnx_scan.scan(model.SerializeToString()))


def _external(name="w"):
    tensor = helper.make_tensor(name, TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def test_it_agrees_with_the_onnx_package():
    model = tiny_bundle.student_model()
    found = onnx_scan.scan(model.SerializeToString())
    assert found.ir_version == model.ir_version
    assert found.opsets == {o.domain: o.version for o in model.opset_import}
    assert found.operators == {(n.domain, n.op_type) for n in model.graph.node}
    assert found.inputs == ["image"] and found.outputs == [o.name for o in model.graph.output]
    assert onnx_scan.refusal(found) is None


def test_every_allowed_operator_exists():
    known = {s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}
    assert known >= onnx_scan.OPERATORS
    assert not {"Loop", "Scan", "RandomNormal", "Optional", "SequenceMap"} & onnx_scan.OPERATORS


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (_model([helper.make_node("Loop", ["image"], ["out"])]), "unknown operator Loop"),
        (_model([helper.make_node("Relu", ["image"], ["out"], domain="com.evil")]), "com.evil.Relu"),
        (_model([helper.make_node("Relu", ["image"], ["out"])], domain="com.evil"), "unknown domain 'com.evil'"),
        (_model([helper.make_node("Relu", ["image"], ["out"])], opset=9), "opset 9, known are 13 to 21"),
        (_model([helper.make_node("Relu", ["image"], ["out"])], opset=22), "opset 22"),
        (_model([helper.make_node("Relu", ["image"], ["out"])], initializers=[_external()]), "another file (w)"),
        (_model([helper.make_node("Constant", [], ["out"], value=_external("k"))]), "another file (k)"),
    ],
)
def test_what_is_refused(model, words):
    assert words in _refusal(model)


def test_a_newer_file_format_is_refused():
    model = _model([helper.make_node("Relu", ["image"], ["out"])])
    model.ir_version = 99
    assert "IR version 99" in _refusal(model)


def test_own_functions_and_training_graphs_are_refused():
    body = [helper.make_node("Relu", ["x"], ["y"])]
    function = helper.make_function("local", "Mine", ["x"], ["y"], body, [helper.make_opsetid("", 17)])
    model = _model([helper.make_node("Relu", ["image"], ["out"])], functions=[function])
    assert "operators of its own (Mine)" in _refusal(model)
    model = _model([helper.make_node("Relu", ["image"], ["out"])])
    model.training_info.add()
    assert "training graphs" in _refusal(model)


def test_subgraphs_are_searched():
    port = helper.make_tensor_value_info("b", 1, None)
    inner = helper.make_graph([helper.make_node("Loop", [], ["b"])], "inner", [], [port], [_external("deep")])
    outer = helper.make_graph(
        [helper.make_node("If", ["c"], ["b"], then_branch=inner, else_branch=inner)], "outer", [], [port]
    )
    model = _model([helper.make_node("If", ["image"], ["out"], then_branch=outer, else_branch=outer)])
    found = onnx_scan.scan(model.SerializeToString())
    assert ("", "Loop") in found.operators and found.external[0] == "deep"
    assert found.inputs == ["image"] and found.outputs == ["out"]


def test_sparse_initializers_are_searched():
    model = _model([helper.make_node("Relu", ["image"], ["out"])])
    model.graph.sparse_initializer.add().values.CopyFrom(_external("sparse"))
    assert "another file (sparse)" in _refusal(model)


def test_endless_nesting_is_refused():
    port = helper.make_tensor_value_info("b", 1, None)
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["b"])], "g", [], [port])
    for _ in range(20):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["b"], then_branch=graph)], "g", [], [port])
    with pytest.raises(onnx_scan.ScanError, match="nested"):
        onnx_scan.scan(helper.make_model(graph).SerializeToString())


def test_two_graphs_in_one_file_are_refused():
    content = tiny_bundle.coarse_model().SerializeToString()
    with pytest.raises(onnx_scan.ScanError, match="several graphs"):
        onnx_scan.scan(content + content)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00", b"PK\x03\x04" + bytes(50), b"\x0f\x80" * 9])
def test_other_bytes_are_no_model(content):
    with pytest.raises(onnx_scan.ScanError):
        onnx_scan.scan(content)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_give_a_scan_or_a_scan_error(data):
    content = bytearray(tiny_bundle.coarse_model().SerializeToString())
    kept = data.draw(st.integers(0, len(content)))
    del content[kept:]
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = onnx_scan.scan(bytes(content))
    except onnx_scan.ScanError:
        return
    assert isinstance(found, onnx_scan.Scan)


def test_a_large_initializer_is_skipped_not_copied():
    weights = helper.make_tensor("w", 1, [1000, 1000], np.zeros((1000, 1000), np.float32).tobytes(), raw=True)
    model = _model([helper.make_node("Relu", ["image"], ["out"])], initializers=[weights])
    assert onnx_scan.refusal(onnx_scan.scan(model.SerializeToString())) is None

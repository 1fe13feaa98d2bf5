"""The .elstm file: round trips, exact bytes, and one test for every way a file can be bad."""

import hashlib
import json
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm.builder import GraphBuilder
from edgelstm.errors import FormatError
from edgelstm.format import from_bytes, read, to_bytes, write
from edgelstm.graph import Graph, Probe

DIGITS = slice(41, 105)


def tiny_graph() -> Graph:
    """y = x + 1, one element."""
    builder = GraphBuilder()
    x = builder.input("x", "float32", ("B", 1), batch=0)
    builder.output("y", builder.add("add", x, builder.constant(np.ones(1, np.float32), "one"), name="sum"))
    return builder.build(notes=["tiny"])


def rich_graph() -> Graph:
    """Every feature of the format: all dtypes, activations with constants, infinities, absent inputs, states, a probe."""
    builder, rng = GraphBuilder(), np.random.default_rng(3)
    x = builder.input("größe", "float32", ("B", "T", 3), batch=0, time=1)
    h0 = builder.input("h0", "float32", ("B", 4), batch=0)
    W = builder.constant(rng.standard_normal((3, 12)), "W")
    R = builder.constant(rng.standard_normal((4, 12)), "probe/0/input/h0")
    y, h = builder.add_many("gru", x, W, R, None, None, h0, used=2, activation=("hard_sigmoid", 1 / 6, 0.5), name="gru")
    for array in (np.array([True, False]), np.array(7, np.int64), np.arange(3, dtype=np.int32), np.zeros((0, 2), np.uint8)):
        builder.constant(array)
    builder.output("y", builder.add("clip", y, min=-np.inf, max=0.5))
    builder.output("hn", h)
    graph = builder.build(states=[("h0", "hn")], stateful=True, provenance={"source": "a.keras", "lengths": [1, 2.5, None]})
    probe = Probe({"größe": np.ones((2, 5, 3), np.float32), "h0": np.zeros((2, 4), np.float32)},
                  {"y": np.ones((2, 5, 4), np.float32)}, "by hand", 1e-6, 0.0)
    return Graph(graph.inputs, graph.outputs, graph.nodes, graph.constants, graph.states, graph.stateful,
                 graph.provenance, ("a note",), (probe,))


def split(data: bytes) -> tuple[dict, bytes]:
    """Header and tensor bytes of a file."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8:8 + length]), data[8 + length:]


def join(header: dict | bytes, tensors: bytes) -> bytes:
    """A file around any header, with a right checksum where the header has a place for it."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    blob = bytearray(struct.pack("<Q", len(text)) + text + tensors)
    if text.startswith(b'{"__metadata__":{"elstm.sha256":"'):
        blob[DIGITS] = b"0" * 64
        blob[DIGITS] = hashlib.sha256(blob).hexdigest().encode()
    return bytes(blob)


def with_graph(change) -> bytes:
    """The rich graph's file after `change(graph JSON)`, with a right checksum."""
    header, tensors = split(to_bytes(rich_graph()))
    graph = json.loads(header["__metadata__"]["elstm.graph"])
    change(graph)
    header["__metadata__"]["elstm.graph"] = json.dumps(graph)
    return join(header, tensors)


def with_header(change) -> bytes:
    """The tiny graph's file after `change(header)`, with a right checksum."""
    header, tensors = split(to_bytes(tiny_graph()))
    change(header)
    return join(header, tensors)


def entry(header: dict) -> dict:
    return header["constant/one"]


def refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        from_bytes(data, "bad.elstm")
    assert str(caught.value).startswith("bad.elstm: ")


def test_round_trip_keeps_everything():
    graph = rich_graph()
    again = from_bytes(to_bytes(graph))
    assert (again.inputs, again.outputs, again.states, again.notes) == (graph.inputs, graph.outputs, graph.states, graph.notes)
    assert again.stateful and dict(again.provenance) == dict(graph.provenance)
    assert again.nodes == graph.nodes
    assert again.constants.keys() == graph.constants.keys()
    for name, array in graph.constants.items():
        np.testing.assert_array_equal(again.constants[name], array)
        assert again.constants[name].dtype == array.dtype and not again.constants[name].flags.writeable
    assert again.probes[0].outputs["y"].shape == (2, 5, 4) and again.probes[0].atol == 1e-6


def test_the_same_graph_gives_the_same_bytes():
    assert to_bytes(rich_graph()) == to_bytes(rich_graph()) == to_bytes(from_bytes(to_bytes(rich_graph())))


def test_golden_bytes():
    data = to_bytes(tiny_graph())
    header = (
        rb'{"__metadata__":{"elstm.sha256":"' + data[DIGITS] + rb'","elstm.version":"1.1","elstm.graph":"{'
        rb'\"inputs\":[{\"name\":\"x\",\"dtype\":\"float32\",\"shape\":[\"B\",1],\"value\":\"x\",\"batch\":0,\"time\":null}],'
        rb'\"outputs\":[{\"name\":\"y\",\"dtype\":\"float32\",\"shape\":[\"B\",1],\"value\":\"sum\",\"batch\":null,\"time\":null}],'
        rb'\"nodes\":[{\"name\":\"sum\",\"op\":\"add\",\"version\":1,\"inputs\":[\"x\",\"one\"],\"outputs\":[\"sum\"],'
        rb'\"attrs\":{}}],\"states\":[],\"stateful\":false,\"notes\":[\"tiny\"],\"provenance\":{},\"probes\":[]}"},'
        rb'"constant/one":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    )
    header += b" " * (-(8 + len(header)) % 64)
    assert data == struct.pack("<Q", len(header)) + header + b"\x00\x00\x80\x3f"
    assert data[DIGITS] == hashlib.sha256(data[:41] + b"0" * 64 + data[105:]).hexdigest().encode()


def test_is_a_valid_safetensors_file():
    safetensors = pytest.importorskip("safetensors.numpy", reason="the safetensors package is not installed")
    graph = rich_graph()
    tensors = safetensors.load(to_bytes(graph))
    np.testing.assert_array_equal(tensors["constant/W"], graph.constants["W"])
    assert tensors["probe/0/input/größe"].shape == (2, 5, 3)


def test_graph_pickles():
    graph = pickle.loads(pickle.dumps(rich_graph()))
    assert to_bytes(graph) == to_bytes(rich_graph())


def test_write_replaces_whole_and_read_maps(tmp_path):
    path = tmp_path / "model.elstm"
    write(tiny_graph(), path)
    old = read(path)
    write(rich_graph(), path)
    assert to_bytes(old) == to_bytes(tiny_graph()) and to_bytes(read(path)) == to_bytes(rich_graph())
    assert [p.name for p in tmp_path.iterdir()] == ["model.elstm"]
    assert not read(path).constants["W"].flags.owndata


def test_write_into_a_missing_folder(tmp_path):
    with pytest.raises(FormatError, match="nowhere"):
        write(tiny_graph(), tmp_path / "nowhere" / "model.elstm")


def test_write_over_a_folder_leaves_nothing(tmp_path):
    (tmp_path / "model.elstm").mkdir()
    with pytest.raises(FormatError, match="no regular file"):
        write(tiny_graph(), tmp_path / "model.elstm")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_bytes(b"")],
                         ids=["missing", "folder", "empty"])
def test_read_what_is_no_file(tmp_path, make):
    make(tmp_path / "model.elstm")
    with pytest.raises(FormatError, match=r"model\.elstm: "):
        read(tmp_path / "model.elstm")


@pytest.mark.parametrize("provenance", [{"x": np.ones(2)}, {"x": float("nan")}, {"x": "\ud800"}],
                         ids=["array", "nan", "surrogate"])
def test_write_refuses_metadata_that_json_cannot_hold(provenance):
    builder = GraphBuilder()
    builder.output("y", builder.input("x", "float32", (1,)))
    with pytest.raises(FormatError, match="cannot"):
        to_bytes(builder.build(provenance=provenance))


def test_write_refuses_a_probe_of_another_dtype():
    graph = tiny_graph()
    probe = Probe({"x": np.ones((2, 1))}, {}, "by hand")
    with pytest.raises(FormatError, match="probe 0 gives float64"):
        to_bytes(Graph(graph.inputs, graph.outputs, graph.nodes, graph.constants, probes=(probe,)))


RAW = {
    "too_short": (b"\x01\x02", "2 bytes are too few"),
    "empty": (b"", "0 bytes are too few"),
    "huge_header": (struct.pack("<Q", 1 << 40) + b"{}", "header would have"),
    "negative_length": (b"\xff" * 8 + b"{}", "header would have"),
    "beyond_the_file": (struct.pack("<Q", 100) + b"{}", "ends inside its header"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "not an .elstm file"),
    "not_utf8": (join(b'{"\xff":1}', b""), "not UTF-8"),
    "not_json": (join(b"{", b""), "not JSON"),
    "trailing_text": (join(b"{} x", b""), "not JSON"),
    "no_object": (join(b"[1]", b""), "not a JSON object"),
    "twice": (join(b'{"a":1,"a":2}', b""), "stands there twice"),
    "nan": (join(b'{"a":NaN}', b""), "NaN is no JSON number"),
    "infinity": (join(b'{"a":-Infinity}', b""), "no JSON number"),
    "huge_float": (join(b'{"a":1e999}', b""), "too large"),
    "huge_integer": (join(b'{"a":' + b"9" * 5000 + b"}", b""), "not JSON"),
    "surrogate": (join(b'{"a":"\\ud800"}', b""), "not UTF-8"),
    "deep": (join(b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}", b""), "nested too deeply"),
    "no_metadata": (join(b'{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}', b""), "without an EdgeLSTM graph"),
    "foreign_metadata": (join(b'{"__metadata__":{"format":"pt"}}', b""), "without an EdgeLSTM graph"),
}


@pytest.mark.parametrize(("data", "message"), RAW.values(), ids=RAW.keys())
def test_bad_headers(data, message):
    refused(data, message)


def test_unaligned_tensors():
    data = to_bytes(tiny_graph())
    (length,) = struct.unpack("<Q", data[:8])
    refused(struct.pack("<Q", length + 8) + data[8:8 + length] + b" " * 8 + data[8 + length:], "no multiple of 64")


def change(**new):
    return lambda header: entry(header).update(new)


def second(**new):
    return lambda header: header.update({"constant/two": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]} | new})


HEADERS = {
    "newer_major": (lambda h: h["__metadata__"].update({"elstm.version": "2.0"}), "format version 2.0.*Update edgelstm"),
    "strange_version": (lambda h: h["__metadata__"].update({"elstm.version": "one"}), "not two numbers"),
    "version_kind": (lambda h: h["__metadata__"].update({"elstm.version": 1}), "is 1, not a string"),
    "no_graph": (lambda h: h["__metadata__"].pop("elstm.graph"), "lacks 'elstm.graph'"),
    "unknown_metadata": (lambda h: h["__metadata__"].update({"more": "x"}), "does not know"),
    "metadata_later": (lambda h: h.update({"__metadata__": h.pop("__metadata__")}), "another program rewrote"),
    "entry_kind": (lambda h: h.update({"constant/one": 5}), "is 5, not an object"),
    "entry_key": (change(more=1), "does not know"),
    "entry_lacks": (lambda h: entry(h).pop("shape"), "lacks 'shape'"),
    "unknown_dtype": (change(dtype="F16"), "dtype 'F16'"),
    "dtype_kind": (change(dtype=["F32"]), "not a string"),
    "shape_kind": (change(shape="1"), "not an array"),
    "negative_dim": (change(shape=[-1]), "whole number from 0"),
    "boolean_dim": (change(shape=[True]), "whole number from 0"),
    "float_dim": (change(shape=[1.0]), "whole number from 0"),
    "huge_dim": (change(shape=[2**62, 2**62]), "impossible shape"),
    "huge_empty": (change(shape=[2**62, 2**62, 0], data_offsets=[0, 0]), "impossible shape"),
    "many_axes": (change(shape=[1] * 40), "impossible shape"),
    "wrong_bytes": (change(shape=[2]), "has 4 bytes where"),
    "backwards": (change(data_offsets=[4, 0]), "has -4 bytes"),
    "three_offsets": (change(data_offsets=[0, 2, 4]), "3 data_offsets"),
    "beyond": (second(), "ends inside its tensors"),
    "overlap": (second(data_offsets=[2, 6]), "overlaps"),
    "same_bytes": (second(data_offsets=[0, 4]), "overlaps"),
    "hole": (second(data_offsets=[8, 12]), "hole"),
    "unused_bytes": (lambda h: h.pop("constant/one"), "4 bytes follow the last tensor"),
    "unaligned": (lambda h: h.update({"constant/one": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                                      "constant/two": {"dtype": "F32", "shape": [1], "data_offsets": [1, 5]}}), "not aligned"),
    "bad_bool": (lambda h: entry(h).update(dtype="BOOL", shape=[4]), "a byte other than 0 and 1"),
}


@pytest.mark.parametrize(("alter", "message"), HEADERS.values(), ids=HEADERS.keys())
def test_bad_tables(alter, message):
    refused(with_header(alter), message)


def node(**new):
    return lambda graph: graph["nodes"][0].update(new)


def attrs(**new):
    return lambda graph: graph["nodes"][0]["attrs"].update(new)


GRAPHS = {
    "lacks": (lambda g: g.pop("states"), "lacks 'states'"),
    "unknown_key": (lambda g: g.update(extra=1), "does not know"),
    "nodes_kind": (lambda g: g.update(nodes={}), "not an array"),
    "node_kind": (lambda g: g["nodes"].append(None), r"nodes\[2\] is None, not an object"),
    "unknown_op": (node(op="warp"), "unknown op 'warp'"),
    "op_kind": (node(op=["gru"]), "not a string"),
    "op_version": (node(version=9), "version 9 of the op 'gru'"),
    "input_kind": (node(inputs=[5]), "not a string"),
    "unknown_value": (node(inputs=["nothing", "W", "W"]), "reads 'nothing'"),
    "missing_input": (node(inputs=[]), "lacks its input 'x'"),
    "unknown_attr": (attrs(colour="red"), "no attribute 'colour'"),
    "attr_kind": (attrs(clip="3"), "not of kind float"),
    "attr_object": (attrs(clip={"value": 3}), "lacks 'float'"),
    "attr_float": (attrs(clip={"float": "3"}), "is the float '3'"),
    "attr_choice": (attrs(layout="fbt"), "may be one of"),
    "attr_nested": (attrs(activation=["relu", [1], 2]), "array of arrays"),
    "unknown_activation": (attrs(activation="swirl"), "swirl"),
    "activation_kind": (attrs(activation=["relu", 1.0]), "may be a name or"),
    "port_kind": (lambda g: g["inputs"][0].update(shape=[-3]), "whole number"),
    "port_dtype": (lambda g: g["inputs"][0].update(dtype="float16"), "float16"),
    "port_axis": (lambda g: g["inputs"][0].update(time=7), "no axis 7"),
    "output_value": (lambda g: g["outputs"][0].update(value="nothing"), "nothing computes"),
    "same_input": (lambda g: g["inputs"].append(dict(g["inputs"][1], name="h1")), "two values are called 'h0'"),
    "state_pair": (lambda g: g.update(states=[["h0"]]), "1 names"),
    "state_name": (lambda g: g.update(states=[["h0", "nowhere"]]), "state pair"),
    "stateful_kind": (lambda g: g.update(stateful=1), "not true or false"),
    "provenance_kind": (lambda g: g.update(provenance=[]), "not an object"),
    "probe_missing": (lambda g: g["probes"][0]["inputs"].append("more"), "is missing"),
    "probe_tolerance": (lambda g: g["probes"][0].update(atol=-1), "number from 0"),
    "probe_unused": (lambda g: g.update(probes=[]), "belongs to nothing"),
    "probe_port": (lambda g: g["inputs"][0].update(shape=["B", 3], time=None), "the model does not have so"),
}


@pytest.mark.parametrize(("alter", "message"), GRAPHS.values(), ids=GRAPHS.keys())
def test_bad_graphs(alter, message):
    refused(with_graph(alter), message)


def test_bad_checksum():
    data = bytearray(to_bytes(tiny_graph()))
    data[-1] ^= 1
    refused(bytes(data), "checksum does not match")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_is_noticed(data):
    good = to_bytes(rich_graph())
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(bad)))
    for damaged in (bytes(bad), bytes(bad[:cut]), good[:cut], good + bytes(bad[:cut])):
        if damaged != good:
            with pytest.raises(FormatError):
                from_bytes(damaged)


JUNK = st.one_of(st.none(), st.booleans(), st.integers(-2**70, 2**70), st.floats(allow_nan=False, allow_infinity=False),
                 st.text(max_size=3), st.lists(st.integers(-2, 2), max_size=3), st.dictionaries(st.text(max_size=2), st.none()),
                 st.sampled_from([[[]], {"float": "nan"}, ["relu", 1, 2], [[1], 2, 3], "gru", "tanh", "W", "h0"]))


def places(value, path=()):
    """Every path into a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_signed_file_with_a_strange_graph_is_refused_or_read(data):
    def alter(graph):
        *path, last = data.draw(st.sampled_from([path for path in places(graph) if path]))
        for key in path:
            graph = graph[key]
        if data.draw(st.booleans()):
            graph[last] = data.draw(JUNK)
        else:
            del graph[last]

    try:
        again = from_bytes(with_graph(alter))
    except FormatError:
        return
    assert to_bytes(from_bytes(to_bytes(again))) == to_bytes(again)

"""Models built for WebAssembly give the probe's outputs in Node and in a browser, whole and step by step."""

import os
import re
import stat
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import edgelstm
from edgelstm import reference
from edgelstm.axes import mark
from edgelstm.format import write
from edgelstm.precision.apply import apply
from edgelstm.precision.choose import layers
from edgelstm.precision.integer import integer
from edgelstm.probe import with_probes
from tests.built import GRAPHS, cell, stack, starting_state, without_probes
from tests.conftest import Layers
from tests.cross import frames
from tests.javascript import JavaScriptError, build, chromium, node, tool

ENGINES = {"node": node, "chromium": chromium}
SOME = ("lstm", "gru", "stack")

# A whole run, then single steps of two streams side by side, the second of which is one step late.
EVERYTHING = """
const model = await load();
const names = model.outputs.map((port) => port.name);
const byName = (found) => names.length === 1 ? { [names[0]]: found } : found;
const size = (port) => port.shape.reduce((product, n) => product * n, 1);
const frame = (t) => Object.fromEntries(model.inputs.map((port) =>
  [port.name, port.time ? given[port.name].slice(t * size(port), (t + 1) * size(port)) : given[port.name]]));
const timed = model.inputs.find((port) => port.time);
const steps = timed ? given[timed.name].length / size(timed) : 1;
const streams = [model.stream(), model.stream()];
const found = [[], []];
for (let t = 0; t <= steps; t++) {
  if (t < steps) found[0].push(byName(streams[0].step(frame(t))));
  if (t > 0) found[1].push(byName(streams[1].step(frame(t - 1))));
}
return { whole: byName(model.predict(given)), found };
"""


def run(graph, folder, inputs, engine=node):
    """Outputs as frames, by name, after the check that single steps of two streams gave the same bits."""
    program = build(graph, folder)
    given = {name: array.reshape(-1) for name, array in frames(program, inputs).items()}
    found = engine(folder, program.prefix, EVERYTHING, given)
    outputs = {}
    for port in program.outputs:
        whole = found["whole"][port.name]
        for single in found["found"]:
            steps = [step[port.name] for step in single]
            np.testing.assert_array_equal(np.concatenate(steps) if port.time is not None else steps[-1], whole)
        outputs[port.name] = whole.reshape(port.shape if port.time is None else (-1, *port.shape))
    return program, outputs


@pytest.mark.parametrize(("engine", "name"), [*(("node", name) for name in GRAPHS if name != "explicit_state"),
                                              *(("chromium", name) for name in SOME)])
def test_a_model_gives_the_outputs_of_its_probes(tmp_path, engine, name):
    graph = GRAPHS[name]()
    for number, probe in enumerate(graph.probes):
        program, found = run(graph, tmp_path / f"{name}{number}", probe.inputs, ENGINES[engine])
        for key, expected in frames(program, probe.outputs).items():
            np.testing.assert_allclose(found[key], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "precision"), [("gru", "bfloat16"), ("stack", "int8"), ("lstm", "int8"), ("gru", "int4")])
def test_a_model_of_reduced_precision_gives_what_it_gives_here(tmp_path, name, precision):
    graph = GRAPHS[name]()
    graph = apply(graph, {layer.name: precision for layer in layers(graph)})
    inputs = graph.probes[0].inputs
    program, found = run(graph, tmp_path / name, inputs)
    for key, expected in frames(program, edgelstm.load(graph).run(inputs)).items():
        np.testing.assert_allclose(found[key], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "engine"), [("lstm", "node"), ("gru", "node"), ("last", "node"), ("lstm", "chromium")])
@pytest.mark.parametrize("integer_ports", [False, True])
def test_a_model_in_integers_gives_the_bits_of_its_reference(tmp_path, rng, name, engine, integer_ports):
    graph = GRAPHS[name]()
    features = graph.inputs[0].shape[-1]
    graph = integer(graph, rng.standard_normal((2, 40, features)).astype(np.float32), integer_ports=integer_ports)
    x = rng.standard_normal((1, 40, features)) * (50 if integer_ports else 1)
    x = {"x": x.astype(graph.inputs[0].dtype)}
    program, found = run(graph, tmp_path / name, x, ENGINES[engine])
    for key, expected in frames(program, reference.run(graph, x)).items():
        np.testing.assert_array_equal(found[key], expected.astype(found[key].dtype))


@pytest.mark.parametrize("units", [1, 3, 17, 33])
@pytest.mark.parametrize(("op", "gates"), [("lstm", 4), ("gru", 3)])
def test_odd_sizes(tmp_path, op, gates, units):
    graph = cell(op, features=units, units=units, gates=gates)
    program, found = run(graph, tmp_path / "m", graph.probes[1].inputs)
    np.testing.assert_allclose(found["y"], frames(program, graph.probes[1].outputs)["y"], atol=1e-5, rtol=0)


def test_nan_and_infinity_pass_through(tmp_path):
    graph = cell("lstm", features=2, units=5)
    x = np.array([[[1, -1], [np.inf, 3], [1e30, -1e30], [np.nan, 0], [0, 0]]], np.float32)
    _, found = run(graph, tmp_path / "m", {"x": x})
    np.testing.assert_allclose(found["y"][:3, 0], reference.run(graph, {"x": x})["y"][0, :3], atol=1e-5, rtol=0)
    assert np.isnan(found["y"][3:]).all()


def test_states_start_at_what_the_model_says_and_reset_goes_back(tmp_path):
    graph, x = starting_state(), np.linspace(-1, 1, 12, dtype=np.float32)
    build(graph, tmp_path / "m")
    found = node(tmp_path / "m", "m", """
        const stream = (await load()).stream();
        const first = stream.run(given), second = stream.run(given);
        stream.reset();
        return [first, second, stream.run(given)];""", x)
    expected = reference.run(graph, {"x": x.reshape(1, 4, 3)})["y"].reshape(-1)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    np.testing.assert_array_equal(found[2], found[0])
    assert np.abs(found[1] - found[0]).max() > 1e-3


def test_a_state_moves_to_another_stream_and_survives_JSON(tmp_path, rng):
    build(stack(), tmp_path / "m")
    a, b, c = node(tmp_path / "m", "m", """
        const model = await load(), one = model.stream(), other = model.stream();
        one.run(given[0]);
        const kept = one.state;
        const first = one.run(given[1]);
        other.step(given[1].slice(0, 5));
        const plain = Object.entries(kept).map(([name, values]) => [name, [...values]]);
        other.restore(JSON.parse(JSON.stringify(Object.fromEntries(plain))));
        const second = other.run(given[1]);
        one.restore(kept);
        return [first, second, one.run(given[1])];""", list(rng.standard_normal((2, 20)).astype(np.float32)))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a, c)


def test_explicit_states_are_carried_and_can_be_set(tmp_path):
    graph = GRAPHS["explicit_state"]()
    build(graph, tmp_path / "m")
    row = {name: array[:1] for name, array in graph.probes[0].inputs.items()}
    y, h = node(tmp_path / "m", "m", """
        const stream = (await load()).stream();
        stream.restore({ h: given.h });
        return [stream.step(given.x), stream.state.h];""", {name: array.reshape(-1) for name, array in row.items()})
    expected = reference.run(graph, row)
    found = dict(zip(expected, (y, h), strict=True))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array.reshape(-1), atol=1e-5, err_msg=name)


def test_memory_grows_with_the_streams_and_closed_ones_leave_room(tmp_path):
    build(cell("lstm", features=1, units=33), tmp_path / "m")
    assert node(tmp_path / "m", "m", """
        const model = await load(), early = model.stream();
        const first = early.step([0.5]);
        const many = Array.from({ length: 1000 }, () => model.stream());
        const second = early.step([0.5]);
        const late = many.map((stream) => stream.step([0.5]));
        const fresh = model.stream();
        fresh.step([0.5]);
        let steady = model.stream();
        for (let i = 0; i < 1000; i++) { steady.step([1]); steady.close(); steady = model.stream(); }
        return late.every((found) => found.every((value, i) => value === first[i]))
          && fresh.step([0.5]).every((value, i) => value === second[i])
          && steady.step([0.5]).every((value, i) => value === first[i]);""")


@pytest.mark.parametrize("steps", [0, 1, 5000, 5001])
def test_a_run_of_any_length(tmp_path, steps, rng):
    """5000 steps are more than one native call takes."""
    graph, x = cell("lstm", features=3, units=8), rng.standard_normal(3 * steps).astype(np.float32)
    build(graph, tmp_path / "m")
    found = node(tmp_path / "m", "m", """
        const model = await load(), stream = model.stream(), steps = given.length / 3;
        const whole = model.predict(given);
        for (let t = 0; t < steps; t++) {
          const single = stream.step(given.subarray(3 * t, 3 * t + 3));
          if (single.some((value, i) => value !== whole[8 * t + i])) throw new Error(`step ${t}`);
        }
        return whole;""", x)
    np.testing.assert_allclose(found, reference.run(graph, {"x": x.reshape(1, -1, 3)})["y"].reshape(-1), atol=2e-6)


def test_an_output_of_the_last_step_needs_a_step(tmp_path):
    build(stack(), tmp_path / "m")
    with pytest.raises(JavaScriptError, match="RangeError: m: the output 'y' is that of the last time step"):
        node(tmp_path / "m", "m", "return (await load()).predict([]);")


def test_rows_of_a_batch(tmp_path, rng):
    graph, x = cell("gru", features=3, units=5, gates=3), rng.standard_normal((3, 4, 3)).astype(np.float32)
    build(graph, tmp_path / "m", batch=3)
    found = node(tmp_path / "m", "m", "return (await load()).predict(given);", np.moveaxis(x, 1, 0).reshape(-1))
    np.testing.assert_allclose(found.reshape(4, 3, 5), np.moveaxis(reference.run(graph, {"x": x})["y"], 1, 0), atol=2e-6)


def test_weights_in_a_file_of_their_own(tmp_path):
    graph = stack()
    build(graph, tmp_path / "m", weights="blob", self_test=True)
    subprocess.run([tool("node", "nodejs"), tmp_path / "m" / "self_test.js"], check=True)
    with pytest.raises(JavaScriptError, match=r"the weights have 10 bytes, expected the \d+ of m.weights"):
        node(tmp_path / "m", "m", "await load(undefined, { weights: new Uint8Array(10) });")


def whole_numbers():
    """int64 and bool inputs: numbers of an embedding, and which of them count."""
    net = Layers()
    tokens = net.builder.input("tokens", "int64", ("batch", "time"), batch=0, time=1)
    counts = net.builder.input("counts", "bool", ("batch", "time"), batch=0, time=1)
    x = net.builder.add("embedding", tokens, net.weights(7, 3))
    x = net.builder.add("mul", x, net.builder.add("unsqueeze", net.builder.add("cast", counts, to="float32"), axes=[2]))
    return with_probes(net.graph(y=net.recurrent("gru", x, 5, gates=3)))


def test_int64_and_bool_take_numbers_that_fit(tmp_path):
    graph = whole_numbers()
    build(graph, tmp_path / "m")
    body = """
        const model = await load(), { tokens, counts } = given;
        const forms = [[BigInt64Array.from(tokens, BigInt), counts], [tokens, Uint8Array.from(counts, Number)],
                       [tokens.map(BigInt), counts.map(Number)], [Int32Array.from(tokens), counts]];
        return forms.map(([tokens, counts]) => model.predict({ tokens, counts }));"""
    found = node(tmp_path / "m", "m", body, {"tokens": [1, 6, 0], "counts": [True, False, True]})
    given = {"tokens": np.array([[1, 6, 0]]), "counts": np.array([[True, False, True]])}
    for array in found:
        np.testing.assert_allclose(array, reference.run(graph, given)["y"].reshape(-1), atol=2e-6)
    wrong = (("[1.5]", "[1]", "'tokens' [0] is 1.5, which is no int64"), ("[1]", "[2]", "is 2, which is no bool"),
             ("[2n ** 63n]", "[1]", "which is no int64"), ("['1']", "[1]", "is 1, expected a number"))
    for tokens, counts, words in wrong:
        with pytest.raises(JavaScriptError, match=re.escape(words)):
            node(tmp_path / "m", "m", f"(await load()).stream().step({{ tokens: {tokens}, counts: {counts} }});")


@pytest.mark.parametrize("name", ["stack", "explicit_state", "two_in_two_out", "tokens"])
def test_a_self_test_finds_what_is_wrong(tmp_path, name):
    graph = GRAPHS[name]()
    wrong = tuple(replace(probe, outputs={key: array + np.float32(1e-3) for key, array in probe.outputs.items()})
                  for probe in graph.probes)
    for probes, code, words in ((graph.probes, 0, " 0 misses: ok"), (wrong, 1, "FAILED")):
        folder = tmp_path / f"m{code}"
        build(replace(graph, probes=probes), folder, self_test=True)
        assert not (folder / "main.c").exists()
        done = subprocess.run([tool("node", "nodejs"), "self_test.js"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert words in done.stdout


def test_a_self_test_needs_a_probe(tmp_path):
    with pytest.raises(edgelstm.BuildError, match="probe"):
        build(without_probes(stack()), tmp_path / "m", self_test=True)


def test_builds_are_the_same_bytes_each_time(tmp_path):
    for place in ("a", "b"):
        build(stack(), tmp_path / place / "m", self_test=True)
    for path in (tmp_path / "a" / "m").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "m" / path.name).read_bytes(), path.name


def test_names_that_are_not_ascii_come_through(tmp_path):
    net = Layers()
    x = net.builder.input('größe "1" */', "float32", ("batch", "time", 2))
    graph = mark(net.graph(**{"ключ": net.recurrent("gru", x, 3, gates=3)}))
    build(graph, tmp_path / "m")
    found = node(tmp_path / "m", "m", "const model = await load(); return [model.inputs[0].name, model.outputs[0].name];")
    assert found == ['größe "1" */', "ключ"]


def test_a_missing_linker_is_named_with_its_package(tmp_path, monkeypatch):
    write(stack(), tmp_path / "m.elstm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(edgelstm.DependencyError, match="apt install lld"):
        edgelstm.build(tmp_path / "m.elstm", tmp_path / "out", "wasm32")
    assert not (tmp_path / "out").exists()


def test_a_linker_that_fails_says_why(tmp_path, monkeypatch):
    script = tmp_path / "wasm-ld"
    script.write_text("#!/bin/sh\necho no room on device >&2\nexit 1\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(edgelstm.BuildError, match="no room on device"):
        edgelstm.build(stack(), tmp_path / "out", "wasm32")
    assert not (tmp_path / "out").exists()

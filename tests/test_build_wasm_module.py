"""The ES module of a wasm32 build: where it comes from, what it refuses, and that the folder is a package with types."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from tests.built import GRAPHS, cell
from tests.javascript import JavaScriptError, build, node, served, tool


@pytest.fixture(scope="module")
def lstm_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build") / "m"
    build(cell("lstm", features=3, units=5), folder)
    return folder


@pytest.mark.parametrize(("call", "words"), [
    ("step([1, 2])", "RangeError: m: a frame of 'x' has 2 values, expected 3 (float32[1][3])"),
    ("step(new Float32Array(6))", "RangeError: m: a frame of 'x' has 6 values, expected 3"),
    ("step()", "TypeError: m: the model takes 'x', not undefined"),
    ("step(null)", "TypeError: m: the model takes 'x', not null"),
    ("step(3)", "TypeError: m: the model takes 'x', not 3"),
    ("step({ z: [1, 2, 3] })", "TypeError: m: the model takes 'x', not 'z'"),
    ("step({ x: 'abc' })", "TypeError: m: a frame of 'x' is string"),
    ("step(new DataView(new ArrayBuffer(12)))", "TypeError: m: a frame of 'x' is object"),
    ("step([1, undefined, 3])", "TypeError: m: 'x' [1] is undefined, expected a number"),
    ("step([1, '2', 3])", "TypeError: m: 'x' [1] is 2, expected a number"),
    ("step([1, 2, 3], new Float32Array(2))", "RangeError: m: out for 'y' must be a Float32Array of 5"),
    ("step(new Float32Array(3), new Float64Array(5))", "RangeError: m: out for 'y' must be a Float32Array of 5"),
    ("run([1, 2, 3, 4])", "RangeError: m: a block of 'x' has 4 values, expected 3"),
    ("run(5)", "TypeError: m: the model takes 'x', not 5"),
    ("restore({})", "TypeError: m: the stream carries the states 'lstm.h', 'lstm.c', not nothing"),
    ("restore({ 'lstm.h': [1], 'lstm.c': [1, 2, 3, 4, 5] })", "RangeError: m: the state of 'lstm.h' has 1 values, expected 5"),
    ("restore({ 'lstm.h': [1, 2, 3, 4, 5], 'lstm.c': [] })", "RangeError: m: the state of 'lstm.c' has 0 values, expected 5"),
], ids=lambda value: value.partition(":")[0])
def test_what_does_not_fit_is_refused_and_the_state_stays(lstm_folder, call, words):
    found, before, after = node(lstm_folder, "m", f"""
        const stream = (await load()).stream();
        stream.step([1, 2, 3]);
        const before = stream.state;
        try {{ stream.{call}; }} catch (error) {{ return [`${{error.name}}: ${{error.message}}`, before, stream.state]; }}
        return ["nothing was refused", before, stream.state];""")
    assert words in found
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])


def test_out_and_double_precision_are_taken(lstm_folder):
    found, same = node(lstm_folder, "m", """
        const model = await load(), out = new Float32Array(5), frame = new Float64Array([1, 2, 3]);
        const same = model.stream().step(frame, out) === out;
        const again = model.stream().step(Float32Array.from(frame), { y: new Float32Array(5) });
        return [out, same && again.every((value, i) => value === out[i])];""")
    assert same and np.abs(found).max() > 0


@pytest.mark.parametrize("use", ["step([1, 2, 3])", "run([1, 2, 3])", "reset()", "state", "restore({})"])
def test_a_closed_stream_refuses_everything(lstm_folder, use):
    with pytest.raises(JavaScriptError, match="Error: m: this stream is closed"):
        node(lstm_folder, "m", f"const stream = (await load()).stream(); stream.close(); stream.close(); stream.{use};")


def test_several_inputs_go_by_name(tmp_path):
    build(GRAPHS["two_in_two_out"](), tmp_path / "m")
    for given in ("[1, 2, 3]", "{ x: [1, 2, 3] }", "{ x: [1, 2, 3], s: [1], t: [1] }"):
        with pytest.raises(JavaScriptError, match="'x', 's'"):
            node(tmp_path / "m", "m", f"(await load()).stream().step({given});")
    with pytest.raises(JavaScriptError, match=r"a block of 's' has 1 values, expected 2 \(float32\[1\]\[1\], 2 frames\)"):
        node(tmp_path / "m", "m", "(await load()).predict({ x: [1, 2, 3, 4, 5, 6], s: [1] });")


@pytest.mark.parametrize("source", [
    "undefined", "'PLACE/m.wasm'", "new URL('./m.wasm', import.meta.url)", "new URL('./m.wasm', import.meta.url).href",
    "(await import('node:fs')).readFileSync('PLACE/m.wasm')", "(await import('node:fs/promises')).readFile('PLACE/m.wasm')",
    "new Uint8Array((await import('node:fs')).readFileSync('PLACE/m.wasm')).buffer",
    "'ADDRESS/m.wasm'", "new URL('ADDRESS/m.wasm')", "fetch('ADDRESS/m.wasm')",
    "WebAssembly.compile((await import('node:fs')).readFileSync('PLACE/m.wasm'))",
])
def test_the_module_may_come_from_anywhere(lstm_folder, source):
    with served(lstm_folder) as address:
        source = source.replace("PLACE", str(lstm_folder)).replace("ADDRESS", address)
        assert node(lstm_folder, "m", f"return (await load({source})).name;") == "m"


@pytest.mark.parametrize(("source", "words"), [
    ("'ADDRESS/none.wasm'", "404"), ("'PLACE/none.wasm'", "ENOENT"), ("new Uint8Array(7)", "CompileError"), ("7", "Error"),
    ("'PLACE/other.wasm'", "not of the same build"), ("new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])", "none, expected"),
])
def test_what_is_no_module_of_this_build_is_refused(tmp_path, lstm_folder, source, words):
    build(cell("lstm", features=3, units=6), tmp_path / "m")
    shutil.copy(tmp_path / "m" / "m.wasm", lstm_folder / "other.wasm")
    with served(lstm_folder) as address, pytest.raises(JavaScriptError, match=words):
        node(lstm_folder, "m", f"await load({source.replace('PLACE', str(lstm_folder)).replace('ADDRESS', address)});")


def test_the_module_imports_nothing_and_exports_the_C_functions(lstm_folder):
    imports, exports = node(lstm_folder, "m", """
        const { readFile } = await import("node:fs/promises");
        const module = await WebAssembly.compile(await readFile(new URL("./m.wasm", import.meta.url)));
        return [WebAssembly.Module.imports(module), WebAssembly.Module.exports(module).map(({ name }) => name)];""")
    assert imports == []
    assert sorted(exports) == ["__heap_base", "m_init", "m_reset", "m_run", "m_step", "memory"]


def test_the_folder_is_a_package_with_types(tmp_path, lstm_folder):
    shutil.copytree(lstm_folder, tmp_path / "node_modules" / "m")
    (tmp_path / "app.mjs").write_text('import { load, Model, Stream } from "m"; const model = await load();\n'
                                      "const names = (of) => Object.getOwnPropertyNames(of.prototype);\n"
                                      "const found = [names(Model), names(Stream), model.inputs, model.states[1]];\n"
                                      "console.log(JSON.stringify(found))")
    done = subprocess.run([tool("node", "nodejs"), "app.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True)
    of_model, of_stream, inputs, state = json.loads(done.stdout)
    assert inputs == [{"name": "x", "dtype": "float32", "shape": [1, 3], "time": True}]
    assert state == {"name": "lstm.c", "dtype": "float32", "shape": [1, 5]}
    declared = (lstm_folder / "m.d.ts").read_text()
    for name, members in (("Model", of_model), ("Stream", of_stream)):
        body = re.search(rf"export class {name} {{(.*?)\n}}", declared, re.DOTALL)[1]
        assert sorted(members) == sorted(re.findall(r"^  (?:private |readonly )?(\w+)\b(?=[(:])", body, re.MULTILINE)), name


def test_the_readme_has_the_calls_and_the_size(lstm_folder):
    text = (lstm_folder / "README.md").read_text()
    assert "stream.step(frame)" in text and f"{(lstm_folder / 'm.wasm').stat().st_size:,} bytes" in text
    assert all(f"`{path.name}`" in text for path in lstm_folder.glob("m.*"))

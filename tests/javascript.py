"""JavaScript around a model built for wasm32, run in Node and in Chromium; arrays go in and out as bytes."""

import base64
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgelstm
from edgelstm.aot.plan import StepProgram, step_program
from edgelstm.aot.targets import find
from edgelstm.graph import Graph

_TYPES = {"Float32Array": "<f4", "Int8Array": "<i1", "Int16Array": "<i2", "Int32Array": "<i4", "BigInt64Array": "<i8",
          "Uint8Array": "<u1"}
_NAMES = {np.dtype(code): name for name, code in _TYPES.items()} | {np.dtype(bool): "Uint8Array"}
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
          "--disable-component-update", "--disable-sync", "--virtual-time-budget=30000")

# The body sees `load`, `given` and what it awaits; what it returns, or the error it ends with, is the result.
_MODULE = """\
import { load } from "./@NAME@.js";

const KINDS = { Float32Array, Int8Array, Int16Array, Int32Array, BigInt64Array, Uint8Array };
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function decoded(value) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(decoded);
  if (value.kind in KINDS) return new KINDS[value.kind](bytes(value.data).buffer);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, decoded(inner)]));
}

function encoded(value) {
  if (ArrayBuffer.isView(value)) {
    const octets = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return { kind: value.constructor.name, data: btoa(Array.from(octets, (octet) => String.fromCharCode(octet)).join("")) };
  }
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(encoded);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, encoded(inner)]));
}

async function body(given) {
@BODY@
}

let result;
try {
  result = { value: encoded(await body(decoded(@GIVEN@))) };
} catch (error) {
  result = { error: `${error.name}: ${error.message}` };
}
const text = "result:" + btoa(unescape(encodeURIComponent(JSON.stringify(result)))) + ".";
if (typeof document === "undefined") console.log(text);
else document.body.textContent = text;
"""


class JavaScriptError(Exception):
    """An error that a script ended with: its name and message."""


def build(graph: Graph, folder: Path, **options: Any) -> StepProgram:
    """A model built for wasm32 into a folder; what of it a step computes."""
    tool("wasm-ld", "lld")
    edgelstm.build(graph, folder, "wasm32", **options)
    return step_program(graph, folder.name, find("wasm32").machine.lanes, options.get("batch", 1))


def node(folder: Path, name: str, body: str, given: Any = None) -> Any:
    """What the body of an async function over the model of a folder gives in Node. Raises JavaScriptError."""
    script = folder / "test.mjs"
    script.write_text(_module(name, body, given))
    done = subprocess.run([tool("node", "nodejs"), script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return _result(done.stdout)


def chromium(folder: Path, name: str, body: str, given: Any = None) -> Any:
    """The same on a page in Chromium without a window."""
    (folder / "test.mjs").write_text(_module(name, body, given))
    (folder / "test.html").write_text('<!doctype html><body><script type="module" src="test.mjs"></script></body>')
    with served(folder) as address:
        return _result(page(f"{address}/test.html", folder))


def page(address: str, folder: Path) -> str:
    """The HTML that Chromium has made of a page when all its scripts have run; its profile lies in the folder."""
    command = [tool("chromium", "chromium"), *_FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address under which the files of a folder can be fetched."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


def tool(name: str, package: str) -> str:
    """The path of a program; skips where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (apt install {package})")
    return found


def _module(name: str, body: str, given: Any) -> str:
    text = _MODULE.replace("@NAME@", name).replace("@GIVEN@", json.dumps(_encoded(given)))
    return text.replace("@BODY@", body)


def _result(printed: str) -> Any:
    found = re.search(r"result:([A-Za-z0-9+/=]+)\.", printed)
    assert found, f"the script gave no result: {printed[-2000:]}"
    result = json.loads(base64.b64decode(found[1]))
    if "error" in result:
        raise JavaScriptError(result["error"])
    return _decoded(result.get("value"))


def _encoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"kind": _NAMES[value.dtype], "data": base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()}
    if isinstance(value, dict):
        return {key: _encoded(inner) for key, inner in value.items()}
    return [_encoded(inner) for inner in value] if isinstance(value, list | tuple) else value


def _decoded(value: Any) -> Any:
    if isinstance(value, dict) and value.get("kind") in _TYPES:
        return np.frombuffer(base64.b64decode(value["data"]), _TYPES[value["kind"]])
    if isinstance(value, dict):
        return {key: _decoded(inner) for key, inner in value.items()}
    return [_decoded(inner) for inner in value] if isinstance(value, list) else value

"""Random LSTM, GRU and RNN nodes, run natively and compared with ONNX Runtime.

`EDGELSTM_EXAMPLES=5000 pytest tests/test_onnx_property.py` tries more of them.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from onnx import helper

import edgelstm
from tests.onnx_models import make, runtime_outputs

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
OUTPUTS = {"LSTM": ("Y", "Y_h", "Y_c"), "GRU": ("Y", "Y_h"), "RNN": ("Y", "Y_h")}
# Activation -> how many parameters it takes. ONNX Runtime has its own default for ThresholdedRelu, so all are written out.
PARAMETERS = {
    "Sigmoid": 0,
    "Tanh": 0,
    "Relu": 0,
    "Softsign": 0,
    "Softplus": 0,
    "LeakyRelu": 1,
    "ThresholdedRelu": 1,
    "Elu": 1,
    "HardSigmoid": 2,
    "ScaledTanh": 2,
    "Affine": 2,
}
LARGEST = 30.0  # cells with unbounded activations that grow beyond this amplify rounding, too
EXAMPLES = int(os.environ.get("EDGELSTM_EXAMPLES", "100"))


@dataclass(frozen=True)
class Cell:
    """One drawn node: `attrs` without layout, sizes, and which of its optional inputs and outputs there are."""

    op: str
    attrs: dict[str, Any]
    batch: int
    steps: int
    n_in: int
    units: int
    layout: int
    bias: bool
    lengths: tuple[int, ...] | None
    states: tuple[str, ...]
    peephole: bool
    used: tuple[str, ...]
    dynamic: bool
    seed: int

    @property
    def directions(self) -> int:
        return 2 if self.attrs["direction"] == "bidirectional" else 1


@st.composite
def activations(draw: st.DrawFn, count: int) -> dict[str, Any]:
    """The attributes that name `count` activations and give their parameters."""
    names = draw(st.lists(st.sampled_from(list(PARAMETERS)), min_size=count, max_size=count))
    numbers = st.floats(0.125, 1.0, width=32)
    alpha = [draw(numbers) for name in names if PARAMETERS[name] >= 1]
    beta = [draw(numbers) for name in names if PARAMETERS[name] == 2]
    lists = {"activation_alpha": alpha, "activation_beta": beta}
    return {"activations": names, **{key: values for key, values in lists.items() if values}}


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    """Any node that the specification allows."""
    op = draw(st.sampled_from(list(GATES)))
    direction = draw(st.sampled_from(("forward", "reverse", "bidirectional")))
    batch, steps = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    n_in, units = draw(st.integers(1, 19)), draw(st.integers(1, 35))
    attrs: dict[str, Any] = {"direction": direction, "hidden_size": units}
    if draw(st.booleans()):
        attrs |= draw(activations(FUNCTIONS[op] * (2 if direction == "bidirectional" else 1)))
    if draw(st.booleans()):
        attrs["clip"] = draw(st.floats(0.25, 4.0, width=32))
    if op == "LSTM":
        attrs["input_forget"] = draw(st.integers(0, 1))
    if op == "GRU":
        attrs["linear_before_reset"] = draw(st.integers(0, 1))
    names = ("h0", "c0") if op == "LSTM" else ("h0",)
    return Cell(
        op,
        attrs,
        batch,
        steps,
        n_in,
        units,
        layout=draw(st.integers(0, 1)),
        bias=draw(st.booleans()),
        lengths=draw(st.none() | st.tuples(*[st.integers(1, steps)] * batch)),
        states=draw(st.sampled_from((names, names[:1], names[1:], ()))),
        peephole=op == "LSTM" and draw(st.booleans()),
        used=tuple(draw(st.lists(st.sampled_from(OUTPUTS[op]), min_size=1, unique=True))),
        dynamic=draw(st.booleans()),
        seed=draw(st.integers(0, 2**31)),
    )


def parameters(cell: Cell, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """W, R, and B and P where the node has them."""
    n, rows, units = cell.directions, GATES[cell.op] * cell.units, cell.units
    shapes = {"W": (n, rows, cell.n_in), "R": (n, rows, units)}
    shapes |= {"B": (n, 2 * rows)} if cell.bias else {}
    shapes |= {"P": (n, 3 * units)} if cell.peephole else {}
    return {name: (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32) for name, shape in shapes.items()}


def inputs(cell: Cell, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """X, lengths and initial states with the batch on the second axis (layout 0)."""
    feed = {"X": rng.standard_normal((cell.steps, cell.batch, cell.n_in)).astype(np.float32)}
    for name in cell.states:
        feed[name] = rng.uniform(-1, 1, (cell.directions, cell.batch, cell.units)).astype(np.float32)
    if cell.lengths is not None:
        feed["lengths"] = np.array(cell.lengths, np.int32)
    return feed


def batch_first(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs or outputs of layout 0 as those of layout 1, whose Y is (B, T, directions, H)."""
    perms = {"Y": (2, 0, 1, 3)}
    return {
        name: array if array.ndim == 1 else np.ascontiguousarray(array.transpose(perms.get(name, (1, 0, 2))))
        for name, array in arrays.items()
    }


def model(cell: Cell, layout: int, constants: dict[str, np.ndarray], feed: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A model of the node alone."""
    present = {**constants, **feed}
    order = ("X", "W", "R", "B", "lengths", "h0", "c0", "P")[: 8 if cell.op == "LSTM" else 6]
    names = [name if name in present else "" for name in order]
    attrs = cell.attrs | ({"layout": 1} if layout else {})
    outputs = [name if name in cell.used else "" for name in OUTPUTS[cell.op]]
    node = helper.make_node(cell.op, names, outputs, name="cell", **attrs)
    ports = {name: (array.dtype.type, _shape(cell, name, array, layout)) for name, array in feed.items()}
    shown = [name for name in outputs if name]
    return make([node], ports, shown, constants, opset=14)


def _shape(cell: Cell, name: str, array: np.ndarray, layout: int) -> tuple[int | str, ...]:
    if not cell.dynamic:
        return array.shape
    if array.ndim == 1:
        return ("B",)
    outer: tuple[int | str, int | str] = ("T" if name == "X" else cell.directions, "B")
    return (*(outer[::-1] if layout else outer), array.shape[2])


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(cells())
def test_recurrent_node(cell):
    rng = np.random.default_rng(cell.seed)
    constants, feed = parameters(cell, rng), inputs(cell, rng)
    expected = runtime_outputs(model(cell, 0, constants, feed), feed)
    assume(all(np.abs(array).max() < LARGEST for array in expected.values()))
    if cell.layout:
        expected, feed = batch_first(expected), batch_first(feed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model(cell, cell.layout, constants, feed), path)
        found = edgelstm.load(edgelstm.convert(path, probe=False)).run(feed)
    for name, array in expected.items():
        note(f"{name}: largest difference {np.abs(found[name] - array).max()}")
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=2e-5, err_msg=name)

"""One run of a recurrent kernel, with sentinels around every buffer, and the equations in float64 that it must obey."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edgelstm import kernels
from edgelstm.kernels import formats, panels
from edgelstm.native import host_forms, link, run_table
from edgelstm.native.block import block
from edgelstm.ops.stored import Stored
from edgelstm.program import packing

FORMS = {target.name: target for target in host_forms()}
GUARD = 64
TOLERANCE = 2e-6
GATES = {"lstm": 4, "gru": 3, "gru_before": 3, "simple_rnn": 1}
WORK = {"lstm": 3, "gru": 2, "gru_before": 4, "simple_rnn": 2}


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def softplus(x):
    return np.logaddexp(0, x)


ACTIVATIONS = {
    "linear": lambda x, a, b: x,
    "relu": lambda x, a, b: np.maximum(x, 0),
    "tanh": lambda x, a, b: np.tanh(x),
    "sigmoid": lambda x, a, b: sigmoid(x),
    "hard_sigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "softsign": lambda x, a, b: x / (1 + abs(x)),
    "softplus": lambda x, a, b: softplus(x),
    "elu": lambda x, a, b: np.where(x > 0, x, a * np.expm1(x)),
    "selu": lambda x, a, b: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "gelu": lambda x, a, b: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "gelu_tanh": lambda x, a, b: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x, a, b: x * sigmoid(x),
    "exponential": lambda x, a, b: np.exp(x),
    "leaky_relu": lambda x, a, b: np.where(x < 0, a * x, x),
    "thresholded_relu": lambda x, a, b: np.where(x > a, x, 0),
    "scaled_tanh": lambda x, a, b: a * np.tanh(b * x),
    "affine": lambda x, a, b: a * x + b,
    "relu6": lambda x, a, b: np.clip(x, 0, 6),
    "mish": lambda x, a, b: x * np.tanh(softplus(x)),
    "hard_silu": lambda x, a, b: x * np.clip(x / 6 + 0.5, 0, 1),
    "log_sigmoid": lambda x, a, b: -softplus(-x),
}


@dataclass
class Case:
    """One run. Arrays: projected (T, B, G * H), R (H, G * H), rb (G * H,), h0 and c0 (B, H), mask (B, T), peep (3 * H,)."""

    cell: str
    projected: np.ndarray
    R: np.ndarray
    h0: np.ndarray | None
    c0: np.ndarray | None = None
    rb: np.ndarray | None = None
    mask: np.ndarray | None = None
    reverse: bool = False
    hold: int = 0
    general: dict = field(default_factory=dict)
    f: tuple = ("sigmoid", 0.0, 0.0)
    g: tuple = ("tanh", 0.0, 0.0)
    h: tuple = ("tanh", 0.0, 0.0)
    stored: Stored | None = None  # the weights that R stands for, in another format
    rows: Callable[[np.ndarray], np.ndarray] = lambda h: h  # what products read of the rows of a state
    h_scale: float = 0.0

    @property
    def precision(self):
        return self.stored.precision if self.stored else "float32"

    def packed(self, first, end, gates, lanes):
        """The panels of the gates from `first` to `end`."""
        part = slice(first * self.R.shape[0], end * self.R.shape[0])
        return packing.packed(self.stored.columns(part.start, part.stop) if self.stored else self.R[:, part], gates, lanes)


def step(case, p, h, c):
    """The new h and c of all rows, straight from the equations."""
    clip = case.general.get("clip", 0.0) or np.inf
    f, g = (lambda x, a=a: ACTIVATIONS[a[0]](np.clip(x, -clip, clip), a[1], a[2]) for a in (case.f, case.g))
    units, R = h.shape[1], case.R.astype(np.float64)
    rb = np.zeros(R.shape[1]) if case.rb is None else case.rb.astype(np.float64)
    if case.cell == "simple_rnn":
        return f(p + case.rows(h) @ R), c
    if case.cell == "lstm":
        peep = case.general.get("peep")
        pi, pf, po = np.zeros((3, units)) if peep is None else peep.astype(np.float64).reshape(3, units)
        zi, zf, zg, zo = np.split(p + case.rows(h) @ R, 4, axis=1)
        i = f(zi + pi * c)
        forget = 1 - i if case.general.get("input_forget") else f(zf + pf * c)
        c = forget * c + i * g(zg)
        return f(zo + po * c) * ACTIVATIONS[case.h[0]](c, *case.h[1:]), c
    (pz, pr, pn), (Rz, Rr, Rn), (bz, br, bn) = np.split(p, 3, axis=1), np.split(R, 3, axis=1), np.split(rb, 3)
    z, r = f(pz + case.rows(h) @ Rz + bz), f(pr + case.rows(h) @ Rr + br)
    n = g(pn + case.rows(r * h) @ Rn + bn) if case.cell == "gru_before" else g(pn + r * (case.rows(h) @ Rn + bn))
    return z * h + (1 - z) * n, c


def reference(case, found=None):
    """(y, h, c) in float64. With the outputs `found`, every step starts from those of the last, where they are its states."""
    steps, batch, _ = case.projected.shape
    shape = (batch, case.R.shape[0])
    h, c = (np.zeros(shape) if s is None else s.astype(np.float64) for s in (case.h0, case.c0))
    y, previous = np.zeros((steps, *shape)), h if case.hold == 2 else np.zeros(shape)
    for t in reversed(range(steps)) if case.reverse else range(steps):
        new_h, new_c = step(case, case.projected[t].astype(np.float64), h, c)
        valid = np.ones((batch, 1), bool) if case.mask is None else case.mask[:, t, None] != 0
        h, c = np.where(valid, new_h, h), np.where(valid, new_c, c)
        previous = y[t] = np.where(valid, h, previous if case.hold else 0)
        if found is not None:
            h = np.where(valid, found[t], h)
    return y, h, c


class Memory:
    """Arrays that lie between sentinels."""

    def __init__(self):
        self.whole = []

    def place(self, values):
        if values is None:
            return None
        values = np.asarray(values)
        size = values.size * values.itemsize
        raw = np.full(size + 2 * GUARD, 0xA5, np.uint8)
        self.whole.append(raw)
        array = raw[GUARD : GUARD + size].view(values.dtype)
        array[:] = values.ravel()
        return array

    def intact(self):
        return all((raw[:GUARD] == 0xA5).all() and (raw[-GUARD:] == 0xA5).all() for raw in self.whole)


def run(case, target, *, aliased=False, general=None, with_y=True):
    """(y, h, c) of the kernel, checked for writes outside its buffers."""
    lanes, memory = target.lanes, Memory()
    is_general = bool(case.general) if general is None else general
    name = formats.named(f"{case.cell}_general" if is_general else case.cell, case.precision)
    (steps, batch, _), units, gates = case.projected.shape, case.R.shape[0], GATES[case.cell]
    count, row_words = panels.blocks(units, lanes), packing.row_words(case.precision, units)
    width = count * gates * lanes
    p = panels.pack_panels(case.projected.reshape(-1, gates * units), gates, lanes)
    p = p.reshape(count, steps * batch, gates * lanes).swapaxes(0, 1)
    h0, c0 = memory.place(case.h0), memory.place(case.c0)
    hn = h0 if aliased and h0 is not None else memory.place(np.full((batch, units), 7, np.float32))
    cn = c0 if aliased and c0 is not None else memory.place(np.full((batch, units), 7, np.float32))
    y = memory.place(np.full((steps, batch, units), 7, np.float32))
    arguments = dict(
        p=memory.place(p), h0=h0, y=y if with_y else None, hn=hn, mask=memory.place(case.mask), batch=batch, steps=steps,
        units=units, p_t=batch * width, p_b=width, y_t=batch * units, y_b=units, reverse=int(case.reverse), hold=case.hold,
        h_scale=case.h_scale,
        work=memory.place(np.full(batch * (WORK[case.cell] * count * lanes + row_words), np.nan, np.float32)),
    )  # fmt: skip
    if case.cell == "lstm":
        arguments |= {"c0": c0, "cn": cn}
    if case.cell.startswith("gru"):
        arguments["rb"] = None if case.rb is None else memory.place(panels.pack_gates(case.rb, 3, lanes))
    if case.cell == "gru_before":
        arguments["r_zr"] = memory.place(case.packed(0, 2, 2, lanes))
        arguments["r_n"] = memory.place(case.packed(2, 3, 1, lanes))
    else:
        arguments["r"] = memory.place(case.packed(0, gates, gates, lanes))
    if is_general:
        arguments |= general_arguments(case, memory)
    words = block(name, **arguments)
    run_table(np.array([1, link([name], target)[name], words.ctypes.data], np.int64))
    assert memory.intact(), f"{name} wrote outside its buffers"
    return y.reshape(steps, batch, units), hn.reshape(batch, units), cn.reshape(batch, units)


def general_arguments(case, memory):
    roles = {"lstm": "fgh", "simple_rnn": "f"}.get(case.cell, "fg")
    found = {"clip": case.general.get("clip", 0.0)}
    if case.cell == "lstm":
        found["peep"] = memory.place(case.general.get("peep"))
        found["input_forget"] = int(case.general.get("input_forget", False))
    for role in roles:
        name, alpha, beta = getattr(case, role)
        found |= {f"{role}_code": kernels.ACTIVATIONS[name], f"{role}_alpha": alpha, f"{role}_beta": beta}
    return found


def make(cell, units=5, batch=3, steps=7, seed=0, states=True, masked=False, **options):
    rng, gates = np.random.default_rng(seed), GATES[cell]
    normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    h0, c0 = (normal(batch, units) * 0.5, normal(batch, units)) if states else (None, None)
    case = Case(cell, normal(steps, batch, gates * units), normal(units, gates * units) / math.sqrt(units), h0, c0)
    if cell.startswith("gru"):
        case.rb = normal(gates * units)
    if masked:
        case.mask = (rng.random((batch, steps)) < 0.5).astype(np.uint8)
    if cell == "simple_rnn":
        case.f = case.g
    for key, value in options.items():
        setattr(case, key, value)
    return case


def run_step(case, x, W, b, target, x_scale=0.0):
    """(y, h, c) of the kernel for one step of one row, states in place, checked for writes outside its buffers.

    W is an array, or a Stored matrix in the format of the case.
    """
    lanes, memory, gates, units = target.lanes, Memory(), GATES[case.cell], case.R.shape[0]
    words = sum(packing.row_words(case.precision, n) for n in (x.size, units))
    h, c = memory.place(case.h0[0]), memory.place(case.c0[0])
    y = memory.place(np.full(units, 7, np.float32))
    arguments = {"x": memory.place(x), "w": memory.place(packing.packed(W, gates, lanes)), "h": h, "y": y,
                 "bias": None if b is None else memory.place(panels.pack_gates(b, gates, lanes)),
                 "r": memory.place(case.packed(0, gates, gates, lanes)), "n_in": x.size, "units": units,
                 "work": memory.place(np.full(words + 1, np.nan, np.float32)), "x_scale": x_scale, "h_scale": case.h_scale}
    if case.cell == "lstm":
        arguments["c"] = c
    if case.cell == "gru":
        arguments["rb"] = None if case.rb is None else memory.place(panels.pack_gates(case.rb, 3, lanes))
    name = formats.named(f"{case.cell}_step", case.precision)
    table = block(name, **arguments)
    run_table(np.array([1, link([name], target)[name], table.ctypes.data], np.int64))
    assert memory.intact(), f"{name} wrote outside its buffers"
    return y, h, c

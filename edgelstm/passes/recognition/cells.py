"""The equations of LSTM, GRU and SimpleRNN as forms, and the weights that a value needs to be a step of such a cell.

A value is a step of a cell when the equations, written with those weights, give just its form.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelstm.passes.recognition.cores import LINEAR, Core, factored
from edgelstm.passes.recognition.forms import ZERO, Activation, Algebra, Form, Matrix, Product

_GATES = {"lstm": 4, "simple_rnn": 1}
Columns = tuple[int, int]  # units of the input itself, where the input product was computed before


@dataclass(frozen=True)
class Gate:
    """The weights of one gate: W on the input (or the columns that hold its product), R on the state, the bias."""

    W: Matrix | Columns
    R: Matrix | None
    b: np.ndarray

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for equal weights."""
        W, R = (side.key if isinstance(side, Matrix) else side for side in (self.W, self.R))
        return W, R, self.b.astype(np.float32).tobytes()

    def form(self, algebra: Algebra, x: Form, h: Form) -> Form:
        """x W + h R + b."""
        of_x = algebra.part(x, *self.W) if isinstance(self.W, tuple) else algebra.matmul(x, self.W)
        of_h = ZERO if self.R is None else algebra.matmul(h, self.R)
        return algebra.add(of_x, of_h, algebra.constant(self.b))


@dataclass(frozen=True)
class Cell:
    """A recurrent cell with its weights.

    LSTM: gates i f g o, activations (recurrent, g, output). GRU: gates z r n, activations (recurrent, n); `variant` says how
    the new state is written and whether the reset gate comes "after" or "before" the recurrent product. SimpleRNN: gate h.
    """

    kind: str
    gates: Mapping[str, Gate]
    activations: tuple[Activation, ...]
    variant: str = ""
    reset: str = ""
    recurrent_bias: np.ndarray | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for cells with equal weights."""
        bias = None if self.recurrent_bias is None else self.recurrent_bias.astype(np.float32).tobytes()
        gates = tuple(gate.key for gate in self.gates.values())
        return self.kind, self.activations, self.variant, self.reset, bias, gates

    @property
    def units(self) -> int:
        return next(iter(self.gates.values())).R.array.shape[0]

    def step(self, algebra: Algebra, x: Form, h: Form, c: Form) -> tuple[Form, Form]:
        """The forms of the new h and c (0 for cells without c)."""
        if self.kind == "lstm":
            return self._lstm(algebra, x, h, c)
        if self.kind == "gru":
            return self._gru(algebra, x, h), ZERO
        return _nonlinear(algebra, self.activations[0], self.gates["h"].form(algebra, x, h)), ZERO

    def _lstm(self, algebra: Algebra, x: Form, h: Form, c: Form) -> tuple[Form, Form]:
        i, f, g, o = (
            _nonlinear(algebra, act, self.gates[name].form(algebra, x, h))
            for name, act in zip("ifgo", (*self.activations[:1] * 2, *self.activations[1::-1]), strict=True)
        )
        new = algebra.add(algebra.multiply(f, c), algebra.multiply(i, g))
        return algebra.multiply(o, _nonlinear(algebra, self.activations[2], new)), new

    def _gru(self, algebra: Algebra, x: Form, h: Form) -> Form:
        z, r = (_nonlinear(algebra, self.activations[0], self.gates[name].form(algebra, x, h)) for name in "zr")
        gate = self.gates["n"]
        of_x = Gate(gate.W, None, gate.b).form(algebra, x, h)
        if self.reset == "after":
            of_h = algebra.multiply(r, algebra.add(algebra.matmul(h, gate.R), algebra.constant(self.recurrent_bias)))
        else:
            of_h = algebra.matmul(algebra.multiply(r, h), gate.R)
        n = _nonlinear(algebra, self.activations[1], algebra.add(of_x, of_h))
        if self.variant == "difference":
            return algebra.add(n, algebra.multiply(z, algebra.add(h, algebra.scale(n, -1))))
        keep = algebra.add(algebra.constant(1), algebra.scale(z, -1))
        return algebra.add(algebra.multiply(z, h), algebra.multiply(keep, n))


def extract(algebra: Algebra, core: Core, is_input: Callable[[Product], bool]) -> Cell | None:
    """The cell of a core; `is_input` tells the products that are time steps of a sequence. None when it is no full step."""
    reader = _GateReader(algebra, is_input)
    if core.kind == "gru":
        cell = _gru_cell(reader, core)
    else:
        gates = {name: reader.gate(form) for name, form in core.gates.items()}
        cell = None if None in gates.values() or len(gates) != _GATES[core.kind] else Cell(core.kind, gates, core.activations)
    if cell is None or any(gate.R is None for gate in cell.gates.values()):
        return None
    return cell


def operands(algebra: Algebra, form: Form, matrix: Matrix | Columns | None) -> Form:
    """The sum of what a form multiplies by that matrix, or takes these columns of."""
    found = {}
    for product in form.terms:
        atom = algebra.atoms[product[0]] if len(product) == 1 else None
        if atom is None:
            continue
        if isinstance(matrix, Matrix) and atom.kind == "linear" and atom.data[1].key == matrix.key:
            found[atom.data[0]] = np.ones(())
        elif isinstance(matrix, tuple) and atom.kind == "part" and atom.data[1:] == matrix:
            found[(atom.data[0],)] = np.ones(())
        elif isinstance(matrix, tuple) and atom.kind == "step" and matrix == (0, atom.width):
            found[product] = np.ones(())
    return Form(found)


class _GateReader:
    """Takes gates apart into what belongs to the input and what to the state."""

    def __init__(self, algebra: Algebra, is_input: Callable[[Product], bool]) -> None:
        self.algebra, self._is_input = algebra, is_input

    def gate(self, form: Form) -> Gate | None:
        """x W + h R + b; the state's matrix must be the same for everything that the state is the sum of."""
        of_x: dict[bytes | Columns, Matrix | Columns] = {}
        of_h: dict[bytes, Matrix] = {}
        for product, c in form.terms.items():
            if product == ():
                continue
            found = self._factor(product, c)
            if found is None:
                return None
            operand, matrix = found
            if isinstance(matrix, tuple) or self._is_input(operand):
                of_x[matrix if isinstance(matrix, tuple) else matrix.key] = matrix
            else:
                of_h[matrix.key] = matrix
        if len(of_x) != 1 or len(of_h) > 1:
            return None
        return Gate(next(iter(of_x.values())), next(iter(of_h.values()), None), form.terms.get((), np.zeros(())))

    def _factor(self, product: Product, c: np.ndarray) -> tuple[Product, Matrix | Columns] | None:
        """(operand, matrix or columns) of a term that is linear in the operand."""
        if len(product) != 1 or c.ndim or np.float32(c) != 1:
            return None
        atom = self.algebra.atoms[product[0]]
        if atom.kind == "linear":
            return atom.data
        if atom.kind == "part" and self._is_input((atom.data[0],)):
            return (atom.data[0],), (atom.data[1], atom.data[2])
        return (product, (0, atom.width)) if atom.kind == "step" and self._is_input(product) else None


def _gru_cell(reader: _GateReader, core: Core) -> Cell | None:
    algebra, h = reader.algebra, core.before
    z = reader.gate(core.gates["z"])
    found = _reset(algebra, core.gates["n"], h)
    if z is None or found is None:
        return None
    reset, r_form, of_x, of_h = found
    r, n = reader.gate(r_form), reader.gate(of_x)
    matrices = [atom.data[1] for atom in _linear_atoms(algebra, of_h)]
    if r is None or n is None or n.R is not None or not matrices:
        return None
    gates = {"z": z, "r": r, "n": Gate(n.W, matrices[0], n.b)}
    return Cell("gru", gates, core.activations, core.variant, reset, of_h.terms.get((), np.zeros(())))


def _reset(algebra: Algebra, form: Form, h: Form) -> tuple[str, Form, Form, Form] | None:
    """("after" or "before", the reset gate, what n takes from the input, what it takes from the state)."""
    for product, c in form.terms.items():
        atom = algebra.atoms[product[0]] if len(product) == 1 else None
        rest = Form({p: k for p, k in form.terms.items() if p != product})
        if atom is not None and atom.kind == "product":
            for _, r, of_h in factored(algebra, Form({product: c})):
                if list(_linear_atoms(algebra, of_h)):
                    return "after", r, rest, of_h
        if atom is not None and atom.kind == "linear" and len(atom.data[0]) == 1:
            for _, r, state in factored(algebra, Form({atom.data[0]: np.ones(())})):
                if state.key == h.key:
                    return "before", r, rest, Form({product: c})
    return None


def _linear_atoms(algebra: Algebra, form: Form) -> Iterator:
    for product in form.terms:
        if len(product) == 1 and algebra.atoms[product[0]].kind == "linear":
            yield algebra.atoms[product[0]]


def _nonlinear(algebra: Algebra, activation: Activation, form: Form) -> Form:
    return form if activation == LINEAR else algebra.nonlinear(activation, form)

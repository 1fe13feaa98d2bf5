"""Normal forms of what a cell computes, so that the same formula looks the same however an exporter wrote it.

A form is a sum of products of atoms, each with a coefficient per unit, in the last axis of a value; the batch axis is left out.
An atom is a value that is not looked into, one time step of a sequence, a matrix product, a non-linearity of a form, or a
product of forms. Atoms are numbered by content: equal numbers mean equal formulas.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Product = tuple[int, ...]  # sorted atom numbers; () is the constant 1
Activation = tuple[str, float, float]


@dataclass(frozen=True)
class Matrix:
    """A constant matrix (n_in, n_out) with a key that tells its content."""

    array: np.ndarray
    key: bytes


@dataclass(frozen=True)
class Form:
    """Sum of coefficient times product. A coefficient is a float64 scalar or one number for each unit."""

    terms: Mapping[Product, np.ndarray]

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """Equal for equal forms; coefficients count as equal when their float32 values are."""
        return tuple((product, c.astype(np.float32).tobytes()) for product, c in sorted(self.terms.items(), key=_first))

    @property
    def constant(self) -> np.ndarray | None:
        """The coefficient of a form without atoms (0 for the empty one), else None."""
        return self.terms.get((), np.zeros(())) if set(self.terms) <= {()} else None

    @property
    def atom(self) -> int | None:
        """The number of the atom that this form is, None when it is anything else."""
        if len(self.terms) != 1:
            return None
        ((product, c),) = self.terms.items()
        return product[0] if len(product) == 1 and c.ndim == 0 and np.float32(c) == 1 else None


@dataclass(frozen=True)
class Atom:
    """`kind` and what belongs to it:

    leaf (value name), step (value name, axis, position), part (atom, start, stop), linear (product, Matrix), nonlinear
    (Activation, Form), product (Form), joined (tuple of (Form, width)). `truth` marks a 0 or 1 per sequence, of width 1.
    """

    kind: str
    data: tuple[Any, ...]
    width: int
    truth: bool = False


ZERO = Form({})


class Algebra:
    """Makes forms, and numbers their atoms."""

    def __init__(self) -> None:
        self.atoms: list[Atom] = []
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._cuts: dict[tuple[bytes, int, int], Matrix] = {}

    def constant(self, c: np.ndarray) -> Form:
        """A constant vector or scalar."""
        return _collected([((), np.asarray(c, np.float64))])

    def new(self, kind: str, key: tuple[Any, ...], data: tuple[Any, ...], width: int, truth: bool = False) -> Form:
        """The form that is one atom, the known one when its key is known."""
        number = self._numbers.setdefault((kind, key), len(self.atoms))
        if number == len(self.atoms):
            self.atoms.append(Atom(kind, data, width, truth))
        return Form({(number,): np.ones(())})

    def leaf(self, name: str, width: int, truth: bool = False) -> Form:
        return self.new("leaf", (name,), (name,), width, truth)

    def step(self, name: str, axis: int, position: int, width: int, truth: bool = False) -> Form:
        return self.new("step", (name, axis, position), (name, axis, position), width, truth)

    def nonlinear(self, activation: Activation, form: Form) -> Form:
        """activation(form); a hard sigmoid as min(max(alpha * form + beta, 0), 1), as some exporters write it."""
        name, alpha, beta = activation
        if name == "hard_sigmoid" and (alpha, beta) != (1.0, 0.0):
            form = self.add(self.scale(form, alpha), self.constant(beta))
            activation = ("hard_sigmoid", 1.0, 0.0)
        return self.new("nonlinear", (activation, form.key), (activation, form), self.width(form))

    def add(self, *forms: Form) -> Form:
        return _collected([term for form in forms for term in form.terms.items()])

    def scale(self, form: Form, c: np.ndarray | float) -> Form:
        """c times the form; the factor goes into the matrix of a matrix product."""
        return _collected([self._scaled(product, k * np.asarray(c, np.float64)) for product, k in form.terms.items()])

    def multiply(self, a: Form, b: Form) -> Form:
        """A product. Of two forms with atoms it becomes an atom of its own, so that formulas stay short."""
        for one, other in ((a, b), (b, a)):
            if one.constant is not None:
                return self.scale(other, one.constant)
        terms = [(self._joined(p, q), c * d) for p, c in a.terms.items() for q, d in b.terms.items()]
        product = _collected(terms)
        return self.new("product", product.key, (product,), max(self.width(a), self.width(b)))

    def choose(self, truth: Form, a: Form, b: Form) -> Form:
        """a where truth is 1, b where it is 0."""
        if a.key == b.key:
            return a
        return self.add(self.multiply(truth, a), self.multiply(self.add(self.constant(1), self.scale(truth, -1)), b))

    def matmul(self, form: Form, matrix: Matrix) -> Form:
        """form @ matrix."""
        n = matrix.array.shape[0]
        parts = []
        for product, c in form.terms.items():
            scaled = matrix if c.ndim == 0 else self.matrix(matrix.array * c[:, None])
            if product == ():
                parts.append(self.constant(np.broadcast_to(c, (n,)) @ matrix.array))
            elif len(product) == 1 and self.atoms[product[0]].kind == "joined":
                parts.append(self.scale(self._matmul_joined(self.atoms[product[0]], scaled), c if c.ndim == 0 else 1))
            else:
                one = self.new("linear", (product, scaled.key), (product, scaled), matrix.array.shape[1])
                parts.append(self.scale(one, c if c.ndim == 0 else 1))
        return self.add(*parts)

    def join(self, forms: Sequence[Form], widths: Sequence[int]) -> Form:
        """Forms side by side."""
        key = tuple((form.key, width) for form, width in zip(forms, widths, strict=True))
        return self.new("joined", key, tuple(zip(forms, widths, strict=True)), sum(widths))

    def part(self, form: Form, start: int, stop: int) -> Form:
        """The units start to stop of a form."""
        found = []
        for product, c in form.terms.items():
            pieces = [self._part_of_atom(number, start, stop) for number in product]
            cut = self.constant(c if c.ndim == 0 else c[start:stop])
            found.append(self._times(cut, pieces))
        return self.add(*found)

    def matrix(self, array: np.ndarray) -> Matrix:
        array = np.asarray(array, np.float64)
        return Matrix(array, hashlib.blake2b(array.astype(np.float32).tobytes() + repr(array.shape).encode()).digest())

    def width(self, form: Form) -> int:
        atoms = [self.atoms[number].width for product in form.terms for number in product]
        return max([1, *atoms, *(c.size for c in form.terms.values())])

    def is_truth(self, form: Form) -> bool:
        """Whether every atom of a form is a 0 or 1 per sequence."""
        return all(self.atoms[number].truth for product in form.terms for number in product)

    def opened(self, form: Form) -> Form:
        """The form with its product atoms written out."""
        return self.add(*(self._opened_term(product, c) for product, c in form.terms.items()))

    def substitute(self, form: Form, truth: int, value: int) -> Form:
        """The opened form with a truth atom set to 0 or 1."""
        terms = []
        for product, c in form.terms.items():
            if truth not in product:
                terms.append((product, c))
            elif value:
                terms.append((tuple(number for number in product if number != truth), c))
        return _collected(terms)

    def divided(self, form: Form, atom: int) -> Form | None:
        """What is left of a form when one factor of every product is taken out, None when some product lacks it."""
        if not form.terms or any(atom not in product for product in form.terms):
            return None
        terms = []
        for product, c in form.terms.items():
            at = product.index(atom)
            terms.append((product[:at] + product[at + 1 :], c))
        return _collected(terms)

    def _scaled(self, product: Product, c: np.ndarray) -> tuple[Product, np.ndarray]:
        atom = self.atoms[product[0]] if len(product) == 1 else None
        if atom is None or atom.kind != "linear" or np.all(c.astype(np.float32) == 1) or not np.any(c):
            return product, c
        operand, matrix = atom.data
        scaled = self.matrix(matrix.array * c)
        made = self.new("linear", (operand, scaled.key), (operand, scaled), atom.width)
        return next(iter(made.terms)), np.ones(())

    def _opened_term(self, product: Product, c: np.ndarray) -> Form:
        if len(product) == 1 and self.atoms[product[0]].kind == "product":
            return self.scale(self.atoms[product[0]].data[0], c)
        return Form({product: c})

    def _joined(self, p: Product, q: Product) -> Product:
        twice = {number for number in p if number in q and self.atoms[number].truth}
        return tuple(sorted([*p, *(number for number in q if number not in twice)]))

    def _times(self, form: Form, factors: Iterable[Form]) -> Form:
        """The plain product of a constant and factors of one atom each, not made an atom."""
        for factor in factors:
            form = _collected([(self._joined(p, q), c * d) for p, c in form.terms.items() for q, d in factor.terms.items()])
        return form

    def _matmul_joined(self, atom: Atom, matrix: Matrix) -> Form:
        start, parts = 0, []
        for form, width in atom.data:
            parts.append(self.matmul(form, self.matrix(matrix.array[start : start + width])))
            start += width
        return self.add(*parts)

    def _part_of_atom(self, number: int, start: int, stop: int) -> Form:
        atom = self.atoms[number]
        if atom.width == 1 or (start, stop) == (0, atom.width):
            return Form({(number,): np.ones(())})
        if atom.kind == "linear":
            product, matrix = atom.data
            cut = self._cut(matrix, start, stop)
            return self.new("linear", (product, cut.key), (product, cut), stop - start)
        if atom.kind == "nonlinear":
            return self.nonlinear(atom.data[0], self.part(atom.data[1], start, stop))
        if atom.kind == "product":
            inner = self.part(atom.data[0], start, stop)
            return self.new("product", inner.key, (inner,), stop - start)
        if atom.kind == "joined":
            return self._part_of_joined(atom, start, stop)
        if atom.kind == "part":
            whole, before, _ = atom.data
            return self._cut_out(whole, before + start, before + stop)
        return self._cut_out(number, start, stop)

    def _cut_out(self, number: int, start: int, stop: int) -> Form:
        return self.new("part", (number, start, stop), (number, start, stop), stop - start)

    def _part_of_joined(self, atom: Atom, start: int, stop: int) -> Form:
        """The forms between start and stop, side by side."""
        at, kept = 0, []
        for form, width in atom.data:
            low, high = max(start - at, 0), min(stop - at, width)
            if low < high:
                kept.append((self.part(form, low, high), high - low))
            at += width
        return kept[0][0] if len(kept) == 1 else self.join([form for form, _ in kept], [width for _, width in kept])

    def _cut(self, matrix: Matrix, start: int, stop: int) -> Matrix:
        key = (matrix.key, start, stop)
        if key not in self._cuts:
            self._cuts[key] = self.matrix(matrix.array[:, start:stop])
        return self._cuts[key]


def _first(item: tuple[Product, np.ndarray]) -> Product:
    return item[0]


def _collected(terms: Iterable[tuple[Product, np.ndarray]]) -> Form:
    """Like products added up; terms that vanish are dropped, coefficients equal for all units become scalars."""
    found: dict[Product, np.ndarray] = {}
    for product, c in terms:
        found[product] = found[product] + c if product in found else np.asarray(c, np.float64)
    kept = {}
    for product, c in found.items():
        if c.ndim and c.size and (c == c.flat[0]).all():
            c = np.asarray(c.flat[0])
        if np.any(c.astype(np.float32) != 0):
            kept[product] = c
    return Form(kept)

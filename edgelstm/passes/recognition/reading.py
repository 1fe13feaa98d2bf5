"""Reads a list of nodes into forms: what every value is, as a function of time steps, states and weights."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from edgelstm.graph import Node
from edgelstm.ops.op import Fact
from edgelstm.passes.recognition.forms import Algebra, Form, Matrix

_PLAIN = {"relu", "tanh", "sigmoid", "softsign", "softplus", "selu", "silu", "mish", "hard_silu", "log_sigmoid"}
_WITH_ALPHA = {"elu", "leaky_relu", "thresholded_relu"}
_WITH_BOTH = {"hard_sigmoid", "scaled_tanh", "affine"}
_MOVING = {"squeeze", "unsqueeze", "reshape", "transpose", "expand", "tile", "identity"}
_CLIPPED = ("hard_sigmoid", 1.0, 0.0)


class Reading:
    """The forms of values, and the values that stand for whole sequences of forms.

    `forms` has the form of every float value and of every truth value, `stacks` (axis, forms) of the values that hold one form
    for each position of an axis other than the last.
    """

    def __init__(self, algebra: Algebra, facts: Mapping[str, Fact]) -> None:
        self.algebra = algebra
        self.facts = facts
        self.forms: dict[str, Form] = {}
        self.stacks: dict[str, tuple[int, list[Form]]] = {}
        self._makers: dict[str, Node] = {}
        self._matrices: dict[str, Matrix] = {}

    def read(self, nodes: Iterable[Node]) -> None:
        """Read nodes in their order."""
        for node in nodes:
            for name in node.outputs:
                if name is not None:
                    self._makers[name] = node
            self._read(node)

    def form(self, value: str) -> Form:
        """The form of a value; one that no node explains is a leaf."""
        if value not in self.forms:
            self.forms[value] = self._known(value) or self._leaf(value)
        return self.forms[value]

    def _read(self, node: Node) -> None:
        if all(name is None or self.facts[name].value is not None for name in node.outputs):
            return
        if node.op == "split":
            self._split(node)
            return
        rule = self._rule(node)
        found = None if rule is None else rule(node)
        if found is not None and len(_stripped(self.facts[node.outputs[0]].shape)) <= 2:
            self.forms[node.outputs[0]] = found

    def _rule(self, node: Node) -> Callable[[Node], Form | None] | None:
        if node.op in _PLAIN | _WITH_ALPHA | _WITH_BOTH:
            return self._nonlinear
        if node.op in _MOVING:
            return self._moved
        return getattr(self, f"_{node.op}", None)

    def _leaf(self, value: str) -> Form:
        fact = self.facts[value]
        truth = fact.dtype == "bool"
        return self.algebra.leaf(value, 1 if truth or not fact.rank else fact.shape[-1], truth)

    def _known(self, value: str) -> Form | None:
        """The form of a value that is known and the same for the whole batch."""
        array = self.facts[value].value
        if array is None or not array.size:
            return None
        array = array.astype(np.float64)
        if (array == array.flat[0]).all():
            return self.algebra.constant(array.flat[0])
        rows = array.reshape(-1, array.shape[-1])
        return self.algebra.constant(rows[0]) if (rows == rows[0]).all() else None

    def _add(self, node: Node) -> Form:
        return self.algebra.add(*(self.form(name) for name in node.inputs))

    def _sub(self, node: Node) -> Form:
        a, b = (self.form(name) for name in node.inputs)
        return self.algebra.add(a, self.algebra.scale(b, -1))

    def _neg(self, node: Node) -> Form:
        return self.algebra.scale(self.form(node.inputs[0]), -1)

    def _mul(self, node: Node) -> Form:
        return self.algebra.multiply(*(self.form(name) for name in node.inputs))

    def _div(self, node: Node) -> Form | None:
        a, b = (self.form(name) for name in node.inputs)
        if b.constant is not None and np.all(b.constant != 0):
            return self.algebra.scale(a, 1 / b.constant)
        softsign = self.algebra.add(self.algebra.constant(1), self.algebra.nonlinear(("abs", 0.0, 0.0), a))
        return self.algebra.nonlinear(("softsign", 0.0, 0.0), a) if b.key == softsign.key else None

    def _abs(self, node: Node) -> Form:
        return self.algebra.nonlinear(("abs", 0.0, 0.0), self.form(node.inputs[0]))

    def _nonlinear(self, node: Node) -> Form | None:
        alpha = float(node.attrs.get("alpha", 0.0))
        return self._of((node.op, alpha, float(node.attrs.get("beta", 0.0))), self.form(node.inputs[0]))

    def _of(self, activation: tuple[str, float, float], form: Form) -> Form | None:
        return None if form.constant is not None else self.algebra.nonlinear(activation, form)

    def _gelu(self, node: Node) -> Form | None:
        return self._of(("gelu_tanh" if node.attrs["approximate"] else "gelu", 0.0, 0.0), self.form(node.inputs[0]))

    def _exp(self, node: Node) -> Form | None:
        return self._of(("exponential", 0.0, 0.0), self.form(node.inputs[0]))

    def _relu6(self, node: Node) -> Form | None:
        return self._clipped(self.form(node.inputs[0]), 6.0)

    def _clip(self, node: Node) -> Form | None:
        low, high = node.attrs["min"], node.attrs["max"]
        if low == 0 and high == np.inf:
            return self._of(("relu", 0.0, 0.0), self.form(node.inputs[0]))
        return self._clipped(self.form(node.inputs[0]), high) if low == 0 and 0 < high < np.inf else None

    def _clipped(self, form: Form, high: float) -> Form | None:
        """min(max(form, 0), high), as high times a hard sigmoid."""
        one = self._of(_CLIPPED, self.algebra.scale(form, 1 / high))
        return None if one is None else self.algebra.scale(one, high)

    def _maximum(self, node: Node) -> Form | None:
        form, bound = self._bounded(node)
        if form is None or bound != 0:
            return None
        inner = self._inside(form, "below")
        return self._of(("relu", 0.0, 0.0), form) if inner is None else self._clipped(inner[1], inner[0][1])

    def _minimum(self, node: Node) -> Form | None:
        form, bound = self._bounded(node)
        if form is None or bound <= 0:
            return None
        inner = self._inside(form, "relu")
        return self._of(("below", float(bound), 0.0), form) if inner is None else self._clipped(inner[1], float(bound))

    def _bounded(self, node: Node) -> tuple[Form | None, float]:
        """The form and the scalar constant of a minimum or maximum."""
        a, b = (self.form(name) for name in node.inputs)
        for one, other in ((a, b), (b, a)):
            if one.constant is not None and one.constant.ndim == 0 and other.constant is None:
                return other, float(one.constant)
        return None, 0.0

    def _inside(self, form: Form, name: str) -> tuple | None:
        """(activation, form) of a form that is one non-linearity of that name."""
        atom = None if form.atom is None else self.algebra.atoms[form.atom]
        return atom.data if atom is not None and atom.kind == "nonlinear" and atom.data[0][0] == name else None

    def _not(self, node: Node) -> Form:
        return self.algebra.add(self.algebra.constant(1), self.algebra.scale(self.form(node.inputs[0]), -1))

    def _cast(self, node: Node) -> Form | None:
        before, after = self.facts[node.inputs[0]].dtype, self.facts[node.outputs[0]].dtype
        exact = before == "bool" or before == after
        return self.form(node.inputs[0]) if exact else None

    def _where(self, node: Node) -> Form | None:
        truth, a, b = (self.form(name) for name in node.inputs)
        if truth.constant is not None and truth.constant.ndim == 0:
            return a if truth.constant else b
        return self.algebra.choose(truth, a, b) if self.algebra.is_truth(truth) else None

    def _dense(self, node: Node) -> Form | None:
        x, W, b = (*node.inputs, None)[:3]
        if self.facts[W].value is None or (b is not None and self.facts[b].value is None):
            return None
        if x in self.stacks:
            axis, forms = self.stacks[x]
            self.stacks[node.outputs[0]] = axis, [self._affine(form, W, b) for form in forms]
            return None
        return self._affine(self.form(x), W, b)

    def _affine(self, form: Form, W: str, b: str | None) -> Form:
        if W not in self._matrices:
            self._matrices[W] = self.algebra.matrix(self.facts[W].value)
        product = self.algebra.matmul(form, self._matrices[W])
        return product if b is None else self.algebra.add(product, self.form(b))

    def _matmul(self, node: Node) -> Form | None:
        W = self.facts[node.inputs[1]]
        return self._dense(node) if W.value is not None and W.rank == 2 else None

    def _moved(self, node: Node) -> Form | None:
        """The form of a value that is moved without a change to its batch and last axes."""
        source, out = node.inputs[0], node.outputs[0]
        if source in self.stacks:
            self._move_stack(node)
            return None
        before, after = self.facts[source], self.facts[out]
        same = _stripped(before.shape) == _stripped(after.shape) and before.shape[-1:] == after.shape[-1:]
        form = self.form(source)
        return form if same or (form.terms and self.algebra.is_truth(form)) else None

    def _move_stack(self, node: Node) -> None:
        axis, forms = self.stacks[node.inputs[0]]
        if node.op == "identity":
            self.stacks[node.outputs[0]] = axis, forms
        elif node.op == "transpose" and len(node.attrs["perm"]) == 3 and node.attrs["perm"][-1] == 2:
            self.stacks[node.outputs[0]] = node.attrs["perm"].index(axis), forms

    def _flip(self, node: Node) -> None:
        if node.inputs[0] in self.stacks:
            axis, forms = self.stacks[node.inputs[0]]
            if tuple(a % 3 for a in node.attrs["axes"]) == (axis,):
                self.stacks[node.outputs[0]] = axis, forms[::-1]

    def _split(self, node: Node) -> None:
        x = self.facts[node.inputs[0]]
        axis, start = node.attrs["axis"] % x.rank, 0
        for name, size in zip(node.outputs, node.attrs["sizes"], strict=True):
            found = self._cut(node.inputs[0], axis, range(start, start + size))
            if name is not None and found is not None:
                self.forms[name] = found
            start += size

    def _slice(self, node: Node) -> Form | None:
        x, numbers = self.facts[node.inputs[0]], [None if name is None else self.facts[name].value for name in node.inputs[1:]]
        if any(name is not None and n is None for name, n in zip(node.inputs[1:], numbers, strict=True)):
            return None
        starts, ends, axes, steps = ([] if n is None else n.reshape(-1).tolist() for n in (*numbers, None, None)[:4])
        axes, steps = [a % x.rank for a in axes or range(len(starts))], steps or [1] * len(starts)
        cuts = {
            a: range(*slice(start, end, step).indices(x.shape[a]))
            for start, end, a, step in zip(starts, ends, axes, steps, strict=True)
        }
        changed = {a: cut for a, cut in cuts.items() if cut != range(x.shape[a])}
        if len(changed) != 1:
            return None if changed else self.form(node.inputs[0])
        ((axis, cut),) = changed.items()
        stack = self.stacks.get(node.inputs[0])
        if stack is not None and stack[0] == axis and len(cut) > 1:
            self.stacks[node.outputs[0]] = axis, [stack[1][i] for i in cut]
            return None
        return self._cut(node.inputs[0], axis, cut)

    def _gather(self, node: Node) -> Form | None:
        x, indices = (self.facts[name] for name in node.inputs)
        if indices.value is None or indices.size != 1 or x.rank < 2:
            return None
        axis = node.attrs["axis"] % x.rank
        position = int(indices.value.flat[0]) % x.shape[axis]
        return None if axis == x.rank - 1 and x.dtype != "bool" else self._step(node.inputs[0], axis, position)

    def _cut(self, value: str, axis: int, cut: range) -> Form | None:
        """Some units of a form, or one step of a sequence."""
        rank = self.facts[value].rank
        if axis == rank - 1 and cut.step == 1 and value not in self.stacks and len(cut):
            return self.algebra.part(self.form(value), cut.start, cut.stop)
        return self._step(value, axis, cut.start) if axis < rank - 1 and len(cut) == 1 else None

    def _step(self, value: str, axis: int, position: int) -> Form | None:
        """One position of an axis: of a stack the form that lies there; layers over the features are looked through."""
        if value in self.stacks:
            along, forms = self.stacks[value]
            return forms[position] if along == axis else None
        fact, maker = self.facts[value], self._makers.get(value)
        if maker is not None and maker.op == "dense" and self.facts[maker.inputs[1]].value is not None:
            inner = self._step(maker.inputs[0], axis, position)
            bias = (*maker.inputs, None)[2]
            if inner is not None and (bias is None or self.facts[bias].value is not None):
                return self._affine(inner, maker.inputs[1], bias)
        truth = fact.dtype == "bool"
        if fact.rank != 3 and not (truth and fact.rank == 2):
            return None
        return self.algebra.step(value, axis, position, 1 if truth else fact.shape[-1], truth)

    def _concat(self, node: Node) -> Form | None:
        shapes = [self.facts[name].shape for name in node.inputs]
        rank = len(shapes[0])
        axis = node.attrs["axis"] % rank
        forms = [self.form(name) for name in node.inputs]
        if axis == rank - 1:
            widths = [shape[-1] for shape in shapes]
            return self.algebra.join(forms, widths) if self.facts[node.outputs[0]].dtype == "float32" else None
        if rank == 3 and all(shape[axis] == 1 for shape in shapes):
            self.stacks[node.outputs[0]] = axis, forms
        return None


def _stripped(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without axes of length 1, the last axis kept."""
    return (*(n for n in shape[:-1] if n != 1), *shape[-1:])

"""Writes recurrent nodes for recognised chains, and the values that take the place of what the chains computed."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from edgelstm import ops
from edgelstm.graph import Node
from edgelstm.passes.recognition.cells import Columns
from edgelstm.passes.recognition.chains import Chain
from edgelstm.passes.recognition.forms import Form, Matrix
from edgelstm.passes.recognition.reading import Reading

_GATES = {"lstm": "ifgo", "gru": "zrn", "simple_rnn": "h"}


class Writing:
    """Collects nodes and constants. `available` are the values that a new node may read."""

    def __init__(self, reading: Reading, available: set[str], prefix: str) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.written: dict[Chain, str] = {}
        self._reading, self._available, self._prefix = reading, available, prefix
        self._leaves = {form.key: name for name, form in reversed(reading.forms.items()) if name in available}
        self._extra: dict[tuple, str] = {}

    def write(self, chain: Chain) -> bool:
        """Append the recurrent node of a chain; False when something that it reads is not available."""
        if chain in self.written:
            return True
        source = chain.source
        if source.chain is not None and not self.write(source.chain):
            return False
        initial = [self._initial(form) for form in chain.initial[: 2 if chain.cell.kind == "lstm" else 1]]
        if False in initial or (source.chain is None and source.value not in self._available):
            return False
        name = f"{self._prefix}/{chain.cell.kind}{len(self.written) or ''}"
        x = self._y(source.chain) if source.chain is not None else source.value
        inputs = {"x": x, **self._weights(name, chain), "mask": self._mask(name, chain)}
        inputs |= {f"{state}0": value for state, value in zip("hc", initial, strict=False)}
        declared = [slot.rstrip("?") for slot in ops.get(chain.cell.kind).inputs]
        outputs = tuple(f"{name}.{state}" for state in ("y", "h", "c")[: 1 + len(initial)])
        self.nodes.append(
            Node(name, chain.cell.kind, tuple(inputs.get(slot) for slot in declared), outputs, self._attrs(chain))
        )
        self.written[chain] = name
        return True

    def last_state(self, chain: Chain, which: int) -> str:
        """The value (batch, units) of the last h (0) or c (1)."""
        return f"{self.written[chain]}.{'hc'[which]}"

    def output(self, chain: Chain, number: int) -> str:
        """The value (batch, units) that a chain shows at one of its steps.

        Steps are cut out by a split of the whole axis, so that a model that treats them one by one keeps its number of steps.
        """
        axis, last = self.time_axis(chain), max(step.position for step in chain.steps)
        position, name = chain.steps[number].position, self.written[chain]
        if (chain, "split") not in self._extra:
            pieces = tuple(f"{name}.y[{i}:{i + 1}]" for i in range(last + 1))
            self.nodes.append(
                Node(f"{name}.split", "split", (self._y(chain),), pieces, {"axis": axis, "sizes": (1,) * len(pieces)})
            )
            self._extra[chain, "split"] = name
        piece = f"{name}.y[{position}:{position + 1}]"
        return self._once((chain, number), f"{name}.y[{position}]", "squeeze", (piece,), {"axes": (axis,)})

    def stacked(self, chain: Chain, axis: int, in_step_order: bool) -> str:
        """All outputs along an axis (0 or 1) of a value of three axes, in the order of the steps or the opposite one."""
        value, along, name = self._y(chain), self.time_axis(chain), self.written[chain]
        if in_step_order == chain.backwards:
            value = self._once((chain, "flip"), f"{name}.flipped", "flip", (value,), {"axes": (along,)})
        if axis != along:
            key = (chain, "turned", in_step_order)
            value = self._once(key, f"{name}.turned{int(in_step_order)}", "transpose", (value,), {"perm": (1, 0, 2)})
        return value

    def shaped(self, value: str, shape: Sequence[int]) -> str:
        """A value (batch, units) with axes of length 1 added to fit a shape of three axes."""
        if len(shape) == 2:
            return value
        axis = 0 if shape[0] == 1 else 1
        return self._once((value, axis), f"{value}+{axis}", "unsqueeze", (value,), {"axes": (axis,)})

    @staticmethod
    def time_axis(chain: Chain) -> int:
        while chain.source.chain is not None:
            chain = chain.source.chain
        return chain.source.axis

    def _y(self, chain: Chain) -> str:
        return f"{self.written[chain]}.y"

    def _initial(self, form: Form) -> str | Literal[False] | None:
        """The value of an initial state, None where it is zero, False where nothing available holds it."""
        if not form.terms:
            return None
        value = self._leaves.get(form.key)
        return value if value is not None and len(self._reading.facts[value].shape) == 2 else False

    def _mask(self, name: str, chain: Chain) -> str | None:
        """The mask as (batch, time)."""
        if chain.mask is None:
            return None
        value, axis = chain.mask
        if self._reading.facts[value].rank == 3:
            value = self._once((value, "flat"), f"{name}.mask", "squeeze", (value,), {"axes": (2,)})
        return value if axis == 1 else self._once((value, "bt"), f"{name}.mask_bt", "transpose", (value,), {"perm": (1, 0)})

    def _weights(self, name: str, chain: Chain) -> dict[str, str]:
        cell = chain.cell
        gates = [cell.gates[gate] for gate in _GATES[cell.kind]]
        units = cell.units
        matrices = {"W": [self._input_matrix(chain, gate.W) for gate in gates], "R": [gate.R.array for gate in gates]}
        found = {side: np.concatenate(parts, axis=1) for side, parts in matrices.items()}
        b = np.concatenate([np.broadcast_to(gate.b, (units,)) for gate in gates])
        found |= {"b": b} if b.any() else {}
        if cell.reset == "after" and np.any(cell.recurrent_bias):
            found["rb"] = np.concatenate([np.zeros(2 * units), np.broadcast_to(cell.recurrent_bias, (units,))])
        return {
            slot: self._constant(f"{name}.{slot}", np.ascontiguousarray(array, np.float32)) for slot, array in found.items()
        }

    def _input_matrix(self, chain: Chain, W: Matrix | Columns) -> np.ndarray:
        """The matrix on the input; where its product was computed before, one that picks the columns."""
        if isinstance(W, Matrix):
            return W.array
        source = chain.source
        width = source.chain.cell.units if source.chain is not None else self._reading.facts[source.value].shape[-1]
        return np.eye(width)[:, W[0] : W[1]]

    def _attrs(self, chain: Chain) -> Mapping[str, object]:
        cell = chain.cell
        acts = [name if (alpha, beta) == (0.0, 0.0) else (name, alpha, beta) for name, alpha, beta in cell.activations]
        attrs = {"layout": "btf" if self.time_axis(chain) == 1 else "tbf", "reverse": chain.backwards}
        attrs |= {"masked_output": chain.masked_output} if chain.mask is not None else {}
        if cell.kind == "lstm":
            return attrs | {"recurrent_activation": acts[0], "activation": acts[1], "cell_activation": acts[2]}
        if cell.kind == "gru":
            return attrs | {"recurrent_activation": acts[0], "activation": acts[1], "reset_after": cell.reset == "after"}
        return attrs | {"activation": acts[0]}

    def _once(self, key: tuple, name: str, op: str, inputs: tuple[str, ...], attrs: Mapping[str, object]) -> str:
        if key not in self._extra:
            self._extra[key] = self._add(name, op, inputs, attrs)
        return self._extra[key]

    def _add(self, name: str, op: str, inputs: tuple[str, ...], attrs: Mapping[str, object]) -> str:
        self.nodes.append(Node(name, op, inputs, (name,), attrs))
        return name

    def _constant(self, name: str, array: np.ndarray) -> str:
        self.constants[name] = array
        return name

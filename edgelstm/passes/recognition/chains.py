"""Finds the steps of one cell that follow each other in time: the recurrence that a loop or an unrolled chain computes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from edgelstm.passes.recognition.cells import Cell, extract, operands
from edgelstm.passes.recognition.cores import Core, cores
from edgelstm.passes.recognition.forms import ZERO, Form, Product
from edgelstm.passes.recognition.reading import Reading

_FIRST_GATE = {"lstm": "i", "gru": "z", "simple_rnn": "h"}


@dataclass(frozen=True)
class Source:
    """What a cell reads: one position of `axis` of a value a step, or the outputs of another chain."""

    value: str = ""
    axis: int = 0
    chain: "Chain | None" = None


@dataclass(frozen=True)
class Step:
    """One step of a cell: where its input lies, the states before it, and the new ones before any mask."""

    source: Source
    position: int
    before: tuple[Form, Form]
    after: tuple[Form, Form]


@dataclass(eq=False)
class Chain:
    """A recurrence. `states` holds (h, c) after every step, masks applied; `outputs` h, or what a masked step shows instead.

    `mask` is (value, axis) of a truth for every step; `masked_output` as in the recurrent ops.
    """

    cell: Cell
    steps: list[Step]
    mask: tuple[str, int] | None = None
    masked_output: str = "hold"
    states: list[tuple[Form, Form]] = field(default_factory=list)
    outputs: list[Form] = field(default_factory=list)

    @property
    def source(self) -> Source:
        return self.steps[0].source

    @property
    def initial(self) -> tuple[Form, Form]:
        """h and c before the first step."""
        return self.steps[0].before

    @property
    def backwards(self) -> bool:
        return self.steps[0].position > self.steps[-1].position


class ChainFinder:
    """Finds every chain in what was read. `partial` accepts chains over the first or last steps of a longer sequence."""

    def __init__(self, reading: Reading, partial: bool = False) -> None:
        self.chains: list[Chain] = []
        self._reading, self._algebra, self._partial = reading, reading.algebra, partial
        self._known = {form.key: form for form in reading.forms.values()}
        for _, forms in reading.stacks.values():
            self._known.update((form.key, form) for form in forms)
        self._cores = [core for form in list(self._known.values()) for core in cores(self._algebra, form)]
        self._shown: dict[tuple, tuple[Chain, int]] = {}
        self._products: set[Product] = set()
        self._taken: set[tuple] = set()
        self._tried: set[tuple] = set()

    def find(self) -> list[Chain]:
        """The chains, each after those that it reads from."""
        before = -1
        while before != len(self.chains):
            before = len(self.chains)
            self._tried.clear()
            for core in self._cores:
                if core.h.key not in self._taken:
                    self._try(core)
        return self.chains

    def _try(self, core: Core) -> None:
        cell = extract(self._algebra, core, self._is_input)
        if cell is None or cell.key in self._tried or self._as_step(cell, core) is None:
            return
        self._tried.add(cell.key)
        steps = [step for other in self._cores if other.kind == cell.kind and (step := self._as_step(cell, other)) is not None]
        for chain in self._linked(cell, steps):
            self._taken.update(step.after[0].key for step in chain.steps)
            self.chains.append(chain)
            for step, form in zip(chain.steps, chain.outputs, strict=True):
                self._shown[form.key] = chain, step.position
                self._products.update(form.terms)

    def _is_input(self, product: Product) -> bool:
        is_step = len(product) == 1 and self._algebra.atoms[product[0]].kind == "step"
        return is_step or product in self._products

    def _as_step(self, cell: Cell, core: Core) -> Step | None:
        """The step that a core is of a cell: the equations of the cell must give just its forms."""
        name = _FIRST_GATE[cell.kind]
        gate, form = cell.gates[name], core.gates[name]
        x = operands(self._algebra, form, gate.W)
        h = core.before if cell.kind == "gru" else operands(self._algebra, form, gate.R)
        c = core.before if cell.kind == "lstm" else ZERO
        if not x.terms or core.activations != cell.activations or core.variant != cell.variant:
            return None
        if x.key == h.key:
            return None
        made = cell.step(self._algebra, x, h, c)
        found = self._located(x)
        if found is None or made[0].key != core.h.key or made[1].key != core.c.key:
            return None
        return Step(*found, (h, c), (core.h, core.c))

    def _located(self, x: Form) -> tuple[Source, int] | None:
        """(source, position) of an input."""
        if x.key in self._shown:
            chain, position = self._shown[x.key]
            return Source(chain=chain), position
        atom = None if x.atom is None else self._algebra.atoms[x.atom]
        if atom is None or atom.kind != "step":
            return None
        value, axis, position = atom.data
        return Source(value, axis), position

    def _linked(self, cell: Cell, steps: list[Step]) -> Iterator[Chain]:
        """The chains that steps of one cell form."""
        unique = list({(s.source, s.position, s.after[0].key, s.before[0].key): s for s in steps}.values())
        follower: dict[int, tuple[int, int | None]] = {}
        for a, one in enumerate(unique):
            for b, other in enumerate(unique):
                if one.source == other.source and abs(one.position - other.position) == 1 and a not in follower:
                    mask = self._mask_between(one, other)
                    if mask != ():
                        follower[a] = b, mask[0]
        for start in set(range(len(unique))) - {b for b, _ in follower.values()}:
            numbers, masks = [start], []
            while numbers[-1] in follower:
                b, mask = follower[numbers[-1]]
                if b in numbers:
                    break
                numbers.append(b)
                masks.append(mask)
            chain = self._checked(Chain(cell, [unique[i] for i in numbers]), masks)
            if chain is not None:
                yield chain

    def _mask_between(self, one: Step, other: Step) -> tuple[int | None] | tuple[()]:
        """(None,) where a step starts from the state that the one before leaves, (truth atom,) where masked, else ()."""
        if _keys(other.before) == _keys(one.after):
            return (None,)
        opened = self._algebra.opened(other.before[0])
        for number in dict.fromkeys(number for product in opened.terms for number in product):
            atom = self._algebra.atoms[number]
            masks = atom.truth and atom.kind == "step" and atom.data[2] == one.position
            if masks and _keys(self._held(number, one)) == _keys(other.before):
                return (number,)
        return ()

    def _held(self, truth: int, step: Step) -> tuple[Form, Form]:
        """The states after a masked step."""
        mask = Form({(truth,): np.ones(())})
        h, c = (self._algebra.choose(mask, new, old) for new, old in zip(step.after, step.before, strict=True))
        return h, c

    def _checked(self, chain: Chain, masks: list[int | None]) -> Chain | None:
        """The chain with its states and outputs, None when it doesn't cover its sequence, or its masks don't."""
        positions = [step.position for step in chain.steps]
        stride = -1 if chain.backwards else 1
        if len(positions) < 2 or positions != list(range(positions[0], positions[0] + stride * len(positions), stride)):
            return None
        length = self._length(chain.source)
        covers = positions[0] == (length - 1 if chain.backwards else 0) and (self._partial or len(positions) == length)
        sources = {None if mask is None else self._algebra.atoms[mask].data[:2] for mask in masks}
        if not covers or len(sources) != 1:
            return None
        (chain.mask,) = sources
        self._finish(chain)
        return chain

    def _length(self, source: Source) -> int:
        if source.chain is None:
            return self._reading.facts[source.value].shape[source.axis]
        return len(source.chain.steps) if not self._partial else max(step.position for step in source.chain.steps) + 1

    def _finish(self, chain: Chain) -> None:
        """Fill in the states and the outputs; which of the two ways of masking outputs is used shows in the values."""
        held, zeroed = [], []
        for step in chain.steps:
            if chain.mask is None:
                chain.states.append(step.after)
                held.append(step.after[0])
                continue
            mask = self._algebra.step(*chain.mask, step.position, 1, True)
            chain.states.append(self._held(mask.atom, step))
            held.append(self._algebra.choose(mask, step.after[0], held[-1] if held else ZERO))
            zeroed.append(self._algebra.choose(mask, step.after[0], ZERO))
        shows_zeros = chain.mask is not None and self._is_shown(zeroed, held)
        chain.masked_output = "zero" if shows_zeros else "hold"
        chain.outputs = zeroed if shows_zeros else held

    def _is_shown(self, zeroed: list[Form], held: list[Form]) -> bool:
        """Whether a model shows zeros at masked steps: where they are stacked, or the held outputs are nowhere computed."""
        keys = {form.key for form in zeroed}
        stacked = any(keys == {form.key for form in forms} for _, forms in self._reading.stacks.values())
        return stacked or held[1].key not in self._known


def _keys(forms: tuple[Form, Form]) -> tuple:
    return forms[0].key, forms[1].key

"""What the machine runs: recurrent layers in every form, products, ops and models, against the float64 equations.

Tests call these in processes of their own, because the machine stands in the place of a GPU there.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from edgelstm import reference
from edgelstm.cuda.recurrence import forms
from edgelstm.graph import Graph
from edgelstm.model import Model
from edgelstm.precision.apply import apply
from tests.ptx.device import Machine, in_place_of_gpu
from tests.test_cuda_recurrent import PLAIN, SPECIAL, layer

Feeds = dict[str, np.ndarray]
KINDS = (("whole", True), ("whole", False), ("cluster", True), ("persistent", True), ("persistent", False), ("stepwise", False))
FLOATS = 2e-6  # against the equations in float64
FLIPPED = 5e-3  # of int8 and int4, where a number of a row is rounded to its other neighbour


@dataclass(frozen=True)
class Run:
    """A layer in a form at some sizes (units, steps, batch). `form`: kind, units of a block, rows at once, whether the weights
    are in shared memory; None in it stands for whatever there is.
    """

    described: tuple[Any, ...]
    precision: str
    form: tuple[str, int | None, int, bool | None]
    sizes: tuple[tuple[int, int, int], ...] = ((33, 3, 3), (17, 2, 1))
    capability: tuple[int, int] = (9, 0)
    features: int = 3

    def __str__(self) -> str:
        return f"{self.described} {self.precision} {self.form}"


LSTM, GRU, SIMPLE, BEFORE = PLAIN[0], PLAIN[1], PLAIN[2], PLAIN[3]
CHOSEN = [
    Run(LSTM, "float32", ("persistent", 8, 1, True), ((33, 4, 3), (1, 2, 2), (65, 2, 5))),
    Run(GRU, "int8", ("cluster", 16, 1, True), ((33, 3, 3), (65, 2, 2))),
    Run(LSTM, "int8", ("whole", None, 4, True), ((33, 3, 5), (3, 3, 3))),
    Run(BEFORE, "float32", ("whole", None, 1, True), ((33, 3, 3), (1, 2, 2))),
    Run(GRU, "int4", ("stepwise", 16, 2, False), ((67, 2, 3), (17, 0, 2))),
    Run(SIMPLE, "int8x16", ("persistent", 8, 2, False), ((33, 3, 3),)),
    Run(SPECIAL[1], "bfloat16", ("whole", None, 1, True), ((17, 3, 2),)),
]


def every() -> Iterator[Run]:
    """All cells and formats in all forms."""
    for described in (*PLAIN, *SPECIAL):
        for precision in ("float32", "bfloat16", "int8", "int8x16", "int4") if described in PLAIN else ("float32",):
            for kind, resident in KINDS:
                for rows in (1, 4) if described in PLAIN else (2,):
                    capability = (9, 0) if kind == "cluster" or rows == 1 else (7, 5)
                    yield Run(described, precision, (kind, None, rows, resident), ((33, 3, 5), (70, 2, 2)), capability)


def assert_all(everything: bool) -> None:
    """Layers in all forms; and that each barrier matters, but for one of two side by side, and fences behind acquisitions."""
    assert_layers_agree([*every()] if everything else CHOSEN)
    for run, pattern, spare in ((CHOSEN[0], r"bar\.sync", 1), (CHOSEN[0], r"membar\.gl|fence\.acq_rel\.gpu", 2),
                                (CHOSEN[0], r"atom\.global", 0), (CHOSEN[1], r"barrier\.cluster\.arrive", 0)):
        assert_missing_barriers_show(run, pattern, spare)


def assert_layers_agree(chosen: list[Run]) -> None:
    for run in chosen:
        for size in run.sizes:
            assert_layer_agrees(run, size, Machine(run.capability))


def assert_missing_barriers_show(run: Run, pattern: str, spare: int) -> None:
    """What happens without one instruction: of all that fit the pattern so many may be left out."""
    dropped, missed = 0, []
    while True:
        shown = _without(run, pattern, dropped)
        if shown is None:
            break
        missed += [dropped] * (not shown)
        dropped += 1
    assert dropped > spare and len(missed) <= spare, f"{pattern} of {run}: {missed} of {dropped} can be left out"


def _without(run: Run, pattern: str, number: int) -> bool | None:
    """Whether a layer fails where the kernel in which blocks meet has one instruction less; None where it has no such."""
    changed = []

    def change(text: str) -> str:
        found = [*re.finditer(pattern, text)] if "ld.acquire" in text or "barrier.cluster" in text else []
        if number >= len(found):
            return text
        changed.append(number)
        return f"{text[: found[number].start()]}// {text[found[number].start() :]}"

    try:
        assert_layer_agrees(run, run.sizes[0], Machine(run.capability, change=change))
    except AssertionError:
        return True
    return False if changed else None


def assert_layer_agrees(run: Run, size: tuple[int, int, int], machine: Machine) -> None:
    """All numbers of a run against the equations."""
    graph, feeds = made(run, size)
    with in_place_of_gpu(machine), mock.patch.object(forms, "plan_recurrent", planned(run)):
        found = Model(graph, device="cuda").run(feeds)
    compare(graph, feeds, found, f"{run} at {size}")


def made(run: Run, size: tuple[int, int, int]) -> tuple[Graph, Feeds]:
    units, steps, batch = size
    with mock.patch("tests.test_cuda_recurrent.FEATURES", run.features):
        graph, feeds = layer(*run.described, np.random.default_rng(sum(size)), units, steps, batch)
    if run.precision != "float32":
        graph = apply(graph, {node.name: run.precision for node in graph.nodes}, scales="max")
    return graph, feeds


def planned(run: Run) -> Callable[..., Any]:
    """The form that a run describes, of those that the device has room for."""
    kind, span, rows, resident = run.form

    def choose(limits: Any, layer: Any) -> Any:
        found = [form for form in forms.candidates(limits, layer) if form.kind == kind and form.resident in (resident, None)]
        assert found, f"no {kind} form for {layer}"
        return min(found, key=lambda form: (abs(form.rows - rows), abs(form.span - (span or 8)), form.turns != 2))

    return choose


def compare(graph: Graph, feeds: Feeds, found: Feeds, what: str) -> None:
    precisions = {node.attrs.get("precision", "float32") for node in graph.nodes}
    rounds = any(precision.startswith("int") for precision in precisions)
    expected = (reference.run_rounded if rounds else reference.run)(graph, feeds)
    for name, array in found.items():
        away = abs(array - expected[name]) / max(1.0, abs(expected[name]).max(initial=0))
        assert (away <= (FLIPPED if rounds else FLOATS)).all(), f"{what}: {name} is off by {away.max()}"
        assert (away > FLOATS).sum() <= away.size / 20, f"{what}: many numbers of {name} are rounded in another way"

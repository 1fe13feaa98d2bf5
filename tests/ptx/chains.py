"""Calls that are one launch, on the machine: what a product stores, rows of tables and of copies, chains of formulas, and
layers that write where a copy would take their outputs.
"""

from collections.abc import Iterator

import numpy as np

from edgelstm.graph import Graph
from tests.ptx.cases import Feeds, compare
from tests.ptx.device import Machine
from tests.ptx.models import on_machine
from tests.test_cuda_fusing import CHAINS, MOVES, READERS, embedded, feeds_for, net_and_input
from tests.test_cuda_through import OUTPUTS

CHOSEN = ("turned and back", "half", "masked", "beside")


def assert_fused_calls_agree(everything: bool = False) -> None:
    """Against the equations: a few, or all."""
    machine = Machine()
    for name, graph, feeds in fused_graphs():
        if everything or name in CHOSEN:
            compare(graph, feeds, on_machine(machine, graph, feeds), name)


def fused_graphs() -> Iterator[tuple[str, Graph, Feeds]]:
    rng = np.random.default_rng(3)
    for name, (move, _) in MOVES.items():
        net, x = net_and_input()
        y = net.builder.add("conv1d", x, net.weights(1, 3, 4), net.weights(4))
        graph = net.graph(y=move(net, y))
        yield name, graph, feeds_for(graph, rng, 3, 5)
    for name, made in [*CHAINS.items(), *((name, made) for name, (made, _) in OUTPUTS.items())]:
        net, x = net_and_input()
        graph = net.graph(y=made(net, x))
        yield name, graph, feeds_for(graph, rng, 2, 5)
    for name, (reader, _) in READERS.items():
        graph = embedded(reader)
        yield name, graph, {"x": rng.integers(0, 7, (3, 7)).astype(np.int32)}

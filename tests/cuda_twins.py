"""Every launch of every op case, compiled for a GPU on a machine without one: what the simulator runs may have no types.

Device memory is that of the host, and the kernels are never started.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numba
import numpy as np
from numba.core.errors import NumbaError
from numba.cuda.cudadrv.error import NvvmError
from numba.cuda.dispatcher import CUDADispatcher

from edgelstm import ops
from edgelstm.cuda import backend, driver, launching
from edgelstm.cuda.fused import expressions
from edgelstm.cuda.fused.expressions import Apply
from edgelstm.cuda.host import pool, session
from edgelstm.graph import Graph
from edgelstm.model import Model
from tests.conftest import Layers
from tests.test_cuda_reduced import graph_of as stored_graph
from tests.test_ops import CASES, graph_of
from tests.test_ops_reduced import reduced

CAPABILITY = (7, 5)
MADE_UP = SimpleNamespace(MULTIPROCESSOR_COUNT=40, MAX_THREADS_PER_BLOCK=1024, MAX_SHARED_MEMORY_PER_BLOCK_OPTIN=64 << 10,
                          COOPERATIVE_LAUNCH=1, CLUSTER_LAUNCH=0, compute_capability=CAPABILITY, id=0)

Kernels = dict[tuple[Any, ...], Any]


def assert_all_compile() -> None:
    kernels, failed = needed(), []
    assert len(kernels) > 100
    for (name, signature), kernel in kernels.items():
        try:
            assert ".version" in ptx(kernel, signature)
        except (NumbaError, NvvmError) as error:
            failed.append(f"{name} {signature}: {type(error).__name__}: {str(error)[-1000:]}")
    assert not failed, "\n".join(failed)


def ptx(kernel: Any, signature: tuple[Any, ...]) -> str:
    """Without optimisation, which takes most of the time and finds no errors."""
    with mock.patch("numba.cuda.dispatcher.get_current_device", lambda: MADE_UP):
        return driver.cuda.compile_ptx(kernel.py_func, signature, cc=CAPABILITY, opt=False)[0]


def needed() -> Kernels:
    """The kernels of all op cases by name and types."""
    found: Kernels = {}
    stored: dict[Any, Any] = {}
    with without_device(found), mock.patch.object(expressions, "kernel", noting(stored)):
        for graph, feeds in [*(graph_of(op, case) for op, case in CASES), applied(), *of_few_bits()]:
            programs = Model(graph, device="cuda")._programs
            program = programs.for_run({name: np.shape(array) for name, array in feeds.items()}).program
            ports = [np.ascontiguousarray(feeds[port.name], port.dtype) for port in graph.inputs]
            ports += [np.zeros(shape, port.dtype) for shape, port in zip(program.outputs, graph.outputs, strict=True)]
            bound = session.CudaSession(program, programs._constants)
            for launch in bound.made([memory(port.nbytes) for port in ports]):
                launch(None)
        _moves()
    return dict(varied(found, stored))


def noting(stored: dict[Any, Any]) -> Any:
    """As expressions.kernel, but it notes what each kernel stores."""
    made = expressions.kernel

    def kernel(of: expressions.Stored) -> Any:
        stored[made(of)] = of.expression
        return made(of)

    return kernel


def varied(found: Kernels, stored: dict[Any, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Of the kernels that store formulas those with one that none before had: all load and store alike, which add_f32 shows."""
    met: set[str] = set()
    for key, kernel in found.items():
        applied = formulas(stored.get(kernel))
        if not applied or applied == {"add_f32"} or not applied <= met:
            yield key, kernel
        met |= applied


def formulas(expression: Any) -> set[str]:
    """The kernels whose formulas an expression applies."""
    own = {expression.kernel} if isinstance(expression, Apply) else set()
    return own.union(*(formulas(part) for part in getattr(expression, "parts", ())))


def applied() -> tuple[Graph, dict[str, np.ndarray]]:
    """Products that read rows of a table and rows that were copied, and apply chains to what they compute; a chain alone."""
    net = Layers()
    add, x = net.builder.add, net.builder.input("x", "int32", ("B", "T"))
    y = add("dense", add("embedding", x, net.weights(7, 3)), net.weights(3, 4), net.weights(4))
    y = add("mul", add("elu", add("add", y, net.weights(4)), alpha=0.5), net.weights(1))
    y = add("dense", add("transpose", y, perm=(1, 0, 2)), net.weights(4, 4))
    z = add("hard_sigmoid", add("dense", y, net.weights(4, 4)), alpha=0.2, beta=0.4)
    y = add("concat", z, add("flip", add("sqrt", add("abs", y)), axes=(1,)), axis=2)
    return net.graph(y=y), {"x": np.zeros((3, 3), np.int32)}


def of_few_bits() -> Iterator[tuple[Graph, dict[str, np.ndarray]]]:
    """Tables, and layers of each kind: the rows that they read are prepared; recurrent ones differ by their chunks alone."""
    for name, precision in (("embedding", "bfloat16"), ("embedding", "int8"), ("embedding", "int4"), ("dense", "int8x16"),
                            ("conv1d", "int4"), ("simple_rnn", "int8x16"), ("gru", "int4")):
        op = ops.get(name)
        yield stored_graph(op, reduced(op, next(iter(op.cases())), precision)[0])


def _moves() -> None:
    """The kernel that gathers and scatters the states of a pool."""
    numbers = np.zeros(4, np.int32)
    for dtype in (np.int32, np.uint8):
        states = np.zeros(64, dtype)
        launching.launch(pool._move(), 1, 32, states, states, numbers, (1, 4, 8, 2), True)(None)


@contextmanager
def without_device(found: Kernels) -> Iterator[None]:
    """Host memory as device memory; launches are noted in `found`."""
    def launched(kernel: Any, _: Any) -> Any:
        def call(*args: Any) -> None:
            signature = tuple(map(numba.typeof, args))
            found.setdefault((f"{kernel.py_func.__module__}.{kernel.py_func.__qualname__} {id(kernel)}", signature), kernel)

        return call

    with ExitStack() as stack:
        for owner, name, value in [
            (CUDADispatcher, "__getitem__", launched), (session, "empty", memory), (session, "zeros", memory),
            (session, "uploaded", uploaded), (session, "on", lambda number: nullcontext()),
            (session.cuda, "stream", lambda: None), (backend, "check", lambda number: 0),
            (launching, "prepared", lambda *given: 1000), (driver.cuda, "get_current_device", lambda: MADE_UP),
        ]:  # fmt: skip
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


def memory(nbytes: int) -> np.ndarray:
    return np.zeros(max(8, -(-nbytes // 8) * 8), np.uint8)


def uploaded(array: np.ndarray) -> np.ndarray:
    found = memory(array.nbytes + 8)
    found[: array.nbytes] = array.reshape(-1).view(np.uint8)
    return found

"""PTX of the hot kernels for a compute capability, on a machine without a device: for tests and for a table of what they
use.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

from edgelstm.cuda.driver import CLUSTERED, cuda, types
from edgelstm.cuda.recurrence import cells, chunks, forms, grid, whole
from edgelstm.cuda.recurrence.arguments import Arrays, Sizes
from edgelstm.cuda.recurrence.sweeps import Weights
from edgelstm.cuda.tiled import products

_F32, _I32, _U8 = (types.Array(kind, 1, "C") for kind in (types.float32, types.int32, types.uint8))
_WORD, _COUNTERS = types.int64, types.Array(types.int64, 1, "C")
CLUSTER = "weights in shared memory, cluster"


def hot_kernels(rows: int = 4) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """(name, kernel, signature) of the products and the recurrent kernels."""
    for form, panels in (("float32", _F32), *((form, _I32) for form in ("bfloat16", "int8", "int8x16", "int4"))):
        sizes, place = types.UniTuple(_WORD, 5), types.UniTuple(_WORD, 6)
        for name, tile in (("tall", products.TALL), ("flat", products.FLAT)):
            yield f"gemm {name} {form}", products.kernel(form, tile), (_F32, panels, _F32, _F32, sizes, place, _WORD)
        for name in ("lstm", "gru", "gru_before", "simple_rnn"):
            yield from _recurrent(name, form, panels, rows)


def _recurrent(name: str, form: str, panels: Any, rows: int) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    carried = types.UniTuple(_F32, len(cells.all_cells()[name].carried))
    weights, arrays = types.NamedTuple((panels, panels, _F32), Weights), types.NamedTuple((_F32, _F32, _F32, _U8), Arrays)
    sizes, title = types.NamedUniTuple(_WORD, len(Sizes._fields), Sizes), f"{name} {form}, {rows} rows"
    given = (arrays, carried, carried, weights, _WORD, types.float32)
    yield f"{title}, {CLUSTER}", grid.clustered(name, form, rows), (*given, sizes)
    for resident in (True, False):
        where = f"{title}, weights in {'shared' if resident else 'global'} memory"
        yield f"{where}, whole", whole.kernel(name, form, rows, resident), (*given, sizes)
        yield f"{where}, persistent", grid.persistent(name, form, rows, resident), (*given, _COUNTERS, sizes)
    gates = cells.all_cells()[name].products
    if len(gates) == 1:
        held = forms.HELD_WORDS[form] // chunks.get(form, gates[0], 1).rows
        yield f"{title}, weights in registers, whole", whole.kernel(name, form, rows, True, held), (*given, sizes)
    for number, phase in enumerate(grid.stepwise(name, form, rows)[1]):
        yield f"{title}, step {number}", phase, (arrays, weights, _WORD, _WORD, _WORD, _WORD, types.float32, sizes)


def compiles(name: str, capability: tuple[int, int]) -> bool:
    """Whether there is such a kernel for a compute capability."""
    return not name.endswith(CLUSTER) or capability >= CLUSTERED


def ptx(kernel: Any, signature: tuple[Any, ...], capability: tuple[int, int]) -> str:
    """The PTX of a kernel. numba-cuda asks the current device what to compile device functions for; here that is no device."""
    pretended = SimpleNamespace(compute_capability=capability)
    with mock.patch("numba.cuda.dispatcher.get_current_device", lambda: pretended):
        bounds = kernel.targetoptions.get("launch_bounds")
        text, _ = cuda.compile_ptx(kernel.py_func, signature, cc=capability, launch_bounds=bounds)
    return text

"""float32 weights: panels [block][n_in][vectors * lanes]."""

from typing import Any

from edgelstm.kernels import products
from edgelstm.kernels.formats import Format


def panel(v: Any, vectors: int) -> Any:
    """Where a panel begins."""
    return v.inline(lambda unit, n_in: unit * vectors * n_in)


def near(v: Any) -> int:
    """Beyond the first cache two panels at once are read more slowly."""
    return 7 * 1024 if v.lanes >= 8 else 0


FORMAT = Format(panel, products.row_block, products.make, products.make_pair, twin=products.make_twin, near=near, halves=True)

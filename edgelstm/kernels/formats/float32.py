"""float32 weights: panels [block][n_in][vectors * lanes]."""

from typing import Any

from edgelstm.kernels import products
from edgelstm.kernels.formats import Format


def panel(v: Any, vectors: int) -> Any:
    """Where a panel begins."""
    return v.inline(lambda unit, n_in: unit * vectors * n_in)


FORMAT = Format(panel, products.row_block, products.make, products.make_pair, twin=products.make_twin)

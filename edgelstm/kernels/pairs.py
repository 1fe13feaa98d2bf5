"""Where two blocks of units are worked on at once: where the latency of a cell costs more than reading its weights."""

from typing import Any

from edgelstm.kernels.formats import Format


def near(v: Any, form: Format, gates: int) -> Any:
    """`near(n_in, units)`: whether it pays for so many inputs of a product.

    One gate is summed in more parts than two blocks leave room for, and narrow machines want short code.
    """
    most = form.near(v) if form.near is not None and gates >= 3 else 0
    if most == 0:
        return v.inline(lambda n_in, units: False)
    panel = form.panel(v, gates)
    return v.inline(lambda n_in, units: panel(units, n_in) <= most)

"""Where two blocks of units are worked on at once: where the latency of a cell costs more than reading its weights."""

from typing import Any

from edgelstm.kernels.formats import Format


def possible(v: Any, form: Format, gates: int) -> bool:
    """Whether the format has a product for that. One gate is summed in more parts than two blocks leave room for."""
    return form.near is not None and gates >= 3 and form.near(v) > 0


def near(v: Any, form: Format, gates: int) -> Any:
    """`near(n_in, units)`: whether it pays for so many inputs of a product."""
    if not possible(v, form, gates):
        return v.inline(lambda n_in, units: False)
    panel, most = form.panel(v, gates), form.near(v)
    return v.inline(lambda n_in, units: panel(units, n_in) <= most)

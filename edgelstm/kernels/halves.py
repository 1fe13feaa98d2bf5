"""Layers whose units fill half a vector at most are computed with half vectors where those are faster.

The layout of weights, inputs and states stays the same; see `v.half` of the vector sets.
"""

from collections.abc import Callable
from typing import Any

from edgelstm.kernels.formats import Format


def made(v: Any, form: Format, make: Callable[[Any], Any]) -> Any:
    """`make(v.half)`, or None where whole vectors are as good, or half ones can't read the format."""
    return None if v.half is None or not form.halves else make(v.half)

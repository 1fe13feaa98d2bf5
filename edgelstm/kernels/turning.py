"""Which way the blocks of units of a step are walked: there and back.

A step begins with the weights that the last one left in the cache, where the weights are not much larger than the cache. No
number depends on it.
"""

import functools
from typing import Any

_WORDS = 2**19  # 2 MiB; of much more the little that is left does not pay


@functools.cache
def back(v: Any, form: Any, gates: int) -> Any:
    """`back(odd, n_in, units)`: whether a step goes back; `odd` tells it from the last one, n_in counts all its inputs."""
    panel = form.panel(v, gates)
    return v.inline(lambda odd, n_in, units: (odd & 1) == 1 and panel(units, n_in) <= _WORDS)

"""Index inputs (shapes, starts, pads, repeats): their numbers must follow from constants and shapes alone."""

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.op import MAX_RANK, Fact

_INTEGERS = ("int64", "int32")


def known_array(fact: Fact, role: str) -> np.ndarray:
    """The value of an index input. Raises ShapeError when it depends on the data of an input; `role` names it."""
    if fact.value is None:
        where = f" ({', '.join(sorted(fact.sources))})" if fact.sources else ""
        raise ShapeError(f"its {role} depends on the data of an input{where}; "
                         "only shapes known beforehand are supported")
    return fact.value


def known_ints(fact: Fact, role: str) -> tuple[int, ...]:
    """The integers of an index input of at most one axis. Raises ShapeError when unknown or of another kind."""
    if fact.dtype not in _INTEGERS or len(fact.shape) > 1:
        raise ShapeError(f"its {role} is {fact.dtype}{list(fact.shape)}; a list of int64 or int32 is supported")
    numbers = known_array(fact, role).reshape(-1)
    if numbers.size > 2 * MAX_RANK:
        raise ShapeError(f"its {role} has {numbers.size} numbers; arrays of at most {MAX_RANK} axes are supported")
    return tuple(int(n) for n in numbers)


def known_number(fact: Fact, role: str) -> float | int:
    """The number of an index input of one element. Raises ShapeError when unknown or of another size."""
    if any(n != 1 for n in fact.shape):
        raise ShapeError(f"its {role} has the shape {list(fact.shape)}; a single number is supported")
    return known_array(fact, role).reshape(-1)[0].item()

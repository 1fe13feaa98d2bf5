"""What the recurrent kernels are given, whatever their form."""

from typing import Any, NamedTuple

from edgelstm.cuda.launching import Args
from edgelstm.cuda.recurrence.cells import Cell
from edgelstm.cuda.recurrence.forms import Form
from edgelstm.cuda.scalars import device
from edgelstm.kernels.recurrent import Sequence


class Arrays(NamedTuple):
    """As the processors' kernels have them; `work` is in global memory."""

    p: Any
    y: Any
    work: Any
    mask: Any


class Sizes(NamedTuple):
    """The numbers that the processors' kernels are given, then those of the Form: units of a block, how often it takes its
    rows, and where in shared memory weights, sums and prepared rows begin.
    """

    batch: int
    steps: int
    units: int
    p_t: int
    p_b: int
    y_t: int
    y_b: int
    reverse: int
    hold: int
    span: int
    turns: int
    weights: int
    sums: int
    prepared: int


def arrays(args: Args) -> Arrays:
    """Those of a call."""
    return Arrays(args["p"], args["y"], args["work"], args["mask"])


def sizes(args: Args, plan: Form) -> Sizes:
    """Those of a call in a form."""
    return Sizes(*(args[key] for key in Sizes._fields[:9]), plan.span, plan.turns, *plan.memory)


def states(cell: Cell, args: Args) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The arrays that the states come from and go to."""
    starts, ends = (tuple(args[f"{state}{end}"] for state, _ in cell.carried) for end in "0n")
    return starts, ends


@device
def sequence(given, work, batch, sizes, scale):
    """What the steps have in common, with the states of `batch` rows in `work`."""
    return Sequence(given.p, given.y, work, given.mask, batch, sizes.steps, sizes.units, sizes.p_t, sizes.p_b, sizes.y_t,
                    sizes.y_b, sizes.reverse, sizes.hold, scale)

"""The recurrent cells: their products and, after each, the code that the CPU kernels run there."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from edgelstm.cuda import scalars
from edgelstm.cuda.driver import LANES
from edgelstm.cuda.recurrence.sweeps import Access, Weights, sweep
from edgelstm.cuda.scalars import device
from edgelstm.kernels import gru, lstm, recurrent, simple_rnn
from edgelstm.kernels.activate import Activation

Args = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """`states`: how many arrays work holds; `carried`: which of them are carried, by parameter name; `products`: the gates of
    each product of a step; `phases(form, rows, access)`: for each product a function `phase(sequence, step, block, weights,
    options)`; `options(args)`: what they are told.
    """

    name: str
    gates: int
    states: int
    carried: tuple[tuple[str, int], ...]
    products: tuple[int, ...]
    phases: Callable[[str, int, Access], tuple[Any, ...]]
    panels: tuple[str, str]
    options: Callable[[Args], Any]


def _vectors() -> Any:
    return scalars.make(LANES)


def _phase(run: Any, which: int = 0) -> Any:
    """The product with the first or the second panels of the state that the step begins with, or of r h, state 3."""
    if which == 0:
        return device(lambda q, step, block, weights, options: run(q, step, block, step.now, weights.first, weights.bias,
                                                                   options))
    state_at = recurrent.state_at(_vectors())
    return device(lambda q, step, block, weights, options: run(q, step, block, state_at(q, 3), weights.second, weights.bias,
                                                               options))


def _lstm(general: bool) -> Cell:
    def phases(form: str, rows: int, access: Access) -> tuple[Any, ...]:
        v = _vectors()
        rules = lstm.general_rules(v) if general else lstm.standard_rules(v)
        return (_phase(sweep(form, 4, rows, lstm.cell(v, rules), access)),)

    def options(args: Args) -> Any:
        if not general:
            return 0
        f, g, h = (_activation(args, role) for role in "fgh")
        return lstm.Options(args["peep"], args["clip"], args["input_forget"], f, g, h)

    return Cell("lstm", 4, 3, (("h", 0), ("c", 2)), (4,), phases, ("r", "r"), options)


def _gru(general: bool) -> Cell:
    def phases(form: str, rows: int, access: Access) -> tuple[Any, ...]:
        v = _vectors()
        rules = gru.general_rules(v) if general else gru.standard_rules(v)
        return (_phase(sweep(form, 3, rows, gru.reset_after(v, rules), access, biased=True)),)

    return Cell("gru", 3, 2, (("h", 0),), (3,), phases, ("r", "r"), _gru_options if general else _none)


def _gru_before(general: bool) -> Cell:
    def phases(form: str, rows: int, access: Access) -> tuple[Any, ...]:
        v = _vectors()
        rules = gru.general_rules(v) if general else gru.standard_rules(v)
        first, second, state_at = gru.reset_first(v, rules), gru.reset_cell(v, rules), recurrent.state_at(v)
        return (_phase(_told(sweep(form, 2, rows, first, access, projected=3, written=lambda q, step: state_at(q, 3)))),
                _phase(_told(sweep(form, 1, rows, second, access, projected=3)), 1))

    return Cell("gru_before", 3, 4, (("h", 0),), (2, 1), phases, ("r_zr", "r_n"), _gru_options if general else _none)


def _told(run: Any) -> Any:
    """The cells of this form are told the recurrent bias too."""
    return device(lambda q, step, block, at, r, rb, options: run(q, step, block, at, r, rb, (rb, options)))


def _simple_rnn(general: bool) -> Cell:
    def phases(form: str, rows: int, access: Access) -> tuple[Any, ...]:
        v = _vectors()
        rule = simple_rnn.general_rule(v) if general else simple_rnn.standard_rule(v)
        return (_phase(sweep(form, 1, rows, simple_rnn.cell(v, rule), access)),)

    def options(args: Args) -> Any:
        return simple_rnn.Options(args["clip"], _activation(args, "f")) if general else 0

    return Cell("simple_rnn", 1, 2, (("h", 0),), (1,), phases, ("r", "r"), options)


def _none(args: Args) -> Any:
    return 0


def _gru_options(args: Args) -> Any:
    return gru.Options(args["clip"], _activation(args, "f"), _activation(args, "g"))


def _activation(args: Args, role: str) -> Activation:
    return Activation(args[f"{role}_code"], args[f"{role}_alpha"], args[f"{role}_beta"])


def weights(cell: Cell, args: Args) -> Weights:
    """The panels and the recurrent bias of a call; cells without one get panels, which they never read there."""
    first, second = (args[name] for name in cell.panels)
    return Weights(first, second, args.get("rb", args["p"]))


@cache
def all_cells() -> dict[str, Cell]:
    """The cells by kernel name."""
    made = {"lstm": _lstm, "gru": _gru, "gru_before": _gru_before, "simple_rnn": _simple_rnn}
    return {f"{name}{'_general' * general}": make(general) for name, make in made.items() for general in (False, True)}

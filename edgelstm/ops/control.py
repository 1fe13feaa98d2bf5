"""The ops that run subgraphs: if_else and loop. Before a program is planned, the nodes that they stand for take their place."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgelstm.ops.op import Attr, Fact, NeedsFuture, Op, StateSlot, time_axes


class IfElse(Op):
    """The outputs of `then` where the condition (one bool) holds, else those of `otherwise`.

    Both subgraphs take `values` as inputs. The condition must follow from shapes and constants. A subgraph without outputs
    stands for a branch that is not supported.
    """

    name = "if_else"
    inputs = ("condition", "values*")
    outputs = ("y*",)
    attrs = {"then": Attr("graph"), "otherwise": Attr("graph")}
    foldable = False
    controls = True

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        _refuse_time(ins, time, "a branch")
        return {}


class Loop(Op):
    """Runs `body` again and again, as ONNX Loop.

    The body takes (iteration number int64, condition bool, `carried` values, captured values) and gives (condition, the
    carried values, one value for each stacked output). The loop ends after `trips` iterations, or when the condition is
    false. Outputs: the last carried values, then every stacked value along a new first axis. How often it runs must follow
    from shapes and constants.
    """

    name = "loop"
    inputs = ("trips?", "condition?", "values*")
    outputs = ("y*",)
    attrs = {"body": Attr("graph"), "carried": Attr("int")}
    foldable = False
    controls = True

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        _refuse_time((*ins, *outs), time, "a loop that is no LSTM, GRU or SimpleRNN cell")
        return {}


def _refuse_time(facts: Iterable[Fact | None], time: int, what: str) -> None:
    if any(time_axes(fact, time) for fact in facts):
        raise NeedsFuture(f"it is {what}, and works on whole sequences")


OPS = (IfElse(), Loop())

"""Control flow: an If whose condition is known is replaced by its branch; the rest is refused."""

import numpy as np
from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node

from edgelstm.errors import FormatError


@node("If")
def branch(call: Call) -> list[object]:
    then, otherwise = call.attr("then_branch"), call.attr("else_branch")
    condition = call.constant(0)
    if condition is None:
        sources = sorted(call.fact(0).sources)
        hint = f"; give the input a value with fix={{{sources[0]!r}: ...}}" if sources else ""
        call.refuse(
            f"its condition depends on {', '.join(sources) or 'the model'}{hint}; supported: a condition that follows "
            "from constants and shapes"
        )
    if condition.size != 1:
        raise FormatError(f"its condition has {condition.size} elements; one is expected")
    return call.inline(then if np.ravel(condition)[0] else otherwise, [])


@node("Loop", "Scan")
def loop(call: Call) -> None:
    call.refuse("loops are not supported; export the model with LSTM, GRU or RNN nodes")

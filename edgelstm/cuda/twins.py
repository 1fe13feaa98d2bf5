"""Which twin stands for a kernel."""

import re
from functools import cache

from edgelstm.cuda import shared
from edgelstm.cuda.fused import elements, expressions
from edgelstm.cuda.launching import Twin
from edgelstm.cuda.recurrence import integer_cells, recurrent
from edgelstm.cuda.tiled import products, rounding

_FORMAT = re.compile(r"(?P<stem>.*?)(_(?P<form>bfloat16|int8x16|int8|int4))?$")
_PANELS = {"gemm": products.gemm, "conv": products.conv}
_ELEMENTS = (elements.FORMULA, elements.COPY, elements.GATHER)


@cache
def find(name: str) -> Twin | None:
    """The twin of a kernel, None where it has none. Elements are computed by expressions, of one call or more: see fusing."""
    if name == expressions.KERNEL:
        return expressions.TWIN
    match = _FORMAT.match(name)
    stem, form = match["stem"], match["form"] or "float32"
    product = re.fullmatch(r"(gemm|conv)([134])", stem)
    if product:
        return _PANELS[product[1]](form, int(product[2]))
    if match["form"] and stem == "quantize":
        return rounding.quantize(form)
    if stem in recurrent.TWINS:
        return recurrent.TWINS[stem](form)
    found = integer_cells.twin(name) or shared.twin(name)
    return expressions.TWIN if found is None and elements.kind(name) in _ELEMENTS else found

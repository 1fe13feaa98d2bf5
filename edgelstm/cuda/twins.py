"""Which twin stands for a kernel."""

import re
from functools import cache

from edgelstm.cuda import products, recurrent, shared
from edgelstm.cuda.launching import Twin

_FORMAT = re.compile(r"(?P<stem>.*?)(_(?P<form>bfloat16|int8|int4))?$")
_PANELS = {"gemm": products.gemm, "conv": products.conv}


@cache
def find(name: str) -> Twin | None:
    """The twin of a kernel, None where it has none."""
    match = _FORMAT.match(name)
    stem, form = match["stem"], match["form"] or "float32"
    if form in ("float32", "bfloat16"):
        product = re.fullmatch(r"(gemm|conv)([134])", stem)
        if product:
            return _PANELS[product[1]](form, int(product[2]))
        if stem in recurrent.TWINS:
            return recurrent.TWINS[stem](form)
    return shared.twin(name)

"""cumsum: running sums along an axis."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.ops.op import Attr, Case, Fact, Lowering, Op, normal_axis
from edgelstm.ops.pointwise import KERNEL_TAGS, SIGNED, check_dtype, narrow, widened
from edgelstm.ops.reduce import split_at


class Cumsum(Op):
    """y[k] = x[0] + ... + x[k] along `axis`; `exclusive` leaves x[k] out, `reverse` sums from the end."""

    name = "cumsum"
    attrs = {"axis": Attr("int"), "reverse": Attr("bool", False), "exclusive": Attr("bool", False)}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        check_dtype("x", ins[0].dtype, SIGNED)
        normal_axis(attrs["axis"], ins[0].rank)
        return [Fact(ins[0].shape, ins[0].dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x, axis = np.atleast_1d(ins[0]), attrs["axis"]
        x = np.flip(x, axis) if attrs["reverse"] else x
        y = np.cumsum(x, axis, dtype=x.dtype)
        y = y - x if attrs["exclusive"] else y
        return [(np.flip(y, axis) if attrs["reverse"] else y).reshape(ins[0].shape)]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, normal_axis(attrs["axis"], ins[0].rank))] if ins[0].rank else []

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x = ins[0] if ins[0].dtype == "float32" else widened(low, ins[0])
        outer, n, inner = split_at(x.shape, normal_axis(attrs["axis"], len(x.shape)))
        flags = {"reverse": int(attrs["reverse"]), "exclusive": int(attrs["exclusive"])}

        def run(y: Any) -> None:
            low.call(f"cumsum_{KERNEL_TAGS[x.dtype]}", x=x, y=y, outer=outer, n=n, inner=inner, **flags)

        if x.dtype == "float32":
            run(outs[0])
        else:
            narrow(low, run, outs[0])

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(31)
        for shape, axis in (((1,), 0), ((5, 17), 1), ((33, 3), 0), ((2, 65, 4), 1)):
            for reverse in (False, True):
                attrs = {"axis": axis, "reverse": reverse, "exclusive": not reverse}
                yield Case(f"{shape} {attrs}", [rng.normal(size=shape).astype("float32")], attrs, atol=1e-5)
                yield Case(f"int64 {shape} {attrs}", [rng.integers(-9, 9, shape)], {**attrs, "exclusive": reverse})


OPS = (Cumsum(),)

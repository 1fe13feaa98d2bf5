"""Blocks of a cluster, which are neighbours along x: each writes into the shared memory of the others, and all meet at a
barrier of the hardware. From compute capability 9.0 on.
"""

from typing import Any

from edgelstm.cuda.driver import SIMULATED, cuda, extending, types
from edgelstm.cuda.scalars import device

_MEET = "barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;"
_STORE = ("{ .reg .b64 whole; .reg .b32 at; cvta.to.shared.u64 whole, $0; cvt.u32.u64 at, whole; "
          "mapa.shared::cluster.u32 at, at, $1; st.shared::cluster.f32 [at], $2; }")


def _made_barrier() -> Any:
    """`barrier()`: where all threads of a cluster meet."""
    if SIMULATED:
        return lambda: None
    ir, _, intrinsic = extending()

    @intrinsic
    def barrier(context: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            code = ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), _MEET, "~{memory}", side_effect=True)
            builder.call(code, [], attrs=("convergent",))
            return context.get_dummy_value()

        return types.void(), codegen

    return barrier


def _made_store() -> Any:
    """`store(array, i, block, value)`: a float32 into element i of an array in the shared memory of a block of the cluster."""
    if SIMULATED:
        return lambda array, i, block, value: None
    ir, cgutils, intrinsic = extending()

    @intrinsic
    def store(context: Any, array: Any, i: Any, block: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            held = context.make_array(array)(context, builder, values[0])
            given = [cgutils.get_item_pointer(context, builder, array, held, [values[1]]),
                     context.cast(builder, values[2], block, types.int32), values[3]]
            kind = ir.FunctionType(ir.VoidType(), [each.type for each in given])
            builder.call(ir.InlineAsm(kind, _STORE, "l,r,f,~{memory}", side_effect=True), given)
            return context.get_dummy_value()

        return types.void(array, i, block, types.float32), codegen

    return store


_barrier, _store = _made_barrier(), _made_store()


@device
def send(array, at):
    """Element `at` of an array in shared memory to its place in all other blocks, the next one first."""
    value, own, blocks = array[at], cuda.blockIdx.x, cuda.gridDim.x
    for ahead in range(1, blocks):
        peer = own + ahead
        _store(array, at, peer - blocks if peer >= blocks else peer, value)


@device
def meet(counters):
    """Returns when all threads of all blocks have come; they see what any of them has written or sent before. The counters are
    for blocks that are no cluster.
    """
    _barrier()

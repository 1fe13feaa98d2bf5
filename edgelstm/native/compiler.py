"""One kernel to one object, through the cache where it has it."""

from edgelstm import kernels
from edgelstm.errors import DependencyError
from edgelstm.native import cache
from edgelstm.native.optimise import emit, target_machine
from edgelstm.native.target import Target


def kernel_object(name: str, target: Target) -> bytes:
    """The object file of a kernel: from the cache, which needs no numba, or compiled and then kept."""
    found = cache.find_kernel(name, target)
    return compile_kernel(name, target) if found is None else found


def compile_kernel(name: str, target: Target) -> bytes:
    """Lowers a kernel, takes the object that the same IR gave before or makes one, and keeps both in the cache."""
    ir = kernel_ir(name, target)
    key = cache.object_name(ir, target)
    content = cache.find_object(key) or emit(ir, target)
    cache.keep_kernel(name, target, key, content)
    return content


def kernel_ir(name: str, target: Target) -> str:
    """The LLVM IR of a kernel written for the target's vectors and width of addresses; needs numba."""
    try:
        from edgelstm.native import frontend
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "numba":
            raise
        raise DependencyError(
            f"kernel {name!r} is not in the kernel cache for this machine and numba, which compiles it, is not "
            "installed: pip install numba, or ship a cache made by `edgelstm warm` and set EDGELSTM_CACHE to it"
        ) from None
    ir = frontend.kernel_ir(kernels.get(name), target.lanes, target.dot, target.registers)
    if target.address_bits != 32:
        return ir
    from edgelstm.native.narrow import narrow

    return narrow(ir, target_machine(target))


def ir_object(ir: str, target: Target) -> bytes:
    """The object of IR that is at hand, through the cache."""
    key = cache.object_name(ir, target)
    found = cache.find_object(key)
    if found is None:
        found = emit(ir, target)
        cache.keep_object(key, found)
    return found

"""One kernel, or the executor, to one object and one image, through the cache where it has them."""

from edgelstm import kernels
from edgelstm.errors import DependencyError
from edgelstm.native import cache
from edgelstm.native.executor import EXECUTE, executor_ir
from edgelstm.native.image import Image
from edgelstm.native.linking import image
from edgelstm.native.optimise import PASSES, emit, target_machine
from edgelstm.native.target import Target


def kernel_object(name: str, target: Target) -> bytes:
    """The object file of a kernel: from the cache, which needs no numba, or compiled and then kept."""
    found = cache.find_kernel(name, target)
    return compile_kernel(name, target) if found is None else found


def compile_kernel(name: str, target: Target) -> bytes:
    """Lowers a kernel, takes the object that the same IR gave before or makes one, and keeps both in the cache."""
    ir = kernel_ir(name, target)
    key = cache.object_name(ir, PASSES, target)
    content = cache.find_object(key) or emit(ir, target)
    cache.keep_kernel(name, target, key, content)
    return content


def executor_object(target: Target) -> bytes:
    """The object of the executor, from the cache or made and then kept."""
    return ir_object(executor_ir(target), target)


def loadable(name: str, target: Target) -> tuple[bytes, Image | None]:
    """The object of a kernel or of the executor, and its image, which is kept; None where it has none."""
    content = executor_object(target) if name == EXECUTE else kernel_object(name, target)
    return content, keep_image(name, target, content)


def keep_image(name: str, target: Target, content: bytes) -> Image | None:
    """The image of an object, stored for processes to come; None where it has none."""
    found = image(content)
    if found is None:
        return None
    if name != EXECUTE:
        found = found._replace(params=kernels.get(name).spelled)
    cache.keep_image(name, target, found)
    return found


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
    key = cache.object_name(ir, PASSES, target)
    found = cache.find_object(key)
    if found is None:
        found = emit(ir, target)
        cache.keep_object(key, found)
    return found

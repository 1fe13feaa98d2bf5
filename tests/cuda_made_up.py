"""The driver of made_up_driver.c, in a process that finds it as libcuda.so.1: what was called, what shall fail."""

import ctypes
import inspect
from contextlib import contextmanager

from numba import cuda


class Launched(ctypes.Structure):
    """What made_up_driver.c keeps of the last launch."""

    _fields_ = [("numbers", ctypes.c_uint32 * 8), ("stream", ctypes.c_void_p), ("attribute", ctypes.c_uint32),
                ("value", ctypes.c_uint32), ("words", ctypes.c_uint64 * 256)]  # fmt: skip


made_up = ctypes.CDLL("libcuda.so.1")
made_up.made_up_calls.restype = ctypes.c_char_p
made_up.made_up_launch.restype = ctypes.POINTER(Launched)


def bodiless(function=None, *, real=cuda.jit, **options):
    """cuda.jit without the body of kernels, which would take most of the time and is never run."""
    if function is None:
        return lambda function: bodiless(function, **options)
    if options.get("device"):
        return real(function, **options)
    return real(eval(f"lambda {', '.join(inspect.signature(function).parameters)}: None"), **options)


cuda.jit = bodiless


def calls(work, *given):
    """The calls of the driver that some work makes. It pops the context that it pushes, but leaves a thread one."""
    made_up.made_up_forget()
    depth = made_up.made_up_depth()
    work(*given)
    assert made_up.made_up_depth() == (depth or 1)
    return made_up.made_up_calls().decode().split()


@contextmanager
def failing(name, error, after=0, times=1):
    made_up.made_up_failure(name.encode(), after, times, error)
    try:
        yield
    finally:
        made_up.made_up_failure(b"", 0, 0, 0)

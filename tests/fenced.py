"""`python -m tests.fenced FOLDER`: the machine code of a native build over memory that ends, then begins, at a forbidden page.

Prints the outputs of both as hexadecimal; the process dies where a byte outside of a block is touched.
"""

import ctypes
import json
import mmap
import sys
from pathlib import Path

import numpy as np

PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def fenced(nbytes: int, *, at_end: bool) -> int:
    """The address of so many bytes between two forbidden pages, at the end or the beginning of what lies between."""
    between = max(-(-nbytes // PAGE), 1) * PAGE
    base = LIBC.mmap(None, between + 2 * PAGE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    for forbidden in (base, base + PAGE + between):
        assert LIBC.mprotect(forbidden, PAGE, 0) == 0
    return base + PAGE + (between - nbytes if at_end else 0)


def outputs(folder: Path, steps: int, *, at_end: bool) -> list[str]:
    """What `run` gives for seeded inputs."""
    listed, rng = json.loads((folder / "model.json").read_text()), np.random.default_rng(0)
    library, name, frames, shown = ctypes.CDLL(str(folder / listed["library"])), listed["name"], [], []
    for port in listed["inputs"] + listed["outputs"]:
        if port["frame"] is None:
            continue
        shape = (steps if port["time"] is not None else 1, *port["frame"])
        values = rng.standard_normal(shape) if port["dtype"] == "float32" else rng.integers(0, 5, shape)
        array = values.astype(port["dtype"])
        frames.append(ctypes.c_void_p(fenced(array.nbytes, at_end=at_end)))
        ctypes.memmove(frames[-1], array.tobytes(), array.nbytes)
        if port in listed["outputs"]:
            shown.append((frames[-1].value, array.nbytes))
    blocks = [ctypes.c_void_p(fenced(listed[f"{block}_nbytes"], at_end=at_end)) for block in ("state", "arena")]
    if listed["weights"]:
        blob = (folder / listed["weights"]).read_bytes()
        blocks.insert(0, ctypes.c_void_p(fenced(len(blob), at_end=at_end)))
        ctypes.memmove(blocks[0], blob, len(blob))
    library[f"{name}_init"](blocks[-2])
    library[f"{name}_run"](*blocks, ctypes.c_int32(steps), *frames)
    return [ctypes.string_at(*block).hex() for block in shown]


if __name__ == "__main__":
    for steps in (1, 5):
        found = [outputs(Path(sys.argv[1]), steps, at_end=at_end) for at_end in (True, False)]
        assert found[0] == found[1], found

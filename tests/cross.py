"""Built models run on other machines: by qemu's user mode under Linux, on its Cortex-M boards by semihosting.

A program is the model's library, a main made here and a board file of tests/boards; it needs no C library. What it prints are
the 32-bit words of the outputs, so that nothing is rounded on the way.
"""

import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edgelstm
from edgelstm.aot.plan import Frame, StepProgram, step_program
from edgelstm.aot.report import BuildReport
from edgelstm.aot.targets import find
from edgelstm.graph import Graph

Arrays = dict[str, np.ndarray]

BOARDS = Path(__file__).parent / "boards"
_SEMIHOSTING = ("-nographic", "-monitor", "none", "-serial", "none", "-chardev", "stdio,id=console",
                "-semihosting-config", "enable=on,target=native,chardev=console")
_BARE = ("-O1", "-Wall", "-Werror", "-ffreestanding", "-nostdlib", "-Wl,-z,noexecstack")


@dataclass(frozen=True)
class Machine:
    """Where objects of a build target run: the compiler and linker to use and the emulator's command, none for this machine."""

    target: str
    compiler: str
    flags: tuple[str, ...] = ()
    emulator: tuple[str, ...] = ()
    board: str = "linux"
    cpu: str | None = None
    libraries: tuple[str, ...] = ("-lgcc",)

    @property
    def name(self) -> str:
        return self.target if self.cpu is None else f"{self.target}-{self.cpu}"

    @property
    def missing(self) -> str:
        """What is not installed, or nothing."""
        tools = [self.compiler, *self.emulator[:1]]
        return ", ".join(tool for tool in tools if shutil.which(tool) is None)


def _cortex_m(core: str, board: str, *flags: str) -> Machine:
    emulator = ("qemu-system-arm", "-M", board, *_SEMIHOSTING, "-kernel")
    return Machine(core, "arm-none-eabi-gcc", (f"-mcpu={core}", "-mthumb", *flags, "-T", str(BOARDS / "cortex_m.ld")), emulator,
                   "cortex_m")


_RISCV32 = ("-Wl,-m,elf32lriscv",)
MACHINES = {
    machine.name: machine
    for machine in (
        Machine("x86_64-linux", "x86_64-linux-gnu-gcc", ("-static",)),
        Machine("x86_64-linux", "x86_64-linux-gnu-gcc", ("-static",), cpu="x86-64-v2"),
        Machine("aarch64-linux", "aarch64-linux-gnu-gcc", ("-static",), ("qemu-aarch64-static",)),
        Machine("aarch64-linux", "aarch64-linux-gnu-gcc", ("-static",), ("qemu-aarch64-static",), cpu="cortex-a76"),
        Machine("armv7-linux", "arm-linux-gnueabihf-gcc", ("-static",), ("qemu-arm-static",)),
        Machine("riscv64-linux", "riscv64-linux-gnu-gcc", ("-static",), ("qemu-riscv64-static",)),
        Machine("riscv32-none", "riscv64-linux-gnu-gcc", ("-static", "-march=rv32imac", "-mabi=ilp32", *_RISCV32),
                ("qemu-riscv32-static",), libraries=()),
        Machine("riscv32f-none", "riscv64-linux-gnu-gcc", ("-static", "-march=rv32imafc", "-mabi=ilp32f", *_RISCV32),
                ("qemu-riscv32-static",), libraries=()),
        _cortex_m("cortex-m0", "microbit"),
        _cortex_m("cortex-m4", "mps2-an386", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
        _cortex_m("cortex-m7", "mps2-an500", "-mfloat-abi=hard", "-mfpu=fpv5-d16"),
        _cortex_m("cortex-m55", "mps3-an547", "-mfloat-abi=hard"),
    )
}

_PROGRAM = """\
#include "board.h"
#include "{prefix}.h"

{arrays}
static _Alignas(64) unsigned char state[{macro}_STATE_BYTES + 1], arena[{macro}_ARENA_BYTES + 1];

void show(const uint32_t *words, int count);
void show(const uint32_t *words, int count)
{{
    char line[9];
    for (int i = 0; i < count; i++) {{
        for (int digit = 0; digit < 8; digit++)
            line[digit] = "0123456789abcdef"[words[i] >> (28 - 4 * digit) & 15];
        line[8] = '\\n';
        put(line, 9);
    }}
}}

void program(void)
{{
    {prefix}_init(state);
    {body}
    finish(0);
}}
"""


@dataclass(frozen=True)
class Built:
    """A model compiled for a machine, in a folder of its own."""

    machine: Machine
    program: StepProgram
    report: BuildReport
    folder: Path

    @property
    def content(self) -> bytes:
        """The object."""
        return (self.folder / f"{self.program.prefix}.o").read_bytes()

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one sequence, from `run` and step by step alike; `inputs` are frames, one behind the other in time."""
        steps = _steps(self.program, inputs)
        whole, single = (self._execute(inputs, calls(self.program, steps), steps) for calls in (_run_call, _step_calls))
        for name, array in whole.items():
            np.testing.assert_array_equal(single[name], array, "single steps and run differ")
        return whole

    def traced(self, inputs: Arrays, steps: int) -> Counter[bytes]:
        """How often the instruction at each address was executed by a program of so many steps, all on the first frame."""
        log = self.folder / "trace"
        binary = self._link(inputs, _step_calls(self.program, steps, advance=False), steps)
        self._emulate(binary, ("-singlestep", "-d", "exec,nochain", "-D", str(log)))
        with log.open("rb") as lines:
            found = Counter(line.split(b"[", 1)[1].split(b"/", 2)[1] for line in lines if line.startswith(b"Trace"))
        log.unlink()
        return found

    def _execute(self, inputs: Arrays, calls: str, steps: int) -> Arrays:
        shows = "".join(f"\n    show((const uint32_t *)out_{f.identifier}, {_words(f, steps)});" for f in self.program.outputs)
        printed = self._emulate(self._link(inputs, calls + shows, steps), ())
        return self._outputs(np.array([int(line, 16) for line in printed.split()], np.uint32), steps)

    def _emulate(self, binary: Path, options: tuple[str, ...]) -> str:
        emulator = self.machine.emulator
        command = [*emulator[:1], *options, *emulator[1:], str(binary)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-400:]}"
        return done.stdout

    def _link(self, inputs: Arrays, body: str, steps: int) -> Path:
        prefix, machine = self.program.prefix, self.machine
        arrays = [_array(frame, inputs[frame.name]) for frame in self.program.inputs]
        arrays += [f"static _Alignas(8) uint8_t out_{f.identifier}[{4 * _words(f, steps)}];" for f in self.program.outputs]
        text = _PROGRAM.format(prefix=prefix, macro=prefix.upper(), arrays="\n".join(arrays), body=body)
        (self.folder / "program.c").write_text(text)
        command = [machine.compiler, *_BARE, "-I", str(BOARDS), *machine.flags, "program.c", f"lib{prefix}.a",
                   str(BOARDS / f"{machine.board}.c"), *machine.libraries, "-o", "program"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stderr[-2000:]}"
        return self.folder / "program"

    def _outputs(self, words: np.ndarray, steps: int) -> Arrays:
        found, at = {}, 0
        for frame in self.program.outputs:
            shape = frame.shape if frame.time is None else (steps, *frame.shape)
            count = _words(frame, steps)
            found[frame.name] = np.frombuffer(words[at : at + count].tobytes(), frame.dtype).reshape(shape)
            at += count
        assert at == words.size, f"{words.size} words were printed, {at} expected"
        return found


def build(graph: Graph, machine: Machine, folder: Path, *, optimize: str = "speed") -> Built:
    """Compile a model for a machine, into a folder."""
    target = find(machine.target, machine.cpu)
    report = edgelstm.build(graph, folder, machine.target, cpu=machine.cpu, optimize=optimize, soft_float=not target.fpu)
    return Built(machine, step_program(graph, folder.name, target.machine.lanes), report, folder)


def frames(program: StepProgram, arrays: Arrays) -> Arrays:
    """One row of a model's inputs or outputs, as a program takes and gives them."""
    ports = {frame.name: frame for frame in (*program.inputs, *program.outputs)}
    found = {}
    for name, array in arrays.items():
        frame = ports[name]
        row = array if frame.batch is None else array.take([0], frame.batch)
        found[name] = row if frame.time is None else np.moveaxis(row, frame.time, 0)
    return found


def _words(frame: Frame, steps: int) -> int:
    """32-bit words of an output; those of these tests are whole words."""
    assert frame.nbytes % 4 == 0, f"{frame.name} is no whole number of words"
    return frame.nbytes // 4 * (1 if frame.time is None else steps)


def _steps(program: StepProgram, inputs: Arrays) -> int:
    return next((inputs[frame.name].shape[0] for frame in program.inputs if frame.time is not None), 1)


def _array(frame: Frame, values: np.ndarray) -> str:
    octets = np.ascontiguousarray(values, frame.dtype).tobytes()
    return f"static const _Alignas(8) uint8_t in_{frame.identifier}[] = {{{','.join(map(str, octets))}}};"


def _run_call(program: StepProgram, steps: int) -> str:
    ports = [f"(const void *)in_{frame.identifier}" for frame in program.inputs]
    ports += [f"(void *)out_{frame.identifier}" for frame in program.outputs]
    return f"{program.prefix}_run(state, arena, {steps}, {', '.join(ports)});"


def _step_calls(program: StepProgram, steps: int, *, advance: bool = True) -> str:
    """Single steps; without `advance` all of them on the first frame."""
    def at(frame: Frame) -> str:
        return f" + t * {frame.nbytes}" if advance and frame.time is not None else ""

    ports = [f"(const void *)(in_{frame.identifier}{at(frame)})" for frame in program.inputs]
    ports += [f"(void *)(out_{frame.identifier}{at(frame)})" for frame in program.outputs]
    return f"for (int t = 0; t < {steps}; t++) {program.prefix}_step(state, arena, {', '.join(ports)});"

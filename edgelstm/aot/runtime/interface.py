"""model.json of a native build: what the machine code takes, gives and carries."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgelstm.errors import FormatError
from edgelstm.ports import Port

FILE = "model.json"
PROBES = "probes.npz"
FORMAT = 1


class Frame(NamedTuple):
    """An input or output of the machine code: the place of its port among all of them, and its shape in one step."""

    index: int
    shape: tuple[int, ...]


class State(NamedTuple):
    """A carried state: where it lies in the block, its axis of rows, and the ports of an explicit one."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    batch: int | None
    source: str
    result: str


class Probe(NamedTuple):
    """Inputs, and the outputs that an independent `source` gave for them."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    atol: float
    rtol: float
    source: str


class Streaming(NamedTuple):
    """A build can always stream."""

    ok: bool = True
    node: str = ""
    reason: str = ""
    open: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "can stream"


@dataclass(frozen=True)
class Interface:
    """A built model as users see it, the sizes of its memory, and what its processor must have: bits of words, by name."""

    folder: Path
    name: str
    library: str
    weights: str
    weights_nbytes: int
    cpu: str
    needs: dict[str, tuple[int, int]]
    rows: int
    independent_rows: bool
    state_nbytes: int
    arena_nbytes: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    input_frames: tuple[Frame, ...]
    output_frames: tuple[Frame, ...]
    carried: tuple[State, ...]
    proofs: tuple[tuple[float, float, str], ...]

    @property
    def states(self) -> tuple[tuple[str, str], ...]:
        """The (input, output) pairs of explicit states."""
        return tuple((state.source, state.result) for state in self.carried if state.source)

    @property
    def probes(self) -> tuple[Probe, ...]:
        """Inputs and expected outputs to verify with."""
        if not self.proofs:
            return ()
        with np.load(self.folder / PROBES, allow_pickle=False) as arrays:
            return tuple(Probe({port.name: arrays[f"{number}.in.{k}"] for k, port in enumerate(self.inputs)},
                               {port.name: arrays[f"{number}.out.{k}"] for k, port in enumerate(self.outputs)}, *proof)
                         for number, proof in enumerate(self.proofs))

    def input(self, name: str) -> Port:
        return next(port for port in self.inputs if port.name == name)

    def output(self, name: str) -> Port:
        return next(port for port in self.outputs if port.name == name)


def read(folder: Path) -> Interface:
    """The interface of the build in a folder. Raises FormatError where there is none or it is damaged."""
    path = folder / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise FormatError(f"{path}: has the format {found['format']!r}; this version reads {FORMAT}: build the model again")
        return _interface(folder, found)
    except OSError as error:
        raise FormatError(f"{folder}: holds no native build ({FILE}: {error.strerror}); make one with `edgelstm build MODEL -o "
                          "FOLDER`, or give an .elstm file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: is damaged ({type(error).__name__}: {error}); build the model again") from None


def _interface(folder: Path, found: dict[str, Any]) -> Interface:
    plain = {key: found[key] for key in ("name", "library", "weights", "weights_nbytes", "cpu", "rows", "independent_rows",
                                         "state_nbytes", "arena_nbytes")}
    states = tuple(State(**{**state, "shape": tuple(state["shape"])}) for state in found["states"])
    proofs = tuple((atol, rtol, source) for atol, rtol, source in found["probes"])
    inputs, outputs = found["inputs"], found["outputs"]
    needs = {name: (int(word), int(bit)) for name, (word, bit) in found["needs"].items()}
    return Interface(folder, **plain, needs=needs, inputs=_ports(inputs), outputs=_ports(outputs), input_frames=_frames(inputs),
                     output_frames=_frames(outputs), carried=states, proofs=proofs)


def _ports(listed: list[dict[str, Any]]) -> tuple[Port, ...]:
    return tuple(Port(port["name"], port["dtype"], tuple(port["shape"]), port["name"], port["batch"], port["time"])
                 for port in listed)


def _frames(listed: list[dict[str, Any]]) -> tuple[Frame, ...]:
    """The ports that the machine code sees: explicit states have no frame."""
    return tuple(Frame(index, tuple(port["frame"])) for index, port in enumerate(listed) if port["frame"] is not None)

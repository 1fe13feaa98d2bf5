"""Shared fixtures: seeded random numbers, small models, and the corpus of real models where there is one."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from edgelstm.builder import GraphBuilder
from edgelstm.graph import Graph
from tests import cuda_simulator

# They run from tests/test_cuda.py on the simulator, and from tests/test_cuda_made_up.py, in processes of their own.
collect_ignore = [] if cuda_simulator.CHOSEN else cuda_simulator.files()
if not cuda_simulator.ON_MADE_UP_DRIVER:
    collect_ignore.append("test_cuda_host.py")


# With several processes these begin first, so that none of them is left over at the end.
LONGEST = ("test_kernel_contract.py", "test_kernel_formats.py", "test_build_cross.py", "test_cuda_code.py", "test_cuda.py",
           "test_cuda_ptx.py", "test_corpus_import.py", "test_keras_property.py", "test_build_wasm.py", "test_build_memory.py",
           "test_build_c.py")


def pytest_configure(config):
    config.option.loadscopereorder = False  # pytest-xdist would begin with the files of most tests, not those that take longest


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def corpus_folder() -> Path | None:
    """The folder that EDGELSTM_CORPUS names, or None when it isn't set."""
    given = os.environ.get("EDGELSTM_CORPUS")
    return Path(given) if given else None


def corpus_models(*prefixes: str) -> list[Path]:
    """Folders of the corpus models whose names start with one of the prefixes."""
    folder = corpus_folder()
    if folder is None:
        return []
    return sorted(p.parent for p in folder.glob("public/*/meta.json") if p.parent.name.startswith(prefixes))


def meta_of(folder: Path) -> dict:
    return json.loads((folder / "meta.json").read_text())


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The corpus folder. Skips when EDGELSTM_CORPUS is not set, fails when it is set and holds no models."""
    folder = corpus_folder()
    if folder is None:
        pytest.skip("EDGELSTM_CORPUS is not set: the corpus of real models is not part of the repository")
    assert list(folder.glob("public/*/meta.json")), f"EDGELSTM_CORPUS={folder} holds no models"
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


@pytest.fixture(scope="module")
def trusted_files():
    """For files that Keras itself wrote a moment ago: looking each over in a process of its own takes most of the time."""
    from edgelstm_converters.keras import hdf5

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5, "_walk_elsewhere", lambda *_: None)
        yield


class Layers:
    """Builds small recurrent graphs for tests; weights are seeded."""

    def __init__(self, seed: int = 3) -> None:
        self.builder = GraphBuilder()
        self.rng = np.random.default_rng(seed)

    def weights(self, *shape: int) -> str:
        return self.builder.constant((self.rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32), "w")

    def recurrent(self, op: str, x: str, units: int, *, gates: int, sequences: bool = True, **attrs) -> str:
        """A forward cell over x (B, T, F); gives y, or the last h."""
        features = self.builder.dim(x, 2)
        parts = [x, self.weights(features, gates * units), self.weights(units, gates * units), self.weights(gates * units)]
        outputs = self.builder.add_many(op, *parts, name=op, used=(sequences, not sequences), **attrs)
        return outputs[0] if sequences else outputs[1]

    def dense(self, x: str, units: int) -> str:
        features = self.builder.dim(x, self.builder.rank(x) - 1)
        return self.builder.add("dense", x, self.weights(features, units), self.weights(units), name="dense")

    def graph(self, **outputs: str) -> Graph:
        from edgelstm import axes, passes

        for name, value in outputs.items():
            self.builder.output(name, value)
        return axes.mark(passes.simplify(self.builder.build()))


@pytest.fixture
def layers() -> Layers:
    return Layers()


def stacked_graph(features: int = 5, units: int = 17, sequences: bool = True) -> Graph:
    """x (batch, time, features) -> LSTM -> GRU -> SimpleRNN -> Dense 3."""
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", features))
    y = net.recurrent("lstm", x, units, gates=4)
    y = net.recurrent("gru", y, units, gates=3)
    y = net.recurrent("simple_rnn", y, units, gates=1, sequences=sequences)
    return net.graph(y=net.dense(y, 3))


@pytest.fixture
def stacked() -> Graph:
    return stacked_graph()


if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":

    @pytest.fixture(autouse=True)
    def blocks_at_once():
        """On the simulator threads wait for each other instead of asking again and again, which takes a tenth of the time."""
        from tests.cuda_grid import all_blocks_at_once

        with all_blocks_at_once():
            yield

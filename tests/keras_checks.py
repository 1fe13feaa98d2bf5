"""What the tests of Keras layers share: inputs, and the comparison of an imported model with Keras itself."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgelstm_converters.keras import read

import edgelstm
from edgelstm import reference
from edgelstm.conversion import convert
from edgelstm.graph import Graph

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras", reason="the oracle of these tests is Keras itself")

FLOATS = (7, 5)
RTOL, ATOL = 2e-4, 2e-5


def frames(rng: np.random.Generator) -> np.ndarray:
    """(3, 7, 5), with some steps all 0.5, which the masking models leave out."""
    x = rng.standard_normal((3, *FLOATS)).astype(np.float32)
    x[0, 5:], x[1, 2], x[2, 0] = 0.5, 0.5, 0.5
    return x


def saved(model: Any, folder: Path) -> Path:
    path = folder / "model.keras"
    model.save(path)
    return path


def randomise(model: Any) -> None:
    """Weights that no layer starts with."""
    rng = np.random.default_rng(7)
    for variable in model.weights:
        if "seed" not in variable.path:
            variable.assign(
                rng.uniform(0.1, 0.6, variable.shape) * rng.choice([-1, 1], variable.shape)
                if "variance" not in variable.path
                else rng.uniform(0.5, 2, variable.shape)
            )


def check(model: Any, folder: Path, inputs: Sequence[np.ndarray], native: bool = False) -> Graph:
    """The imported graph gives what Keras gives, by the float64 reference and, with `native`, by the kernels too."""
    randomise(model)
    expected = as_list(model(list(inputs) if len(inputs) > 1 else inputs[0]))
    path = saved(model, folder)
    graph = read(path)
    named = {port.name: x for port, x in zip(graph.inputs, inputs, strict=True)}
    compare(reference.run(graph, named), expected)
    if native:
        compare(edgelstm.load(convert(path, probe=False)).run(named), expected)
    return graph


def compare(found: dict[str, np.ndarray], expected: Sequence[Any]) -> None:
    assert len(found) == len(expected)
    for name, ours, theirs in zip(found, found.values(), expected, strict=True):
        np.testing.assert_allclose(ours, np.asarray(theirs), rtol=RTOL, atol=ATOL, err_msg=name)


def as_list(found: Any) -> list[Any]:
    return list(found) if isinstance(found, (list, tuple)) else [found]

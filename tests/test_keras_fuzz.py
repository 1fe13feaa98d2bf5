"""Keras files with random damage: whatever is done to a file, only errors of EdgeLSTM come out of reading it.

The number of damaged files of each kind is that of EDGELSTM_EXAMPLES, 60 without it.
"""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgelstm_converters import read
from edgelstm_converters.keras import hdf5
from edgelstm_converters.keras.registry import kinds

from edgelstm.errors import EdgeLSTMError
from tests.test_keras_containers import architecture, h5_file, keras_file, layers, legacy_weights, tree_weights

h5py = pytest.importorskip("h5py", reason="these tests write HDF5 files")

EXAMPLES = int(os.environ.get("EDGELSTM_EXAMPLES", "60"))
TENSOR = {"class_name": "__keras_tensor__", "config": {"keras_history": ["frames", 0, 0]}}
JUNK = (
    None, True, False, 0, 1, -1, 7, 1.5, -1e300, 2**40, 10**30, "", "lstm", "tanh", "__keras_tensor__", "NaN", "\x00", "é" * 9,
    [], [None], [[]], [1, 2], ["frames", 0, 0], [["frames", 0, 0]], ["memory", -1, 9], [[[["frames", 0, 0, {}]]]],
    {}, {"class_name": None}, {"class_name": "LSTM", "config": {}}, {"config": None}, {"value": None}, TENSOR,
)
KINDS = (*(kind for kind in kinds() if not kind.startswith("tf.")), "Functional", "Sequential", "TFOpLambda", "GetItem")
KEYS = (
    "units", "activation", "axis", "layer", "cell", "cells", "layers", "mode", "axes", "function", "dims",
    "target_shape", "size", "padding", "mean", "variance", "scale", "filters", "kernel_size", "mask_value",
    "merge_mode", "dtype", "batch_shape", "name", "input_layers", "output_layers", "inbound_nodes", "class_name",
    "module", "config", "n", "pool_size", "groups", "alpha", "return_state", "recurrent_activation", "num_heads",
    "key_dim", "negative_slope", "max_value", "newshape",
)


def functional() -> dict[str, Any]:
    """The architecture of a small functional model of Keras 2 with a wrapper, a merge and an inner model."""
    def called(kind: str, name: str, sources: list[str], **config: Any) -> dict[str, Any]:
        nodes = [[[source, 0, 0, {}] for source in sources]] if sources else []
        return {"class_name": kind, "name": name, "config": {"name": name} | config, "inbound_nodes": nodes}

    entry, lstm, _ = layers()
    inner = {"class_name": "LSTM", "config": lstm["config"] | {"name": "inside", "return_sequences": True}}
    members = [
        called("InputLayer", "frames", [], **{k: v for k, v in entry["config"].items() if k != "name"}),
        called("Masking", "masking", ["frames"], mask_value=0.0),
        called("Bidirectional", "both", ["masking"], merge_mode="concat", layer=inner),
        called("TimeDistributed", "each", ["both"], layer={"class_name": "Dense", "config": {"name": "row", "units": 4}}),
        called("Add", "joined", ["each", "each"]),
        called("LSTM", "memory", ["joined"], units=4),
        called("Dense", "scores", ["memory"], units=2, activation={"class_name": "ReLU", "config": {"max_value": 6.0}}),
    ]
    config = {"name": "net", "layers": members, "input_layers": [["frames", 0, 0]], "output_layers": [["scores", 0, 0]]}
    return {"class_name": "Functional", "config": config, "keras_version": "2.15.0"}


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from places(node[key])


def damaged(model: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A copy with one to four of its nodes deleted, replaced, moved or renamed."""
    model = copy.deepcopy(model)
    for _ in range(rng.integers(1, 5)):
        found = list(places(model))
        if not found:
            return model
        container, key = found[rng.integers(len(found))]
        action = rng.integers(5)
        if action == 0:
            del container[key]
        elif action == 1:
            container[key] = copy.deepcopy(JUNK[rng.integers(len(JUNK))])
        elif action == 2:
            other, its_key = found[rng.integers(len(found))]
            container[key] = copy.deepcopy(other[its_key])
        elif isinstance(container, dict) and "class_name" in container:
            container["class_name"] = KINDS[rng.integers(len(KINDS))]
        elif isinstance(container, dict):
            container[KEYS[rng.integers(len(KEYS))]] = copy.deepcopy(JUNK[rng.integers(len(JUNK))])
    return model


def only_our_errors(path: Path, **options: Any) -> None:
    try:
        read(path, **options)
    except EdgeLSTMError as error:
        assert str(error)


@pytest.mark.parametrize("source", ["sequential", "functional"])
def test_damaged_architectures(source, tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "_walk_elsewhere", lambda *_: None)  # the weights are sound here, and a process each costs much
    model = architecture(layers()) if source == "sequential" else functional()
    with h5py.File(tmp_path / "legacy.h5", "w") as file:
        legacy_weights(file)
    (tmp_path / "tree.h5").write_bytes(tree_weights())
    for seed in range(EXAMPLES):
        rng = np.random.default_rng(seed)
        text = json.dumps(damaged(model, rng))
        (tmp_path / "model.json").write_text(text)
        try:
            only_our_errors(tmp_path / "model.json", weights=tmp_path / ("tree.h5" if rng.integers(2) else "legacy.h5"))
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__} from {text}") from error


@pytest.mark.parametrize("write", [keras_file, h5_file])
def test_damaged_bytes(write, tmp_path):
    path = write(tmp_path / ("model.keras" if write is keras_file else "model.h5"))
    content = np.frombuffer(path.read_bytes(), np.uint8)
    for seed in range(EXAMPLES):
        rng = np.random.default_rng(seed)
        changed = content.copy()
        for _ in range(rng.integers(1, 6)):
            start, length = rng.integers(len(content)), int(rng.choice([1, 1, 1, 2, 4, 8, 40]))
            changed[start : start + length] = rng.choice([0, 255, rng.integers(256)])
        path.write_bytes(changed.tobytes())
        try:
            only_our_errors(path)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}") from error

"""Custom Keras layers: refused until a handler is registered; the handler of the documentation computes what it says."""

import re
from pathlib import Path

import numpy as np
import pytest
from edgelstm_converters.keras import registry

import edgelstm
from edgelstm.errors import UnsupportedError
from tests.test_keras_containers import FEATURES, h5_file, layers

pytest.importorskip("h5py", reason="these tests write HDF5 files")

PAGE = Path(__file__).parent.parent / "docs" / "custom-layers.md"
NAME = "AttentionWeightedAverage"
MASK_VALUE = -1.0


@pytest.fixture(autouse=True)
def known_layers():
    """Forgets after the test what it registered."""
    before = dict(registry._ENTRIES)
    yield
    registry._ENTRIES.clear()
    registry._ENTRIES.update(before)


def file_with_attention(path: Path, w: np.ndarray, **config) -> Path:
    """Masking and an attention layer, in an HDF5 file of Keras 2."""
    entry, *_ = layers()
    masking = {"class_name": "Masking", "config": {"name": "masking", "mask_value": MASK_VALUE}}
    attention = {"class_name": NAME, "config": {"name": "memory", "return_attention": False} | config}
    return h5_file(path, [entry, masking, attention], weights={"lstm": [w], "dense": []})


def averaged(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """What the layer computes, (batch, features)."""
    counts = np.any(x != MASK_VALUE, axis=-1)
    x = np.where(counts[..., None], x, 0)
    scores = (x @ w)[..., 0]
    weights = np.exp(scores - scores.max(axis=1, keepdims=True)) * counts
    shares = weights / (weights.sum(axis=1, keepdims=True) + 1e-7)
    return (x * shares[..., None]).sum(axis=1)


def registered_by_the_page() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(block, str(PAGE), "exec"), {})


def test_the_documented_layer(tmp_path, rng):
    w = rng.standard_normal((FEATURES, 1)).astype(np.float32)
    path = file_with_attention(tmp_path / "model.h5", w)
    with pytest.raises(UnsupportedError, match=rf"memory.*{NAME}.*register_layer"):
        edgelstm.convert(path)
    registered_by_the_page()
    x = rng.standard_normal((3, 6, FEATURES)).astype(np.float32)
    x[1, 2:4], x[2, 5] = MASK_VALUE, MASK_VALUE
    found = edgelstm.load(edgelstm.convert(path)).predict(x)
    np.testing.assert_allclose(found, averaged(x, w), rtol=1e-5, atol=1e-6)


def test_a_handler_refuses_for_itself(tmp_path):
    registered_by_the_page()
    path = file_with_attention(tmp_path / "model.h5", np.ones((FEATURES, 1), np.float32), return_attention=True)
    with pytest.raises(UnsupportedError, match=r"memory.*return_attention"):
        edgelstm.convert(path)


def test_a_handler_lacks_a_weight(tmp_path):
    registered_by_the_page()
    path = file_with_attention(tmp_path / "model.h5", np.ones((FEATURES, 2), np.float32))
    with pytest.raises(edgelstm.FormatError, match=r"memory.*'w'.*shape"):
        edgelstm.convert(path)

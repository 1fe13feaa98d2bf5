"""Random recurrent Keras models: built and run by Keras, saved, converted and run natively; the outputs must be equal.

The number of models is that of EDGELSTM_EXAMPLES, 100 without it; more of them by one command:

    EDGELSTM_EXAMPLES=5000 python -m pytest tests/test_keras_property.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import edgelstm
from tests.keras_models import Drawn, inputs_of, models

pytestmark = pytest.mark.usefixtures("trusted_files")
EXAMPLES = int(os.environ.get("EDGELSTM_EXAMPLES", "100"))
RTOL, ATOL = 1e-4, 2e-5
FORMATS = ("keras", "keras", "keras", "h5", "json")


def convert(model, form: str, folder: Path) -> edgelstm.Graph:
    """The graph of a model that was saved in one of the containers of Keras."""
    if form != "json":
        model.save(folder / f"model.{form}")
        return edgelstm.convert(folder / f"model.{form}", probe=False)
    (folder / "model.json").write_text(model.to_json())
    model.save_weights(folder / "model.weights.h5")
    return edgelstm.convert(folder / "model.json", weights=folder / "model.weights.h5", probe=False)


def check_calls(drawn: Drawn, model: edgelstm.Model, seed: int) -> None:
    """One call equals predict; further calls of a stateful model equal a stream that goes on."""
    stream = model.stream(batch=drawn.batch) if drawn.stateful and model.streaming.ok else None
    for call in range(2 if stream else 1):
        arrays = inputs_of(drawn, seed + call)
        expected = as_list(drawn.model(arrays if len(arrays) > 1 else arrays[0]))
        named = dict(zip([spec.name for spec in model.inputs], arrays, strict=True))
        found = as_list(stream.run(named if len(named) > 1 else arrays[0]) if stream else model.predict(named))
        assert len(found) == len(expected)
        for array, reference in zip(found, expected, strict=True):
            np.testing.assert_allclose(array, reference, rtol=RTOL, atol=ATOL)


def as_list(found) -> list:
    return list(found) if isinstance(found, (list, tuple)) else [found]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=EXAMPLES, deadline=None, derandomize="EDGELSTM_EXAMPLES" not in os.environ,
          suppress_health_check=list(HealthCheck))
@given(drawn=models(), form=st.sampled_from(FORMATS), seed=st.integers(0, 2**16))
def test_native_equals_keras(drawn, form, seed, tmp_path_factory):
    note(drawn.model.to_json())
    graph = convert(drawn.model, form, tmp_path_factory.mktemp("model"))
    check_calls(drawn, edgelstm.load(graph), seed)

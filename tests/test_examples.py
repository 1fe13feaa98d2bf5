"""The example programs run as a user would start them, and give what the frameworks gave."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgelstm

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(program: str, *args: str) -> str:
    """What an example prints; it must end well."""
    done = subprocess.run([sys.executable, str(EXAMPLES / program), *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("model", ["model.keras", "model.onnx"])
def test_forecast(model, tmp_path):
    text = run("forecast/forecast.py", "--model", str(EXAMPLES / "forecast" / model), "--save", str(tmp_path / "m.elstm"))
    lines = [line for line in text.splitlines() if re.search(r"\d+\.\d{3} +\d+\.\d{3}$", line)]
    rows = {line[:36].strip(): float(line[36:].split()[1]) for line in lines}
    naive = min(error for name, error in rows.items() if name != "LSTM")
    assert rows["LSTM"] < 0.8 * naive
    assert float(re.search(r"(\S+) largest difference", text)[1]) < 1e-5
    assert float(re.search(r"(\S+) us a step", text)[1]) < 1000
    assert edgelstm.load(tmp_path / "m.elstm").verify().ok


def test_forecast_equals_the_stored_outputs_of_keras():
    with np.load(EXAMPLES / "forecast" / "reference.npz") as stored:
        frames, expected = stored["inputs"], stored["outputs"]
    for source in ("model.keras", "model.onnx"):
        model = edgelstm.load(edgelstm.convert(EXAMPLES / "forecast" / source, probe=False))
        stream = model.stream()
        np.testing.assert_allclose([stream.step(frame) for frame in frames], expected, atol=1e-5)
        stream.reset()
        np.testing.assert_allclose(stream.run(frames[None])[0], expected, atol=1e-5)


def test_text_generation_continues_as_keras_did():
    stored = json.loads((EXAMPLES / "text_generation" / "reference.json").read_text())
    text = run("text_generation/generate.py", "--seed", stored["seed"], "--length", str(len(stored["continuation"])),
               "--temperature", "0")
    assert stored["seed"] + stored["continuation"] in text


def test_text_generation_draws_the_same_text_for_the_same_seed():
    options = ("--length", "40", "--temperature", "0.8", "--random-seed", "5")
    texts = [run("text_generation/generate.py", *options) for _ in range(2)]
    assert texts[0] == texts[1]
    assert len(texts[0]) > 40


def test_probabilities_equal_those_of_keras():
    with np.load(EXAMPLES / "text_generation" / "reference.npz") as stored:
        tokens, expected = stored["tokens"], stored["probabilities"]
    model = edgelstm.load(edgelstm.convert(EXAMPLES / "text_generation" / "model.keras", probe=False))
    np.testing.assert_allclose(model.predict(tokens[None])[0], expected, atol=1e-5)
    stream = model.stream()
    np.testing.assert_allclose([stream.step(token) for token in tokens], expected, atol=1e-5)

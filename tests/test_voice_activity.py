"""The voice activity example: its rules on made-up probabilities, and the Silero model of the corpus against ONNX Runtime."""

import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "voice_activity"))

import detect

import edgelstm

CORPUS = Path(os.environ.get("EDGELSTM_CORPUS", "missing"))
MODEL = CORPUS / "public" / "third_silero_vad_16k_op15" / "model.onnx"
RECORDING = CORPUS / "data" / "silero_test.wav"
needs_corpus = pytest.mark.skipif(not MODEL.exists(), reason="EDGELSTM_CORPUS holds no Silero model")
SECONDS = detect.FRAME / detect.RATE


def test_segments_bridge_short_pauses_and_drop_short_bursts():
    rules = detect.Rules(padding=0.0)
    quiet, speech = [0.05] * 10, [0.9] * 20
    found = detect.segments(np.array([*quiet, *speech, 0.1, *speech, *quiet, 0.9, *quiet, *speech]), rules)
    expected = [(10, 51), (72, 92)]
    np.testing.assert_allclose(found, np.array(expected) * SECONDS)


def test_frames_overlap_and_cover_everything():
    samples = np.arange(1, 1100, dtype=np.float32)
    found = list(detect.frames(samples))
    assert [frame.shape for frame in found] == [(576,)] * 3
    assert not found[0][:64].any()
    np.testing.assert_array_equal(found[1][:64], found[0][-64:])
    np.testing.assert_array_equal(np.concatenate([frame[64:] for frame in found])[:1099], samples)


def test_other_recordings_are_refused(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(64))
    with pytest.raises(SystemExit, match="8000 Hz, 2 channels"):
        detect.read_wav(tmp_path / "a.wav")


@needs_corpus
def test_probabilities_equal_those_of_onnx_runtime():
    import onnxruntime

    samples = detect.read_wav(RECORDING)[: 10 * detect.RATE]
    session = onnxruntime.InferenceSession(MODEL)
    state, expected = np.zeros((2, 1, 128), np.float32), []
    for frame in detect.frames(samples):
        shown, state = session.run(None, {"input": frame[None], "state": state, "sr": np.array(detect.RATE)})
        expected.append(shown[0, 0])
    model = detect.open_model(MODEL)
    assert model.graph.states == (("state", "stateN"),)
    np.testing.assert_allclose(detect.speech_probabilities(model, samples), expected, atol=2e-5)


@needs_corpus
@pytest.mark.parametrize("fix", [None, {"sr": 16000}])
def test_the_model_keeps_its_dynamic_axes(fix):
    graph = edgelstm.convert(MODEL, fix=fix)
    assert graph.inputs[0].shape == ("batch", "sequence")
    model = edgelstm.load(graph)
    assert model.streaming.open == ("sequence",)
    frames = np.random.default_rng(0).standard_normal((3, 576)).astype(np.float32)
    feed = {"input": frames, "state": np.zeros((2, 3, 128), np.float32), "sr": np.asarray(16000)}
    found = model.run({port.name: feed[port.name] for port in graph.inputs})
    assert found["output"].shape == (3, 1)
    stream = model.stream(batch=3)
    stepped = stream.step({port.name: feed[port.name] for port in graph.inputs if port.name != "state"})
    np.testing.assert_allclose(stepped, found["output"], atol=1e-6)


@needs_corpus
def test_the_program_prints_segments(tmp_path):
    program = Path(detect.__file__)
    options = ["--model", str(MODEL), "--plot", str(tmp_path / "vad.png")]
    done = subprocess.run([sys.executable, str(program), str(RECORDING), *options], capture_output=True, text=True)
    assert done.returncode == 0 or "matplotlib" in done.stderr, done.stderr
    assert "of 60.0 s are speech" in done.stdout

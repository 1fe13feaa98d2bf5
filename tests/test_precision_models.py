"""What reduced precision costs models that somebody trained, on real input; most need the corpus of real models."""

import pytest

from bench import real_models

SPEECH = "data/silero_test.wav"


@pytest.fixture
def writer(corpus):
    folder = corpus / "public/third_textgenrnn_default"
    return folder / "model.json", folder / "weights.hdf5", corpus / "data/textgenrnn_vocab.json"


@pytest.fixture
def denoiser(corpus):
    return corpus / "public/third_dtln_model1/model.onnx", corpus / SPEECH


@pytest.fixture
def voice(corpus):
    return corpus / "public/third_silero_vad_16k_op15/model.onnx", corpus / SPEECH


def test_greedy_text_stays_the_same_in_bfloat16(writer):
    assert real_models.text_difference(*writer, "bfloat16") == 0


def test_the_denoiser_loses_less_than_a_tenth_of_a_decibel_in_int8(denoiser):
    assert real_models.denoised_db(*denoiser, "float32") > real_models.NOISE_DB + 5
    assert real_models.denoising_loss(*denoiser, "int8") < 0.1


@pytest.mark.parametrize(("calibrated", "limit"), [(False, 0.02), (True, 0.005)])
def test_the_voice_detector_in_bfloat16(calibrated, limit, voice):
    assert real_models.voice_difference(*voice, "bfloat16", calibrated=calibrated) < limit


@pytest.mark.parametrize(("precision", "others", "calibrated", "limit"), [
    ("bfloat16", "float32", False, 0.005), ("int8", "float32", False, 0.03), ("int8", "float32", True, 0.02),
    ("int8", "bfloat16", True, 0.02)])
def test_the_voice_detector_with_its_lstm_alone_reduced(precision, others, calibrated, limit, voice):
    """Calibrated on half of the recording it reaches the aim of 0.02 in int8; not calibrated it is bound to get no worse."""
    assert real_models.voice_difference(*voice, precision, real_models.RECURRENT, others, calibrated) < limit


@pytest.mark.parametrize(("precision", "calibrated", "limit"), [("int8", False, 0.06), ("int8", True, 0.02),
                                                                ("int8x16", True, 0.02)])
def test_the_voice_detector_in_int8(precision, calibrated, limit, voice):
    """Its spectrum and convolutions read signals whose parts differ by orders of magnitude."""
    assert real_models.voice_difference(*voice, precision, calibrated=calibrated) < limit


def test_the_example_writes_the_same_in_bfloat16():
    """Calibrated on its text, from its own start. From other starts narrow choices may fall otherwise: docs/quantization.md."""
    exact, reduced = real_models.example_texts("bfloat16", True, 0)[0]
    assert len(exact) == real_models.LETTERS and exact == reduced

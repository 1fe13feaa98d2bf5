"""What reduced precision costs models that somebody trained, on real input; needs the corpus of real models."""

import pytest

from bench import real_models


def test_greedy_text_stays_the_same_in_bfloat16(corpus):
    assert real_models.text_difference(corpus, "bfloat16") == 0


def test_the_denoiser_loses_less_than_a_tenth_of_a_decibel_in_int8(corpus):
    assert real_models.denoised_db(corpus, "float32") > real_models.NOISE_DB + 5
    assert real_models.denoising_loss(corpus, "int8") < 0.1


def test_the_voice_detector_in_bfloat16(corpus):
    assert real_models.voice_difference(corpus, "bfloat16") < 0.02


@pytest.mark.parametrize(("precision", "limit"), [("bfloat16", 0.005), ("int8", 0.03)])
def test_the_voice_detector_with_its_lstm_alone_reduced(corpus, precision, limit):
    """A bound against regressions: in int8 the aim of 0.02 is missed, see docs/quantization.md."""
    assert real_models.voice_difference(corpus, precision, real_models.RECURRENT) < limit

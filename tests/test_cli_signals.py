"""What files of signals may not be: numbers that float32 cannot hold, and sound that ends before its header says so."""

import wave

import numpy as np
import pytest

from edgelstm.cli.signals import read_arrays
from edgelstm.errors import FormatError


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e39", " 3.5e38 "])
def test_numbers_beyond_float32(number, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(f"a,b\n1,2\n3,{number}\n")
    with pytest.raises(FormatError, match="column 2 is larger"):
        read_arrays(path)


def test_infinity_that_is_meant(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("1,inf\n-Infinity,nan\n3.4e38,-3.4e38\n")
    np.testing.assert_array_equal(read_arrays(path)[None], [[1, np.inf], [-np.inf, np.nan], [3.4e38, -3.4e38]])


@pytest.mark.parametrize("missing", [1, 2, 20, 200])
def test_sound_cut_short(missing, tmp_path):
    path = sound(tmp_path)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(FormatError, match="cut short; its header tells 200 bytes"):
        read_arrays(path)


def test_sound_of_unknown_length(tmp_path):
    """A writer that cannot go back to the header leaves the largest length there."""
    path = sound(tmp_path)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert read_arrays(path)[None].shape == (100,)


def sound(folder):
    path = folder / "x.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(200))
    return path

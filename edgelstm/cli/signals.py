"""Arrays from and to files: .npy, .npz, .csv and .wav."""

import os
import tokenize
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgelstm.errors import FormatError, ShapeError

INPUT_ENDINGS = (".npy", ".npz", ".csv", ".wav")
BAD_ARRAY = (ValueError, EOFError, MemoryError, OverflowError, SyntaxError, tokenize.TokenError)  # what a header can cause
OUTPUT_ENDINGS = (".npy", ".npz", ".csv")
_LARGEST = np.finfo(np.float32).max
_ENDLESS = 0x7FFFFFFF - 0xFFFF  # bytes of sound that a header tells where the writer did not know its end


def read_arrays(path: Path) -> dict[str | None, np.ndarray]:
    """The arrays of a file by name; None names the array of a file that holds just one. Raises FormatError naming the file."""
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv, ".wav": _read_wav}
    try:
        return readers[path.suffix.lower()](path)
    except OSError as error:
        raise FormatError(f"{path}: cannot read: {error.strerror or error}") from None


def _read_npy(path: Path) -> dict[str | None, np.ndarray]:
    try:
        with open(path, "rb") as file:
            return {None: np.lib.format.read_array(file, allow_pickle=False)}
    except BAD_ARRAY as error:
        raise FormatError(f"{path}: not a .npy file of numbers: {error}") from None


def _read_npz(path: Path) -> dict[str | None, np.ndarray]:
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (*BAD_ARRAY, AttributeError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path}: not a .npz file of numbers: {error}") from None


def _read_csv(path: Path) -> dict[str | None, np.ndarray]:
    """A row per time step, a column per feature; one column gives a 1-D signal. A first row without numbers is a header."""
    try:
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        lines = lines[_header_rows(lines):]
        rows = np.loadtxt(lines, np.float64, delimiter=",", comments=None, ndmin=2) if lines else None
    except ValueError as error:
        raise FormatError(f"{path}: not a table of numbers separated by commas: {error}") from None
    if rows is None or not rows.size:
        raise FormatError(f"{path}: holds no numbers")
    for row, column in np.argwhere(np.abs(rows) > _LARGEST):
        cell = lines[row].split(",")[column].strip()
        if "inf" not in cell.lower():
            where = f"{cell} in column {column + 1}"
            raise FormatError(f"{path}: {where} is larger than a float32 can be; write inf if that is meant")
    return {None: rows[:, 0] if rows.shape[1] == 1 else rows}


def _header_rows(lines: list[str]) -> int:
    def is_number(cell: str) -> bool:
        try:
            float(cell)
        except ValueError:
            return False
        return True

    return 0 if len(lines) < 2 or any(is_number(cell) for cell in lines[0].split(",")) else 1


def _read_wav(path: Path) -> dict[str | None, np.ndarray]:
    """float32 in [-1, 1), (samples,) for one channel and (samples, channels) for more. 8 bits are unsigned, as WAV has it."""
    import wave

    try:
        with wave.open(str(path), "rb") as file:
            width, channels = file.getsampwidth(), file.getnchannels()
            told = file.getnframes() * width * channels
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise FormatError(f"{path}: not a WAV file of PCM samples: {error}") from None
    if width not in (1, 2, 3, 4):
        raise FormatError(f"{path}: has samples of {8 * width} bits; supported are 8, 16, 24 and 32")
    if len(data) < told < _ENDLESS:
        raise FormatError(f"{path}: is cut short; its header tells {told:,} bytes of sound and it holds {len(data):,}")
    usable = len(data) - len(data) % (width * channels)
    samples = _samples(np.frombuffer(data, np.uint8, usable).reshape(-1, width))
    return {None: samples if channels == 1 else samples.reshape(-1, channels)}


def _samples(octets: np.ndarray) -> np.ndarray:
    """Little-endian samples (n, width) of unsigned bytes as float32 in [-1, 1)."""
    count, width = octets.shape
    if width == 1:
        return (octets[:, 0].astype(np.float32) - 128) / 128
    wide = np.zeros((count, 4), np.uint8)
    wide[:, 4 - width:] = octets
    return (wide.view("<i4")[:, 0] / 2.0**31).astype(np.float32)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write outputs: all of them by name to .npz, a single one to .npy or .csv. Raises ShapeError and FormatError."""
    ending = path.suffix.lower()
    if ending != ".npz" and len(arrays) != 1:
        raise ShapeError(f"the model has the outputs {list(arrays)}; write them to a .npz file")
    array = next(iter(arrays.values()))
    beside = path.parent / f".{path.name}.{os.urandom(6).hex()}.part{ending}"
    try:
        try:
            _write(beside, ending, arrays, array)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise FormatError(f"{path}: cannot write: {error.strerror or error}") from None


def _write(path: Path, ending: str, arrays: Mapping[str, np.ndarray], array: np.ndarray) -> None:
    if ending == ".npz":
        _write_npz(path, arrays)
    elif ending == ".npy":
        with open(path, "wb") as file:
            np.save(file, array)
    else:
        rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
        np.savetxt(path, rows, fmt="%.9g" if array.dtype.kind == "f" else "%d", delimiter=",")


def _write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """As numpy.savez, which cannot store an array called `file`."""
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)

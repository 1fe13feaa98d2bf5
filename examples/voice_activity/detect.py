"""Finds speech in a WAV file with the Silero VAD model, the way a device would: one frame of 32 ms after the other.

The model is not part of this repository. Any Silero VAD v5 file for 16 kHz with the inputs `input`, `state` and `sr` will do,
for example `silero_vad_16k_op15.onnx` of https://github.com/snakers4/silero-vad (MIT licence), or an .elstm file made from it.
"""

import argparse
import sys
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edgelstm

RATE = 16000  # samples a second
FRAME = 512  # new samples a step
CONTEXT = 64  # samples of the frame before that the model sees again


@dataclass(frozen=True)
class Rules:
    """When a probability starts and ends a segment; times in seconds, as in Silero's own `get_speech_timestamps`."""

    threshold: float = 0.5
    release: float = 0.35
    min_speech: float = 0.25
    min_silence: float = 0.1
    padding: float = 0.03


def read_wav(path: Path) -> np.ndarray:
    """The samples of a 16-bit mono WAV file at 16 kHz, float32 between -1 and 1."""
    with wave.open(str(path), "rb") as file:
        found = file.getframerate(), file.getnchannels(), 8 * file.getsampwidth()
        if found != (RATE, 1, 16):
            rate, channels, bits = found
            raise SystemExit(f"{path}: {rate} Hz, {channels} channels, {bits} bits; expected {RATE} Hz, 1 channel, 16 bits")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / 32768


def open_model(path: Path) -> edgelstm.Model:
    """The model for frames of FRAME + CONTEXT samples, converted when it is an ONNX file."""
    if path.suffix == ".elstm":
        return edgelstm.load(path)
    return edgelstm.load(edgelstm.convert(path, fix={"sr": RATE, "sequence": FRAME + CONTEXT}))


def frames(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Every frame with the end of the one before in front of it, shape (CONTEXT + FRAME,); the last is filled with zeros."""
    missing = -len(samples) % FRAME
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples, np.zeros(missing, np.float32)])
    for start in range(0, len(padded) - CONTEXT, FRAME):
        yield padded[start : start + CONTEXT + FRAME]


def speech_probabilities(model: edgelstm.Model, samples: np.ndarray) -> np.ndarray:
    """The probability of speech in every frame."""
    stream = model.stream()
    return np.array([stream.step(frame)[0] for frame in frames(samples)])


def segments(probabilities: np.ndarray, rules: Rules) -> list[tuple[float, float]]:
    """(start, end) in seconds of every stretch of speech."""
    seconds = FRAME / RATE
    found: list[list[float]] = []
    speaking, quiet_since = False, 0.0
    for i, probability in enumerate(probabilities):
        now = i * seconds
        if probability >= rules.threshold:
            if not speaking:
                found.append([now, now])
            speaking, quiet_since = True, 0.0
        elif speaking and probability < rules.release:
            quiet_since = quiet_since or now
            if now - quiet_since >= rules.min_silence:
                found[-1][1], speaking, quiet_since = quiet_since, False, 0.0
    end = len(probabilities) * seconds
    if speaking:
        found[-1][1] = end
    return [
        (max(start - rules.padding, 0.0), min(stop + rules.padding, end))
        for start, stop in found
        if stop - start >= rules.min_speech
    ]


def plot(samples: np.ndarray, probabilities: np.ndarray, spoken: list[tuple[float, float]], path: Path) -> None:
    """Draw the probability over the waveform."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise SystemExit("--plot needs matplotlib: pip install edgelstm[plot]") from None
    figure, axes = pyplot.subplots(figsize=(12, 4), layout="constrained")
    axes.plot(np.arange(len(samples)) / RATE, samples, color="0.7", linewidth=0.3, label="waveform")
    times = np.arange(len(probabilities)) * FRAME / RATE
    axes.step(times, probabilities, where="post", color="tab:blue", label="speech probability")
    for start, stop in spoken:
        axes.axvspan(start, stop, color="tab:green", alpha=0.15)
    axes.set(xlabel="time (s)", ylim=(-1.05, 1.05), xlim=(0, len(samples) / RATE))
    axes.legend(loc="lower right")
    figure.savefig(path)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description="Find speech in a WAV file.")
    parser.add_argument("wav", type=Path, help="16-bit mono WAV file at 16 kHz")
    parser.add_argument("--model", type=Path, required=True, help="the Silero VAD model, .onnx or .elstm")
    parser.add_argument("--threshold", type=float, default=Rules.threshold, help="probability from which a frame is speech")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the probability over the waveform")
    arguments = parser.parse_args()
    samples = read_wav(arguments.wav)
    probabilities = speech_probabilities(open_model(arguments.model), samples)
    rules = Rules(threshold=arguments.threshold, release=max(arguments.threshold - 0.15, 0.01))
    spoken = segments(probabilities, rules)
    for start, stop in spoken:
        print(f"{start:8.2f} s to {stop:8.2f} s")
    total = sum(stop - start for start, stop in spoken)
    print(f"{len(spoken)} segments, {total:.1f} of {len(samples) / RATE:.1f} s are speech")
    if arguments.plot is not None:
        plot(samples, probabilities, spoken, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What reduced precision costs models that somebody trained, on real input: text generators, a denoiser, a voice detector.

Only the text generator of the examples is part of this repository. The files of the others are given by who measures.
"""

import importlib.util
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import edgelstm
from bench.runners import in_precision
from edgelstm.graph import Graph
from edgelstm.precision import apply, calibrate, layers, resolve
from edgelstm.precision.reduce import Request, reduce

EXAMPLES = Path(__file__).parent.parent / "examples"
START, WINDOW = "<s>", 40  # of the text generators
FRAME, SHIFT = 512, 128  # samples of the denoiser's frames
NOISE_DB = 5.0  # of speech over white noise
LETTERS, STARTS = 200, 50
RECURRENT = ("lstm", "gru", "simple_rnn")

Files = Sequence[Path]
Check = tuple[str, float | None, Callable[..., float]]  # what it tells, the most it may be, how it is found, given the files


def figures(writer: Files | None, denoiser: Files | None, voice: Files | None) -> Iterator[dict[str, Any]]:
    """The cost of each model, with `missing` where its files are not given.

    `writer`: architecture, weights and table of characters of a text generator; `denoiser` and `voice`: a model and a recording
    of speech.
    """
    yield from example_figures()
    for option, files in (("writer", writer), ("denoiser", denoiser), ("voice", voice)):
        for what, limit, cost in CHECKS[option]:
            yield _row(what, limit) | ({"missing": f"give --{option}"} if files is None else {"value": float(cost(*files))})


def example_figures() -> Iterator[dict[str, Any]]:
    """How long greedy texts of the example's model in bfloat16 follow those in float32, without and with calibration data."""
    for calibrated in (False, True):
        how = f"text generator example in bfloat16, {'' if calibrated else 'not '}calibrated on its text"
        yield _row(f"{how}: greedy characters of {LETTERS} that differ", 0.0 if calibrated else None) | {
            "value": float(_differing(example_texts("bfloat16", calibrated, 0)[0]))}
        same = [not _differing(pair) for pair in example_texts("bfloat16", calibrated, STARTS)]
        yield _row(f"the same: starts of {STARTS} from which any of {LETTERS} differ", None) | {
            "value": float(STARTS - sum(same))}


def example_texts(precision: str, calibrated: bool, starts: int) -> list[list[str]]:
    """Greedy texts of the example's model, in float32 and in a precision: from the example's own start, or from `starts` places
    that lie evenly in the text it was trained on, which is also the calibration data."""
    program, folder = _program("text_generation/generate.py"), EXAMPLES / "text_generation"
    vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    text = (folder / "text.txt").read_text(encoding="utf-8")
    places = np.linspace(0, len(text) - WINDOW, starts).astype(int)
    seeds = [text[place : place + WINDOW] for place in places] or [
        json.loads((folder / "reference.json").read_text(encoding="utf-8"))["seed"]]
    graph = edgelstm.convert(folder / "model.keras", probe=False)
    tokens = np.array([[vocabulary.index(character) for character in text]], np.int32)
    reduced = apply(graph, resolve(graph, precision), calibrate(graph, tokens) if calibrated else None)
    models = [edgelstm.load(graph), edgelstm.load(reduced)]
    return [["".join(program.generate(model, vocabulary, seed, LETTERS, temperature=0)) for model in models] for seed in seeds]


def text_difference(architecture: Path, weights: Path, characters: Path, precision: str) -> int:
    """The same of a published model, which sees the last 40 characters at every step."""
    numbers = json.loads(characters.read_text(encoding="utf-8"))
    graph = edgelstm.convert(architecture, weights=weights, probe=False)
    return _differing([_written(edgelstm.load(in_precision(graph, name)), numbers[START]) for name in ("float32", precision)])


def voice_difference(model: Path, recording: Path, precision: str, ops: Collection[str] = (), others: str = "float32",
                     calibrated: bool = False) -> float:
    """The largest difference of the probability of speech between a precision and float32, over the recording.

    With `ops` only the layers of these ops have it, the others that of `others`. `calibrated` on the recording's first half.
    """
    program, graph, samples = _voice(model, recording)
    chosen = {node.name: precision if node.op in ops else others for node in layers(graph)} if ops else precision
    seen = _frames(program, samples[: samples.size // 2]) if calibrated else None
    return _largest_difference(program, samples, graph, reduce(graph, Request(chosen, seen)).graph)


def voice_difference_in_auto(model: Path, recording: Path, max_error: float) -> float:
    """The same in the precisions that `auto` chooses on this machine, with the recording as calibration data."""
    program, graph, samples = _voice(model, recording)
    found = reduce(graph, Request("auto", _frames(program, samples), max_error))
    return _largest_difference(program, samples, graph, found.graph)


def denoising_loss(model: Path, recording: Path, precision: str) -> float:
    """dB that the denoised recording loses to the one of float32."""
    exact, reduced = (denoised_db(model, recording, name) for name in ("float32", precision))
    return exact - reduced


def denoised_db(model: Path, recording: Path, precision: str) -> float:
    """Scale-invariant signal-to-distortion ratio of the recording with noise, denoised by the mask, against the clean one."""
    clean = _program("voice_activity/detect.py").read_wav(recording)
    noise = np.random.default_rng(5).standard_normal(clean.size)
    noise *= np.sqrt(np.mean(np.square(clean, dtype=np.float64)) / np.mean(noise**2)) * 10 ** (-NOISE_DB / 20)
    stream = edgelstm.load(in_precision(_converted(model), precision)).stream()
    return si_sdr_db(clean, denoised(stream, (clean + noise).astype(np.float32)))


def denoised(stream: edgelstm.Stream, noisy: np.ndarray) -> np.ndarray:
    """Frames' magnitudes times the mask, with the noisy phase, overlapped and added."""
    result = np.zeros(noisy.size)
    for start in range(0, noisy.size - FRAME + 1, SHIFT):
        spectrum = np.fft.rfft(noisy[start : start + FRAME])
        mask = stream.step(np.abs(spectrum).astype(np.float32)[None])
        result[start : start + FRAME] += np.fft.irfft(spectrum * mask.reshape(-1)) * (SHIFT / FRAME)
    return result


def si_sdr_db(clean: np.ndarray, found: np.ndarray) -> float:
    """10 log10 of the energy of the part of a signal along the clean one over that of the rest."""
    clean = clean.astype(np.float64)
    target = clean * (found @ clean) / (clean @ clean)
    return float(10 * np.log10(np.sum(target**2) / np.sum((found - target) ** 2)))


def _voice(model: Path, recording: Path) -> tuple[ModuleType, Graph, np.ndarray]:
    """The example program, the detector's graph and the recording."""
    program = _program("voice_activity/detect.py")
    graph = _converted(model, sr=program.RATE, sequence=program.FRAME + program.CONTEXT)
    return program, graph, program.read_wav(recording)


def _frames(program: ModuleType, samples: np.ndarray) -> np.ndarray:
    """The detector's inputs, time steps in front."""
    return np.stack(list(program.frames(samples)))[:, None]


def _largest_difference(program: ModuleType, samples: np.ndarray, *graphs: Graph) -> float:
    exact, reduced = (program.speech_probabilities(edgelstm.load(graph), samples) for graph in graphs)
    return float(np.max(np.abs(exact - reduced)))


def _written(model: edgelstm.Model, start: int) -> list[int]:
    """The most probable next character, again and again."""
    written = [start]
    for _ in range(LETTERS):
        seen = np.zeros((1, WINDOW), np.int32)
        last = written[-WINDOW:]
        seen[0, WINDOW - len(last) :] = last
        written.append(int(np.argmax(model.predict(seen))))
    return written


def _differing(texts: Sequence[Sequence[Any]]) -> int:
    return sum(a != b for a, b in zip(*texts, strict=True))


def _row(what: str, limit: float | None) -> dict[str, Any]:
    return {"row": "models", "size": "", "what": what, "target": limit}


@cache
def _program(path: str) -> ModuleType:
    """An example program as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, EXAMPLES / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def _converted(model: Path, **fix: int) -> Graph:
    return edgelstm.convert(model, fix=fix or None, probe=False)


CHECKS: dict[str, tuple[Check, ...]] = {
    "writer": ((f"text generator in bfloat16: greedy characters of {LETTERS} that differ", 0.0,
                partial(text_difference, precision="bfloat16")),),
    "denoiser": (("denoiser in int8: SI-SDR lost, dB", 0.1, partial(denoising_loss, precision="int8")),),
    "voice": (
        ("voice detector in int8: largest difference of a probability", 0.02, partial(voice_difference, precision="int8")),
        ("the same, calibrated on the first half", 0.02, partial(voice_difference, precision="int8", calibrated=True)),
        ("in int8x16, calibrated", 0.02, partial(voice_difference, precision="int8x16", calibrated=True)),
        ("only the LSTM in int8", None, partial(voice_difference, precision="int8", ops=RECURRENT)),
        ("only the LSTM in int8, calibrated", 0.02,
         partial(voice_difference, precision="int8", ops=RECURRENT, calibrated=True)),
        ("all but the LSTM in int8, calibrated", 0.02,
         partial(voice_difference, precision="float32", ops=RECURRENT, others="int8", calibrated=True)),
        ("LSTM in int8, convolutions in bfloat16, calibrated", 0.02,
         partial(voice_difference, precision="int8", ops=RECURRENT, others="bfloat16", calibrated=True)),
        ("all in bfloat16", 0.02, partial(voice_difference, precision="bfloat16")),
        ("all in bfloat16, calibrated", 0.02, partial(voice_difference, precision="bfloat16", calibrated=True)),
        ("in auto with max_error 0.02, calibrated on all of it", 0.02, partial(voice_difference_in_auto, max_error=0.02)),
    ),
}

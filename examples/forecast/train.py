"""Trains the forecaster on the Mauna Loa CO2 record and writes everything that forecast.py needs, beside itself.

Needs keras, jax, onnx and onnxruntime, and statsmodels when series.csv is to be made again. Takes about a minute on
two cores.
"""

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import onnx
import onnxruntime
from export_onnx import onnx_forecaster
from forecast import EVALUATION_START, HERE, SERIES, Series, first_step, input_frames, read_series

SEED = 1
VALIDATION_START = date(1988, 1, 1)
UNITS = (24, 24)
WINDOW = 52
LEARNING_RATE = 2e-3
EPOCHS = 60
SERIES_COMMENT = """\
# Weekly mean atmospheric CO2 (ppm, parts per million by volume), Mauna Loa Observatory, Hawaii, 1958-2001.
# Source: C.D. Keeling and T.P. Whorf (2004), Scripps / CDIAC, as shipped by statsmodels (datasets.co2). Public domain.
"""


def write_series(path: Path) -> None:
    """Writes the series that statsmodels ships; a week without measurement has an empty value."""
    from statsmodels.datasets import co2

    weekly = co2.load_pandas().data["co2"]
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(SERIES_COMMENT)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["date", "co2_ppm"])
        writer.writerows((day.date(), "" if np.isnan(ppm) else f"{ppm:.1f}") for day, ppm in weekly.items())


def build_model() -> keras.Model:
    """Two stateful LSTM layers and a Dense unit: (1, time, 3) to the scaled change of the coming week, (1, time, 1)."""
    frames = keras.Input(batch_shape=(1, None, 3), name="frame")
    hidden = frames
    for index, units in enumerate(UNITS, start=1):
        hidden = keras.layers.LSTM(units, return_sequences=True, stateful=True, name=f"lstm_{index}")(hidden)
    return keras.Model(frames, keras.layers.Dense(1, name="change")(hidden), name="co2_forecast")


def reset_states(model: keras.Model) -> None:
    """Sets the state of every recurrent layer to zero."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.RNN):
            layer.reset_state()


def targets_and_weights(series: Series, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The scaled change that each step should forecast, and weight 0 where a missing week takes part in it."""
    targets = np.diff(series.values)[1:, None] / scale
    weights = series.observed[2:] & series.observed[1:-1]
    return targets.astype(np.float32), weights.astype(np.float32)


def weighted_error(model: keras.Model, frames: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """The mean square error of a model that streams all frames from a zero state; weights select what counts."""
    reset_states(model)
    outputs = model.predict(frames[None], batch_size=1, verbose=0)[0]
    return float(np.average(np.square(outputs - targets)[:, 0], weights=weights))


def train(model: keras.Model, frames: np.ndarray, targets: np.ndarray, weights: np.ndarray, validation: int) -> None:
    """Trains on consecutive windows with carried state; keeps the epoch that is best from step `validation` on."""
    model.compile(keras.optimizers.Adam(LEARNING_RATE, clipnorm=1.0), "mse")
    windows, skipped = divmod(validation, WINDOW)
    in_windows = [a[skipped:validation].reshape(windows, WINDOW, *a.shape[1:]) for a in (frames, targets, weights)]
    x, y, sample_weight = in_windows
    validation_weights = np.where(np.arange(len(weights)) < validation, 0, weights)
    best_error, best_weights = np.inf, model.get_weights()
    for _ in range(EPOCHS):
        reset_states(model)
        model.fit(x, y, sample_weight=sample_weight, batch_size=1, shuffle=False, verbose=0)
        error = weighted_error(model, frames, targets, validation_weights)
        if error < best_error:
            best_error, best_weights = error, model.get_weights()
    model.set_weights(best_weights)


def stream_keras(model: keras.Model, frames: np.ndarray) -> np.ndarray:
    """Keras' own outputs, one time step a call, shape (steps, 1).

    The model is called itself: on JAX, `predict_on_batch` leaves the state of a stateful layer as it was.
    """
    reset_states(model)
    return np.concatenate([np.asarray(model(frame[None, None]))[0] for frame in frames])


def stream_onnxruntime(model: onnx.ModelProto, frames: np.ndarray) -> np.ndarray:
    """ONNX Runtime's outputs, one time step a call, with every state wired from output to input."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    frame_input, *state_inputs = session.get_inputs()
    states = {state.name: np.zeros((1, 1, state.shape[-1]), np.float32) for state in state_inputs}
    outputs = []
    for frame in frames:
        output, *new_states = session.run(None, {frame_input.name: frame[None, None], **states})
        states = dict(zip(states, new_states, strict=True))
        outputs.append(output[0])
    return np.concatenate(outputs)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, exports, and compares ONNX Runtime with Keras."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    keras.utils.set_random_seed(SEED)
    if not SERIES.exists():
        write_series(SERIES)
    series = read_series()
    validation, evaluation = first_step(series, VALIDATION_START), first_step(series, EVALUATION_START)
    scale = float(np.diff(series.values)[:validation].std())
    frames = input_frames(series, scale)
    targets, weights = targets_and_weights(series, scale)

    trained = build_model()
    train(trained, frames[:evaluation], targets[:evaluation], weights[:evaluation], validation)
    model = build_model()  # never compiled, so that the file holds no optimizer
    model.set_weights(trained.get_weights())
    outputs = stream_keras(model, frames)
    reset_states(model)
    model.save(HERE / "model.keras")
    exported = onnx_forecaster(model)
    onnx.save(exported, HERE / "model.onnx")
    reference = {"inputs": frames, "outputs": outputs, "scale": scale, "evaluation_start": evaluation}
    np.savez_compressed(HERE / "reference.npz", **reference)

    rmse = scale * np.sqrt(np.square(outputs - targets)[evaluation:].mean())
    difference = np.abs(stream_onnxruntime(exported, frames) - outputs).max()
    print(f"held-out RMSE {rmse:.3f} ppm; ONNX Runtime differs from Keras by at most {difference:.1e}")
    return 0 if difference < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())

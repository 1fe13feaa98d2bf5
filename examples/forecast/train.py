"""Trains the forecaster on the Mauna Loa CO2 record and writes everything that forecast.py needs, beside itself.

Needs keras, jax, onnx and onnxruntime, and statsmodels when series.csv is to be made again. Takes seconds.
"""

import argparse
import csv
import os
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np
import onnx
import onnxruntime
from export_onnx import onnx_forecaster
from forecast import EVALUATION_START, HERE, SERIES, Series, first_step, input_frames, read_series

Arrays = list[jax.Array]

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


def state_variables(model: keras.Model) -> list[keras.Variable]:
    """The states of all recurrent layers, which Keras leaves out of the variables of the model."""
    return [state for layer in model.layers if isinstance(layer, keras.layers.RNN) for state in layer.states]


def zero_states(model: keras.Model) -> Arrays:
    """States to start from."""
    return [jnp.zeros(state.shape) for state in state_variables(model)]


def stateful_function(model: keras.Model) -> Callable[[Arrays, Arrays, jax.Array], tuple[jax.Array, Arrays]]:
    """The model as a pure function: weights, states and frames (steps, 3) to outputs (steps, 1) and new states.

    On JAX, `fit` and `predict` silently start every batch from the same state, so the states are carried here.
    """

    def apply(weights: Arrays, states: Arrays, frames: jax.Array) -> tuple[jax.Array, Arrays]:
        variables = [*model.trainable_variables, *state_variables(model)]
        with keras.StatelessScope(state_mapping=zip(variables, [*weights, *states], strict=True)) as scope:
            outputs = model(frames[None])[0]
        return outputs, [scope.get_current_value(state) for state in state_variables(model)]

    return jax.jit(apply)


def weighted_error(outputs: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
    """The mean square error of the steps that count."""
    return jnp.average(jnp.square(outputs - targets)[:, 0], weights=weights)


def targets_and_weights(series: Series, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The scaled change that each step should forecast, and weight 0 where a missing week takes part in it."""
    targets = np.diff(series.values)[1:, None] / scale
    weights = series.observed[2:] & series.observed[1:-1]
    return targets.astype(np.float32), weights.astype(np.float32)


def training_step(apply: Callable, optimizer: keras.optimizers.Optimizer) -> Callable:
    """One update on one window; the state at its end is where the next window starts."""

    def loss(weights: Arrays, states: Arrays, window: Arrays) -> tuple[jax.Array, Arrays]:
        frames, targets, step_weights = window
        outputs, states = apply(weights, states, frames)
        return weighted_error(outputs, targets, step_weights), states

    def step(weights: Arrays, slots: Arrays, states: Arrays, window: Arrays) -> tuple[Arrays, Arrays, Arrays]:
        gradients, states = jax.grad(loss, has_aux=True)(weights, states, window)
        weights, slots = optimizer.stateless_apply(slots, gradients, weights)
        return weights, slots, states

    return jax.jit(step)


def train(model: keras.Model, steps: Arrays, validation: int) -> None:
    """Trains on consecutive windows with carried state; keeps the epoch that is best from step `validation` on.

    `steps` are the frames, targets and weights up to the held-out part.
    """
    optimizer = keras.optimizers.Adam(LEARNING_RATE, clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    apply = stateful_function(model)
    update = training_step(apply, optimizer)
    frames, targets, step_weights = steps
    weights = [variable.value for variable in model.trainable_variables]
    slots = [variable.value for variable in optimizer.variables]
    best_error, best_weights = np.inf, weights
    for _ in range(EPOCHS):
        states = zero_states(model)
        for begin in range(0, validation, WINDOW):
            window = [array[begin : min(begin + WINDOW, validation)] for array in steps]
            weights, slots, states = update(weights, slots, states, window)
        outputs, _ = apply(weights, zero_states(model), frames)
        error = weighted_error(outputs[validation:], targets[validation:], step_weights[validation:])
        if error < best_error:
            best_error, best_weights = error, weights
    for variable, value in zip(model.trainable_variables, best_weights, strict=True):
        variable.assign(value)


def stream_keras(model: keras.Model, frames: np.ndarray) -> np.ndarray:
    """Keras' own outputs, one time step a call, shape (steps, 1)."""
    apply, states = stateful_function(model), zero_states(model)
    weights = [variable.value for variable in model.trainable_variables]
    outputs = []
    for frame in frames:
        output, states = apply(weights, states, frame[None])
        outputs.append(output)
    return np.concatenate(outputs)


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

    model = build_model()
    train(model, [array[:evaluation] for array in (frames, targets, weights)], validation)
    outputs = stream_keras(model, frames)
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

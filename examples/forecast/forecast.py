"""Forecasts a real series week by week, the way a device would: one stream, one time step per measurement.

The model was trained in Keras (see train.py). This program converts it, streams the atmospheric CO2 record of Mauna
Loa through it and prints the forecast error beside naive baselines, the time of a step, and the largest difference to
what Keras itself computed.
"""

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

import edgelstm

HERE = Path(__file__).resolve().parent
SERIES = HERE / "series.csv"
REFERENCE = HERE / "reference.npz"
EVALUATION_START = date(1993, 1, 1)
WEEKS_A_YEAR = 52
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Series:
    """Weekly measurements; a week without one repeats the last and is not `observed`."""

    dates: list[date]
    values: np.ndarray
    observed: np.ndarray


def read_series(path: Path = SERIES) -> Series:
    """Reads `date,co2_ppm` rows; lines that start with `#` are comments, an empty value is a missing week."""
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    measured = np.array([float(row["co2_ppm"] or "nan") for row in rows])
    observed = ~np.isnan(measured)
    last_observed = np.maximum.accumulate(np.where(observed, np.arange(len(rows)), 0))
    return Series([date.fromisoformat(row["date"]) for row in rows], measured[last_observed], observed)


def input_frames(series: Series, scale: float) -> np.ndarray:
    """The model's input of every time step, shape (steps, 3): only what is known when a week's measurement is in.

    Step `i` sees the scaled change from week `i` to `i + 1` and the season of week `i + 2`, which it forecasts.
    """
    changes = np.diff(series.values)[:-1] / scale
    days_of_year = [(day + timedelta(weeks=1)).timetuple().tm_yday for day in series.dates[1:-1]]
    season = 2 * np.pi * np.array(days_of_year) / 365.25
    return np.stack([changes, np.sin(season), np.cos(season)], axis=1).astype(np.float32)


def first_step(series: Series, start: date) -> int:
    """The first step whose forecast is for `start` or later."""
    return next(index for index, day in enumerate(series.dates[2:]) if day >= start)


def stream_forecasts(model: "edgelstm.Model", frames: np.ndarray) -> tuple[np.ndarray, float]:
    """Streams the frames one by one; returns the outputs, shape (steps, 1), and the median microseconds of a step."""
    stream = model.stream()
    outputs = np.empty((len(frames), 1), np.float32)
    nanoseconds = np.empty(len(frames), np.int64)
    for index, (frame, out) in enumerate(zip(frames, outputs, strict=True)):
        begin = time.perf_counter_ns()
        stream.step(frame, out=out)
        nanoseconds[index] = time.perf_counter_ns() - begin
    return outputs, float(np.median(nanoseconds)) / 1000


def evaluated_forecasts(series: Series, outputs: np.ndarray, scale: float) -> dict[str, np.ndarray]:
    """The model's and the baselines' one-week-ahead forecasts in ppm, for every week since EVALUATION_START."""
    values = series.values
    begin = first_step(series, EVALUATION_START) + 2
    now, year_ago = values[begin - 1 : -1], values[begin - WEEKS_A_YEAR : -WEEKS_A_YEAR]
    change_year_ago = year_ago - values[begin - WEEKS_A_YEAR - 1 : -WEEKS_A_YEAR - 1]
    return {
        "LSTM": now + outputs[begin - 2 :, 0].astype(np.float64) * scale,
        "persistence: this week's value": now,
        "seasonal naive: last year's value": year_ago,
        "seasonal naive: last year's change": now + change_year_ago,
    }


def print_errors(forecasts: dict[str, np.ndarray], actual: np.ndarray) -> None:
    """Prints the mean absolute and the root mean square error of each forecast."""
    print(f"{'forecast of the next week':36}{'MAE ppm':>9}{'RMSE ppm':>10}")
    for name, forecast in forecasts.items():
        error = forecast - actual[-len(forecast) :]
        print(f"{name:36}{np.abs(error).mean():9.3f}{np.sqrt(np.square(error).mean()):10.3f}")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=HERE / "model.keras", help="the .keras or .onnx file to convert")
    parser.add_argument("--save", type=Path, help="keep the converted model at this .elstm path")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the example; returns 1 when an output differs from the framework's by more than TOLERANCE."""
    arguments = parse_arguments(argv)
    series = read_series()
    with np.load(REFERENCE) as reference:
        scale, expected = float(reference["scale"]), reference["outputs"]

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        converted = arguments.save or Path(folder) / "forecast.elstm"
        edgelstm.convert(arguments.model, converted)
        outputs, microseconds = stream_forecasts(edgelstm.load(converted), input_frames(series, scale))

    forecasts = evaluated_forecasts(series, outputs, scale)
    print(f"{arguments.model.name}: {len(outputs)} weeks streamed, {len(forecasts['LSTM'])} of them held out\n")
    print_errors(forecasts, series.values)
    difference = float(np.abs(outputs - expected).max())
    print(f"\n{microseconds:.2f} us a step (median)")
    print(f"{difference:.1e} largest difference to Keras (limit {TOLERANCE:.0e})")
    return 0 if difference <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())

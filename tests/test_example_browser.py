"""The browser example: built by its script, it forecasts in Node and in Chromium what Keras forecast."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.javascript import node, page, served, tool

EXAMPLES = Path(__file__).parent.parent / "examples"
RMSE = 0.369  # the 470 weeks since 1993, as examples/forecast/README.md has it; 0.511 without a network


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example's folder, built."""
    tool("wasm-ld", "lld")
    folder = tmp_path_factory.mktemp("browser")
    for name in ("index.html", "forecast.js"):
        shutil.copy(EXAMPLES / "browser" / name, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    command = [sys.executable, EXAMPLES / "browser" / "build.py", "-o", folder / "build"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_forecast_is_that_of_keras(example):
    with np.load(EXAMPLES / "forecast" / "reference.npz") as stored:
        expected, scale = stored["outputs"][:, 0], float(stored["scale"])
    found = node(example, "build/forecast/forecast", """
        const { openForecaster } = await import("./forecast.js");
        const { readFileSync } = await import("node:fs");
        const series = JSON.parse(readFileSync(new URL("./build/series.json", import.meta.url)));
        const forecaster = await openForecaster(series);
        const outlooks = [];
        for (let round = 0; round < 2; round++) {
          forecaster.reset();
          while (!forecaster.done) {
            forecaster.next();
            if (forecaster.week % 500 === 0) outlooks.push(forecaster.outlook());
          }
        }
        return { changes: forecaster.forecasts.slice(2).map((value, i) => value - series.values[i + 1]), outlooks,
                 errors: forecaster.errors(), weeks: series.values.length };""")
    changes = np.array(found["changes"]) / scale
    assert len(changes) == len(expected) + 1 == found["weeks"] - 1
    np.testing.assert_allclose(changes[:-1], expected, atol=1e-5)
    assert found["errors"]["weeks"] == 470
    np.testing.assert_allclose([found["errors"]["network"], found["errors"]["persistence"]], [RMSE, 0.511], atol=1e-3)
    first, second = np.split(np.array(found["outlooks"]), 2)
    np.testing.assert_array_equal(first, second)  # looking ahead leaves the stream as it was, reset brings it back
    assert np.ptp(first, axis=1).min() > 3  # ppm; the seasons come again


def test_the_page_runs_in_a_browser(example):
    with served(example) as address:
        text = page(f"{address}/index.html?all", example)
    cells = dict(re.findall(r'<td id="(\w+)">([^<]*)</td>', text))
    assert cells["week"] == "2001-12-29"
    assert abs(float(cells["errors"].split()[0]) - RMSE) < 1e-3 and "470 weeks" in cells["errors"]

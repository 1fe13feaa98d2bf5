"""Every real model of the corpus: converted fast, in little memory and without its framework; natively run, equal outputs."""

import json
import subprocess
import sys

import numpy as np
import pytest

import edgelstm
from tests.conftest import corpus_models, meta_of
from tests.test_corpus import as_list, cases

MODELS = [folder for folder in corpus_models("") if meta_of(folder).get("tier", "core") == "core"]
SECONDS, MEGABYTES = 5.0, 500
CONVERSIONS = """
import gc, json, resource, sys, time
from pathlib import Path
import edgelstm
seconds, peaks, out, status = {}, [], Path(sys.argv[1]), Path("/proc/self/status")
for folder in map(Path, sys.argv[2:]):
    meta = json.loads((folder / "meta.json").read_text())
    files = [folder / name for name in meta["files"] if name != meta["model_file"]]
    weights = files[0] if meta["model_file"].endswith(".json") else None
    gc.collect()
    if status.exists():
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    start = time.perf_counter()
    edgelstm.convert(folder / meta["model_file"], out / f"{folder.name}.elstm", weights=weights)
    seconds[folder.name] = time.perf_counter() - start
    if status.exists():
        peaks.append(next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024)
peak = max(peaks, default=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
frameworks = sorted({"keras", "tensorflow", "torch", "jax", "onnxruntime"} & set(sys.modules))
print(json.dumps({"seconds": seconds, "megabytes": peak, "frameworks": frameworks}))
"""


@pytest.fixture(scope="module")
def conversions(corpus, tmp_path_factory):
    """The folder of all converted models, and what converting them took: the largest peak memory, where it can be read."""
    if sys.platform == "win32":
        pytest.skip("peak memory is read the POSIX way")
    out = tmp_path_factory.mktemp("converted")
    command = [sys.executable, "-c", CONVERSIONS, str(out), *map(str, MODELS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return out, json.loads(done.stdout)


def test_conversions_are_fast_and_small_and_need_no_framework(conversions):
    _, found = conversions
    assert {name: seconds for name, seconds in found["seconds"].items() if seconds > SECONDS} == {}
    assert found["megabytes"] < MEGABYTES
    assert found["frameworks"] == []


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_outputs_equal_the_frameworks(conversions, folder):
    model, meta = edgelstm.load(conversions[0] / f"{folder.name}.elstm"), meta_of(folder)
    for mode, calls in cases(folder, model):
        carries = mode == "sequence" and not meta["model_file"].endswith(".onnx")
        stream = model.stream(batch=next(iter(calls[0][0].values())).shape[0]) if carries else None
        for given, refs in calls:
            found = stream.run(given if len(given) > 1 else next(iter(given.values()))) if stream else model.predict(given)
            for array, ref in zip(as_list(found), refs, strict=True):
                np.testing.assert_allclose(array, ref, rtol=meta["rtol"], atol=meta["atol"])

"""What `convert` and `verify` tell of reduced precision: tables, JSON, limits, the picture, and options that do not fit."""

import json
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm import reference
from edgelstm.cli import main
from edgelstm.precision.measure import default_data

pytest.importorskip("h5py", reason="Keras files hold HDF5 weights")

SOURCE = Path(__file__).parent.parent / "examples" / "forecast" / "model.keras"


@pytest.fixture(scope="module")
def exact():
    return edgelstm.convert(SOURCE, probe=False)


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "int8.elstm"
    edgelstm.convert(SOURCE, path, precision="int8")
    return path


def told(capsys, *arguments: str) -> tuple[int, dict]:
    """The exit code and the JSON of a command."""
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_verify_tells_the_layers_of_a_reduced_file(exact, int8, capsys, tmp_path):
    code, found = told(capsys, "verify", int8, "--against", SOURCE, "--max-error", "0.5")
    x = default_data(exact)
    y, limited = reference.run(exact, x), edgelstm.load(int8).run(x)
    error = max(np.max(np.abs(limited[name] - y[name])) for name in y)
    assert code == 0 and found["ok"] and found["limit"] == 0.5
    assert found["max_error"] == pytest.approx(error, abs=1e-5)
    assert {row["precision"] for row in found["rows"]} == {"int8", "int8x16", None}
    assert set(found["rows"][0]["drift"]) == {"1", "10", "100", "1000"}


def test_verify_holds_the_limit(int8, capsys):
    code, found = told(capsys, "verify", int8, "--against", SOURCE, "--max-error", "1e-9")
    assert code == 1 and not found["ok"]
    code, found = told(capsys, "verify", int8, "--against", SOURCE)
    assert code == (found["max_error"] > found["limit"]) and found["limit"] > 0


def test_verify_by_data_of_the_user(exact, int8, capsys, tmp_path, rng):
    path, port = tmp_path / "x.npy", exact.inputs[0]
    np.save(path, rng.standard_normal((2, 12, port.shape[2])).astype(np.float32))
    _, found = told(capsys, "verify", int8, "--against", SOURCE, "--data", path)
    assert set(found["rows"][0]["drift"]) == {"1", "10"}


def test_verify_draws(int8, capsys, tmp_path):
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib")
    main(["verify", str(int8), "--against", str(SOURCE), "--plot", str(tmp_path / "errors.png")])
    out, err = capsys.readouterr()
    assert "own SNR dB" in out and "limit" in err and (tmp_path / "errors.png").stat().st_size > 1000


def test_verify_of_the_probe_tells_noise_and_drift(int8, capsys):
    code, found = told(capsys, "verify", int8)
    assert code == 0 and all(row["snr_db"] > 20 and row["source"] for row in found["rows"])
    assert any("10" in row["drift"] for row in found["rows"])
    main(["verify", str(int8)])
    out, err = capsys.readouterr()
    assert "SNR dB" in out and "expected by" in err


@pytest.mark.parametrize("option", [("--max-error", "0.1"), ("--data", "x.npy"), ("--plot", "x.png")])
def test_options_that_only_a_comparison_by_layer_takes(int8, capsys, option):
    assert main(["verify", str(int8), *option]) == 2
    assert main(["verify", str(SOURCE), "--against", str(int8), *option]) == 2
    assert option[0] in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["-1", "nan", "inf", "x"])
def test_what_is_no_limit(int8, limit):
    with pytest.raises(SystemExit) as stopped:
        main(["verify", str(int8), "--against", str(SOURCE), f"--max-error={limit}"])
    assert stopped.value.code == 2


def test_convert_tells_what_auto_tried(capsys, tmp_path):
    path = tmp_path / "auto.elstm"
    assert main(["convert", str(SOURCE), "-o", str(path), "--precision", "auto", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["tried"]["error"] <= found["tried"]["max_error"]
    assert "auto: " in err and "SNR dB" in err
    stored = {node.name: node.attrs["precision"] for node in edgelstm.load(path).graph.nodes if "precision" in node.attrs}
    assert stored == found["tried"]["precisions"]
    assert {row["name"]: row["precision"] for row in found["errors"]["rows"] if row["precision"]} == stored


def test_a_limit_of_nothing_leaves_everything_in_float32(capsys, tmp_path):
    path = tmp_path / "auto.elstm"
    assert main(["convert", str(SOURCE), "-o", str(path), "--precision", "auto", "--max-error", "0"]) == 0
    assert "every layer stays float32" in capsys.readouterr().err


def test_a_limit_that_nothing_reaches_writes_nothing(capsys, tmp_path):
    path = tmp_path / "int8.elstm"
    assert main(["convert", str(SOURCE), "-o", str(path), "--precision", "int8", "--max-error", "1e-9"]) == 2
    assert not path.exists() and "max_error" in capsys.readouterr().err

"""Keras files made to harm: each ends in one error of EdgeLSTM, soon, in little memory, with nothing run or written."""

import io
import json
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from edgelstm_converters import read

from edgelstm.errors import EdgeLSTMError, FormatError, UnsupportedError
from tests.test_keras_containers import FEATURES, UNITS, architecture, h5_file, keras_file, layers, legacy_weights, tree_weights
from tests.test_keras_fuzz import functional

h5py = pytest.importorskip("h5py", reason="these tests write HDF5 files")

SECONDS, MEGABYTES = 10, 200
BIAS = "model_weights/scores/scores/part_1:0"
KERNEL = "model_weights/scores/scores/part_0:0"


@pytest.fixture(autouse=True)
def bounded():
    """No test may take much processor time or memory."""
    start = time.process_time()
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - start < SECONDS
    assert peak < MEGABYTES << 20


def json_model(folder, text, weights=None):
    """Reads an architecture beside sound weights."""
    (folder / "model.json").write_text(text if isinstance(text, str) else json.dumps(text))
    (folder / "weights.h5").write_bytes(weights or tree_weights())
    return read(folder / "model.json", weights=folder / "weights.h5")


def archive(path, **members):
    """A sound .keras file with further members, or members in another form."""
    keras_file(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/etc/out", "C:\\out", "..\\out", "c:out"])
def test_archive_members_that_leave_the_folder(name, tmp_path):
    with pytest.raises(FormatError, match=r"model\.keras.*out of its folder"):
        read(archive(tmp_path / "model.keras", **{name: b"x"}))


def test_archive_that_inflates(tmp_path):
    path = tmp_path / "model.keras"
    keras_file(path, leave_out=["model.weights.h5"])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model.weights.h5", bytes(300 << 20))
    tracemalloc.reset_peak()
    with pytest.raises(FormatError, match="inflates to more than"):
        read(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_archive_with_a_member_twice(member, tmp_path):
    with pytest.raises(FormatError, match=f"2 members '{member}'"):
        read(archive(tmp_path / "model.keras", **{member: b"{}"}))


@pytest.mark.parametrize("flag", [0x1, 0x20])
def test_archive_that_claims_encryption(flag, tmp_path):
    path = keras_file(tmp_path / "model.keras")
    content = bytearray(path.read_bytes())
    for at in (i for i in range(len(content) - 4) if content[i : i + 4] == b"PK\x01\x02"):
        content[at + 8] |= flag
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"model\.keras"):
        read(path)


def linked(folder, name, target, at=BIAS):
    """A whole-model file with a link in the place of a dataset or group."""
    path = h5_file(folder / name)
    with h5py.File(path, "a") as file:
        del file[at]
        file[at] = target(file) if callable(target) else target
    return path


@pytest.mark.parametrize(("target", "text"), [
    (h5py.SoftLink("/nowhere"), "not followed"),
    (h5py.SoftLink("/" + BIAS), "not followed"),
    (h5py.ExternalLink("/etc/passwd", "/x"), "not followed"),
    (lambda file: file["model_weights"], "no dataset"),
    (lambda file: np.array([file.ref, file.ref], h5py.ref_dtype), "not numbers"),
    (lambda file: np.array([b"ab", b"cd"]), "not numbers"),
    (lambda file: np.zeros(2, [("a", "f4"), ("b", "f4")]), "not numbers"),
    (lambda file: np.zeros(2, np.complex64), "not numbers"),
    (lambda file: np.zeros(2, np.int64), "floating-point"),
    (lambda file: np.array([np.nan, np.inf], np.float32), "not finite"),
    (lambda file: h5py.Empty("f4"), "no dataset|not numbers|shape"),
])
def test_hdf5_with_something_else_than_weights(target, text, tmp_path):
    with pytest.raises(FormatError, match=text):
        read(linked(tmp_path, "model.h5", target))


def test_hdf5_with_a_group_that_holds_itself(tmp_path):
    path = h5_file(tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        file["model_weights/scores/model_weights"] = file["model_weights"]
        file["model_weights/circle"] = file["/"]
    assert read(path).nodes


@pytest.mark.parametrize("options", [
    {"shape": (10**6, 10**5)},
    {"shape": (10**6, 10**5), "chunks": (1000, 1000)},
    {"shape": (10**9,), "compression": "gzip"},
    {"shape": (2**40,), "chunks": (2**20,), "compression": "gzip", "shuffle": True},
])
def test_hdf5_that_claims_more_than_it_stores(options, tmp_path):
    path = h5_file(tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        del file[KERNEL]
        file.create_dataset(KERNEL, dtype="f4", **options)
    with pytest.raises(FormatError, match="claims"):
        read(path)


def test_hdf5_with_numbers_of_other_files(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    path = h5_file(tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        del file[BIAS], file[KERNEL]
        file.create_dataset(BIAS, (2,), "f4", external=[(str(tmp_path / "secret"), 0, 8)])
        layout = h5py.VirtualLayout((UNITS, 2), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (UNITS, 2))
        file.create_virtual_dataset(KERNEL, layout)
    with pytest.raises(FormatError, match="lie in another file"):
        read(path)


@pytest.mark.parametrize("value", [
    b"\xff\xfe", "", "[1]", "null", '{"a": NaN}', '{"a": 1, "a": 2}', '{"a": "\\ud800"}', 7, [1.5],
])
def test_hdf5_with_another_architecture(value, tmp_path):
    path = h5_file(tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = value
    with pytest.raises(FormatError, match=r"model\.h5"):
        read(path)


@pytest.mark.parametrize("names", [["../scores"], ["memory", "memory"], [""], ["."], ["scores/scores"]])
def test_hdf5_with_odd_names_of_layers(names, tmp_path):
    path = h5_file(tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        file["model_weights"].attrs["layer_names"] = np.array(names, object)
    with pytest.raises(FormatError, match=r"model\.h5"):
        read(path)


@pytest.mark.parametrize("depth", [150, 900, 100_000])
@pytest.mark.parametrize("opening", ['{"config":', "["])
def test_json_that_is_nested_deeply(depth, opening, tmp_path):
    closing = {"[": "]"}.get(opening, "}")
    inner = opening * depth + "1" + closing * depth
    with pytest.raises(EdgeLSTMError):
        json_model(tmp_path, '{"class_name": "Sequential", "config": {"name": "n", "layers": [' + inner + "]}}")


def test_models_in_models(tmp_path):
    inner = layers()[1]
    for number in range(60):
        inner = {"class_name": "Sequential", "config": {"name": f"s{number}", "layers": [inner]}}
    with pytest.raises(FormatError, match="deeper than"):
        json_model(tmp_path, inner)


def test_a_great_many_layers(tmp_path):
    members = [{"class_name": "Dropout", "config": {"name": f"d{i}", "rate": 0.1}} for i in range(2_000)]
    entry, *rest = layers()
    assert len(json_model(tmp_path, architecture([entry, *members, *rest])).nodes) < 10


@pytest.mark.parametrize("change", [
    {"units": 10**18}, {"units": -4}, {"units": 0}, {"units": True}, {"units": "4"}, {"units": 4.0}, {"units": None},
    {"units": [4, 4]}, {"units": {"value": 4}}, {"return_sequences": "yes"}, {"go_backwards": 2}, {"use_bias": []},
    {"activation": 3}, {"activation": []}, {"activation": {}}, {"activation": {"class_name": ["x"], "config": {}}},
    {"recurrent_activation": {"class_name": "function", "config": "eval", "module": "builtins", "registered_name": "eval"}},
    {"kernel_initializer": {"module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": None}},
    {"bias_constraint": {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "x"}},
    {"dtype": ["float32"]}, {"dtype": {"config": {"name": {}}}}, {"time_major": "x"}, {"zero_output_for_mask": 5},
])
def test_configurations_of_the_wrong_kind(change, tmp_path):
    with pytest.raises((FormatError, UnsupportedError), match="memory"):
        json_model(tmp_path, architecture(layers(**change)))


@pytest.mark.parametrize("shape", [
    [None, None], [None], [], [None, None, -3], [None, None, 2**60], [None, None, 3.0], [None, None, "3"], "abc", {"a": 1},
    [None, None, FEATURES, 2], [None, None, True],
])
def test_input_shapes_that_do_not_fit(shape, tmp_path):
    entry, *rest = layers()
    entry["config"]["batch_shape"] = shape
    with pytest.raises(FormatError, match=r"model\.json"):
        json_model(tmp_path, architecture([entry, *rest]))


@pytest.mark.parametrize(("key", "value"), [
    ("input_layers", [["nothing", 0, 0]]), ("input_layers", []), ("input_layers", None), ("input_layers", [["frames", 0]]),
    ("input_layers", [["frames", 5, 0]]), ("output_layers", [["nothing", 0, 0]]), ("output_layers", [["scores", 3, 0]]),
    ("output_layers", [["scores", 0, 7]]), ("output_layers", [["scores", -1, 0]]), ("output_layers", {"a": 1}), ("layers", {}),
    ("layers", [3]), ("layers", []),
])
def test_functional_models_with_loose_ends(key, value, tmp_path):
    model = functional()
    model["config"][key] = value
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        legacy_weights(file)
    with pytest.raises(EdgeLSTMError):
        json_model(tmp_path, model, weights.getvalue())

"""Keras files written here with h5py and json alone: what is read, and what every damage is answered with."""

import io
import json
import zipfile

import numpy as np
import pytest
from edgelstm_converters import read, register_layer

from edgelstm import reference
from edgelstm.errors import FormatError, UnsupportedError

h5py = pytest.importorskip("h5py", reason="these tests write HDF5 files")

FEATURES, UNITS, CLASSES = 3, 4, 2


def layers(**changes):
    """An LSTM and a Dense layer, in the dialect of Keras 3; `changes` go into the configuration of the LSTM."""
    lstm = {
        "name": "memory",
        "units": UNITS,
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "return_sequences": False,
    }
    return [
        {
            "class_name": "InputLayer",
            "config": {"name": "frames", "batch_shape": [None, None, FEATURES], "dtype": "float32"},
        },
        {"class_name": "LSTM", "config": lstm | changes},
        {"class_name": "Dense", "config": {"name": "scores", "units": CLASSES, "activation": "softmax"}},
    ]


def architecture(members):
    return {"class_name": "Sequential", "config": {"name": "net", "layers": members}}


def arrays():
    rng = np.random.default_rng(3)
    shapes = {
        "lstm": [(FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)],
        "dense": [(UNITS, CLASSES), (CLASSES,)],
    }
    return {name: [rng.standard_normal(shape).astype(np.float32) for shape in each] for name, each in shapes.items()}


def tree_weights(weights=None):
    """An HDF5 file in the layout of Keras 3, as bytes."""
    weights = weights or arrays()
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for path, each in (("layers/lstm/cell/vars", weights["lstm"]), ("layers/dense/vars", weights["dense"])):
            for number, array in enumerate(each):
                file[f"{path}/{number}"] = array
    return content.getvalue()


def legacy_weights(group, weights=None, split=False):
    """The groups of Keras 1 and 2, named after layers; `split` writes long attributes in pieces."""
    weights = weights or arrays()
    ends = ("", "0") if split else ("",)
    group.attrs[f"layer_names{ends[-1]}"] = [b"other", b"memory", b"scores"]
    for name, each in (("other", []), ("memory", weights["lstm"]), ("scores", weights["dense"])):
        names = [f"{name}/part_{i}:0" for i in range(len(each))]
        member = group.create_group(name)
        member.attrs["weight_names"] = np.array(names, "S") if names else np.zeros(0)
        for path, array in zip(names, each, strict=True):
            member[path] = array


def keras_file(path, members=None, weights=None, leave_out=(), **metadata):
    contents = {
        "metadata.json": json.dumps({"keras_version": "3.15.1"} | metadata),
        "config.json": json.dumps(architecture(members or layers())),
        "model.weights.h5": weights or tree_weights(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            if name not in leave_out:
                archive.writestr(name, content)
    return path


def h5_file(path, members=None, version="2.15.0", **options):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(architecture(members or layers()))
        file.attrs["keras_version"] = version
        legacy_weights(file.create_group("model_weights"), **options)
    return path


def expected(x):
    """The model in plain NumPy."""
    (W, R, b), (kernel, bias) = arrays()["lstm"], arrays()["dense"]
    h = c = np.zeros((len(x), UNITS))
    for frame in np.moveaxis(x, 1, 0):
        i, f, g, o = np.split(frame @ W + h @ R + b, 4, axis=1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    e = np.exp(h @ kernel + bias)
    return e / e.sum(axis=1, keepdims=True)


def check(graph, rng):
    x = rng.standard_normal((2, 5, FEATURES)).astype(np.float32)
    (given,) = reference.run(graph, {"frames": x}).values()
    np.testing.assert_allclose(given, expected(x), rtol=1e-5)


def test_archive(tmp_path, rng):
    check(read(keras_file(tmp_path / "model.keras")), rng)


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
def test_hdf5(split, tmp_path, rng):
    graph = read(h5_file(tmp_path / "model.h5", split=split))
    check(graph, rng)
    assert graph.provenance["version"] == "2.15.0"


def test_json_with_weights_of_either_layout(tmp_path, rng):
    (tmp_path / "model.json").write_text(json.dumps(architecture(layers())))
    (tmp_path / "tree.h5").write_bytes(tree_weights())
    with h5py.File(tmp_path / "legacy.h5", "w") as file:
        legacy_weights(file)
    for weights in ("tree.h5", "legacy.h5"):
        check(read(tmp_path / "model.json", weights=tmp_path / weights), rng)
    check(read(tmp_path / "model.json", weights=h5_file(tmp_path / "whole.h5")), rng)


def test_content_decides_not_the_name(tmp_path, rng):
    check(read(keras_file(tmp_path / "model.onnx")), rng)


def test_cudnn_weights_are_recognised_by_their_bias(tmp_path, rng):
    """cuDNN keeps every gate's block transposed, the input kernel in its own memory order, and two biases."""
    weights = arrays()
    W, R, b = weights["lstm"]
    stored = np.hstack([block.reshape(block.T.shape, order="F").T for block in np.hsplit(W, 4)])
    weights["lstm"] = [
        stored,
        np.hstack([block.T for block in np.hsplit(R, 4)]),
        np.concatenate([b - 1, np.ones_like(b)]),
    ]
    check(read(h5_file(tmp_path / "model.h5", weights=weights)), rng)


@pytest.mark.parametrize(("version", "slope"), [("2.15.0", 0.2), ("3.15.1", 1 / 6)])
def test_hard_sigmoid_follows_the_version_of_the_file(version, slope, tmp_path):
    graph = read(h5_file(tmp_path / "model.h5", layers(recurrent_activation="hard_sigmoid"), version))
    assert graph.nodes[0].attrs["recurrent_activation"] == ("hard_sigmoid", slope, 0.5)


def test_a_registered_layer_is_used(tmp_path, rng):
    members = layers()
    members.insert(1, {"class_name": "Custom>Doubled", "config": {"name": "twice", "anything": 2}})
    register_layer("Doubled", lambda call: call.add("add", call.x, call.x))
    graph = read(keras_file(tmp_path / "model.keras", members))
    assert graph.nodes[0].op == "add"


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5", "metadata.json"])
def test_missing_member(member, tmp_path):
    with pytest.raises(FormatError, match=member.replace(".", r"\.")):
        read(keras_file(tmp_path / "model.keras", leave_out=[member]))


@pytest.mark.parametrize("kept", [0.4, 0.9])
@pytest.mark.parametrize("write", [keras_file, h5_file])
def test_truncated_file(write, kept, tmp_path):
    path = write(tmp_path / ("model.keras" if write is keras_file else "model.h5"))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(FormatError, match="truncated"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("model.keras", b"", "empty"),
        ("model.keras", b"\x89PNG\r\n\x1a\n" + bytes(64), "no Keras model"),
        ("model.json", b"{not json", "not JSON"),
        ("model.json", b'{"class_name": "Sequential", "config": {}}', "weights="),
        ("model.json", b'{"a":' * 5000, "nested too deeply"),
    ],
)
def test_no_model_at_all(name, content, text, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=text):
        read(tmp_path / name)


def test_weights_alone(tmp_path):
    (tmp_path / "model.h5").write_bytes(tree_weights())
    with pytest.raises(FormatError, match="no architecture"):
        read(tmp_path / "model.h5")


@pytest.mark.parametrize(
    ("layer", "number", "array", "text"),
    [
        ("lstm", 0, np.zeros((FEATURES, 5), np.float32), "kernel"),
        ("lstm", 2, np.zeros(3, np.float32), "bias"),
        ("dense", 0, np.zeros((CLASSES, UNITS), np.float32), "kernel"),
        ("dense", 1, np.full(CLASSES, np.nan, np.float32), "not finite"),
    ],
)
def test_weights_that_do_not_fit(layer, number, array, text, tmp_path):
    weights = arrays()
    weights[layer][number] = array
    name = {"lstm": "memory", "dense": "scores"}[layer]
    with pytest.raises(FormatError, match=f"{name}.*{text}"):
        read(keras_file(tmp_path / "model.keras", weights=tree_weights(weights)))


def test_too_many_and_too_few_weights(tmp_path):
    weights = arrays()
    extra = weights | {"dense": [*weights["dense"], np.zeros(3, np.float32)]}
    with pytest.raises(FormatError, match=r"scores.*1 more"):
        read(keras_file(tmp_path / "model.keras", weights=tree_weights(extra)))
    fewer = weights | {"dense": weights["dense"][:1]}
    with pytest.raises(FormatError, match=r"scores.*lacks its weight 'bias'"):
        read(keras_file(tmp_path / "model.keras", weights=tree_weights(fewer)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"units": "4"}, "units"),
        ({"units": 4.5}, "units"),
        ({"units": 10**9}, "kernel"),
        ({"return_sequences": "yes"}, "return_seq"),
    ],
)
def test_configuration_of_the_wrong_kind(change, text, tmp_path):
    with pytest.raises(FormatError, match=f"memory.*{text}"):
        read(keras_file(tmp_path / "model.keras", layers(**change)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"activation": "tanhh"}, "tanhh"),
        ({"brand_new_option": 3}, "brand_new_option"),
        ({"dtype": "float99"}, "float99"),
        ({"activation": {"class_name": "function", "config": "os.system"}}, "os.system"),
    ],
)
def test_configuration_not_supported(change, text, tmp_path):
    with pytest.raises(UnsupportedError, match=text):
        read(keras_file(tmp_path / "model.keras", layers(**change)))


def test_unknown_layers_and_lambda_are_refused_together(tmp_path):
    members = [
        *layers(activation="tanhh"),
        {"class_name": "Lambda", "config": {"name": "code", "function": ["x", None, None]}},
        {"class_name": "MyLayer", "config": {"name": "mine"}},
    ]
    with pytest.raises(UnsupportedError) as caught:
        read(keras_file(tmp_path / "model.keras", members))
    assert len(caught.value.problems) == 3
    assert all(any(name in problem for problem in caught.value.problems) for name in ("memory", "code", "mine"))


def test_data_outside_the_file_is_not_read(tmp_path):
    path = h5_file(tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        del file["model_weights/scores/scores/part_1:0"]
        file["model_weights/scores/scores/part_1:0"] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(FormatError, match="not followed"):
        read(path)


def test_a_dataset_that_claims_more_than_it_stores(tmp_path):
    path = h5_file(tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        del file["model_weights/scores/scores/part_0:0"]
        file.create_dataset("model_weights/scores/scores/part_0:0", (10**6, 10**5), "f4")
    with pytest.raises(FormatError, match="claims 400000000000 bytes"):
        read(path)


def test_layers_in_a_circle(tmp_path):
    def member(name, source):
        return {
            "class_name": "Activation",
            "name": name,
            "config": {"name": name, "activation": "relu"},
            "inbound_nodes": [[[source, 0, 0, {}]]],
        }

    model = {
        "class_name": "Functional",
        "config": {
            "name": "net",
            "layers": [layers()[0] | {"name": "frames", "inbound_nodes": []}, member("a", "b"), member("b", "a")],
            "input_layers": [["frames", 0, 0]],
            "output_layers": [["b", 0, 0]],
        },
    }
    (tmp_path / "model.json").write_text(json.dumps(model))
    (tmp_path / "weights.h5").write_bytes(tree_weights())
    with pytest.raises(FormatError, match="a, b wait for each other"):
        read(tmp_path / "model.json", weights=tmp_path / "weights.h5")

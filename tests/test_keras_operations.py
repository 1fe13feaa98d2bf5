"""Operation layers of Keras 3 functional models, each in a model of its own, against Keras itself."""

import pytest
from edgelstm_converters.keras import read

from edgelstm.errors import FormatError, UnsupportedError
from tests.keras_checks import FLOATS, check, frames, keras, saved

pytestmark = pytest.mark.usefixtures("trusted_files")
L, ops = keras.layers, keras.ops

ELEMENTWISE = ("relu6", "selu", "log_sigmoid", "hard_silu", "hard_sigmoid", "hard_tanh", "tanh_shrink", "elu", "round", "expm1",
               "log_softmax", "stop_gradient", "copy", "convert_to_tensor")
POSITIVE = ("log1p", "log2", "log10")
REDUCTIONS = ("amax", "amin", "var", "std", "logsumexp", "argmax", "argmin")
OPERATIONS = {
    "elu_alpha": lambda x: ops.elu(x, alpha=0.5),
    "is_nan": lambda x: ops.isnan(x),
    "softmax_axes": lambda x: ops.softmax(x, axis=(1, 2)),
    "floor_divide": lambda x: ops.floor_divide(x, 0.7),
    "mod": lambda x: ops.mod(x, 0.7),
    "mod_of_tensors": lambda x: ops.mod(x, ops.abs(x[:, :, :1]) + 1),
    "cumsum": lambda x: ops.cumsum(x, axis=1),
    "split_at": lambda x: ops.split(x, [2, 3], axis=2),
    "split_even": lambda x: ops.split(x, 5, axis=-1),
    "unstack": lambda x: ops.unstack(x, axis=2),
    "unstack_time": lambda x: ops.unstack(x, axis=1)[2],
    "repeat": lambda x: ops.repeat(x, 3, axis=1),
    "repeat_last": lambda x: ops.repeat(x, 2, axis=-1),
    "tile": lambda x: ops.tile(x, (1, 2, 3)),
    "tile_few": lambda x: ops.tile(x, (2,)),
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 0))),
    "pad_value": lambda x: ops.pad(x, ((0, 0), (1, 2), (3, 0)), constant_values=1.5),
    "pad_edge": lambda x: ops.pad(x, ((0, 0), (2, 0), (0, 1)), mode="edge"),
    "pad_reflect": lambda x: ops.pad(x, ((0, 0), (2, 1), (0, 0)), mode="reflect"),
    "take": lambda x: ops.take(x, 2, axis=1),
    "take_several": lambda x: ops.take(x, [[0, -1], [2, 2]], axis=2),
    "one_hot": lambda x: ops.one_hot(ops.argmax(x, axis=-1), 6),
    "new_axis": lambda x: [x[:, None], x[..., None], x[:, None, 1:3, None, 0], x[None, :, -1]],
    "expand_dims": lambda x: ops.expand_dims(x, (1, -1)),
}


def check_operation(build, folder, rng, offset=0.0):
    x = L.Input(FLOATS)
    found = build(ops.abs(x) + offset if offset else x)
    check(keras.Model(x, found), folder, [frames(rng)])


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name, tmp_path, rng):
    check_operation(getattr(ops, name), tmp_path, rng)


@pytest.mark.parametrize("name", POSITIVE)
def test_logarithms(name, tmp_path, rng):
    check_operation(getattr(ops, name), tmp_path, rng, offset=0.1)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name, axis, keepdims, tmp_path, rng):
    check_operation(lambda x: getattr(ops, name)(x, axis=axis, keepdims=keepdims), tmp_path, rng)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name, tmp_path, rng):
    check_operation(OPERATIONS[name], tmp_path, rng)


REFUSED = {
    "decimals": lambda x: ops.round(x, 2),
    "symmetric": lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0)), mode="symmetric"),
    "indices": lambda x: ops.take(x, ops.argmax(x[0, :, 0], axis=0), axis=1),
    "no_axis": lambda x: ops.cumsum(x),
    "dtype": lambda x: ops.convert_to_tensor(x, dtype="int32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_are_refused(name, tmp_path):
    x = L.Input(FLOATS)
    with pytest.raises(UnsupportedError):
        read(saved(keras.Model(x, REFUSED[name](x)), tmp_path))


def test_an_axis_without_a_length(tmp_path):
    x = L.Input((None, 4))
    model = keras.Model(x, ops.split(x, [3], axis=1)[0])
    with pytest.raises(FormatError, match="known length"):
        read(saved(model, tmp_path))

"""Attention with every option and mask, Softmax with a mask, and GroupNormalization, against Keras itself."""

import numpy as np
import pytest
from edgelstm_converters.keras import read

from edgelstm.errors import UnsupportedError
from tests.keras_checks import as_list, check, frames, keras, saved

pytestmark = pytest.mark.usefixtures("trusted_files")
L = keras.layers
ops = keras.ops

ATTENTION = {
    "dot": lambda **options: L.Attention(**options),
    "scaled": lambda **options: L.Attention(use_scale=True, **options),
    "concat": lambda **options: L.Attention(score_mode="concat", **options),
    "scaled_concat": lambda **options: L.Attention(score_mode="concat", use_scale=True, **options),
    "additive": lambda **options: L.AdditiveAttention(**options),
    "additive_plain": lambda **options: L.AdditiveAttention(use_scale=False, **options),
}
CALLS = {
    "plain": {},
    "causal": {"use_causal_mask": True},
    "scores": {"return_attention_scores": True},
    "causal_scores": {"use_causal_mask": True, "return_attention_scores": True},
}
MASKED = {"unmasked": "", "query": "q", "value": "v", "both": "qv"}
EVERY = pytest.mark.parametrize("masked", MASKED.values(), ids=MASKED)


def two_sequences(masked):
    """Two inputs, and what the attention reads of them: masked where asked for."""
    a, b = L.Input((None, 5), name="a"), L.Input((None, 5), name="b")
    return [a, b], L.Masking(0.5)(a) if "q" in masked else a, L.Masking(0.5)(b) if "v" in masked else b


def unequal(rng):
    return [frames(rng), frames(rng)[:, :6]]


@EVERY
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("kind", ATTENTION)
def test_attention(kind, call, masked, tmp_path, rng):
    inputs, query, value = two_sequences(masked)
    y = as_list(ATTENTION[kind]()([query, value], **call))
    model = keras.Model(inputs, [*y, L.GRU(2)(y[0])])  # the GRU reads the mask of the query
    check(model, tmp_path, unequal(rng), native=kind in ("dot", "scaled_concat"))


def test_attention_with_a_key_and_dropout(tmp_path, rng):
    inputs, query, value = two_sequences("qv")
    y = L.Attention(dropout=0.4)([query, value, L.Dense(5)(value)], use_causal_mask=True)
    check(keras.Model(inputs, y), tmp_path, unequal(rng))


@EVERY
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_multi_head_attention(call, masked, tmp_path, rng):
    inputs, query, value = two_sequences(masked)
    y = as_list(L.MultiHeadAttention(2, 3)(query, value, **call))
    model = keras.Model(inputs, [*y, L.GRU(2)(y[0])])
    check(model, tmp_path, unequal(rng))


@EVERY
@pytest.mark.parametrize(
    "options",
    [{"dropout": 0.2}, {"sliding_window": 2}, {"output_shape": 4}, {"output_shape": (2, 3)}, {"use_bias": False}],
    ids=["dropout", "window", "width", "shape", "no_bias"],
)
def test_multi_head_options(options, masked, tmp_path, rng):
    inputs, query, value = two_sequences(masked)
    y = L.MultiHeadAttention(2, 3, **options)(query, value, key=L.Dense(4)(value))
    check(keras.Model(inputs, y), tmp_path, unequal(rng))


@pytest.mark.parametrize("axes", [3, 4])
def test_multi_head_attention_mask(axes, tmp_path, rng):
    inputs, query, value = two_sequences("")
    allowed = ops.greater(ops.matmul(query, ops.transpose(value, (0, 2, 1))), -1)
    mask = allowed if axes == 3 else ops.expand_dims(allowed, 1)
    y = L.MultiHeadAttention(2, 3)(query, value, attention_mask=mask)
    check(keras.Model(inputs, y), tmp_path, unequal(rng))


def test_a_query_mask_that_keras_ignores_is_refused(tmp_path):
    inputs, query, value = two_sequences("")
    y = L.MultiHeadAttention(2, 3)(query, value, query_mask=ops.greater(query[:, :, 0], 0))
    with pytest.raises(UnsupportedError, match="query_mask"):
        read(saved(keras.Model(inputs, y), tmp_path))


@pytest.mark.parametrize("kind", ["attention", "multi_head", "multi_head_scores"])
def test_sequences_without_a_step_that_counts(kind, tmp_path):
    inputs, query, value = two_sequences("qv")
    if kind == "attention":
        y = L.Attention()([query, value])
    else:
        y = L.MultiHeadAttention(2, 3)(query, value, return_attention_scores=kind.endswith("scores"))
    check(keras.Model(inputs, y), tmp_path, [np.full((2, 3, 5), 0.5, np.float32)] * 2)


SOFTMAX = {
    "one_axis": (3, lambda x: L.Softmax(axis=1)(x)),
    "listed_axis": (3, lambda x: L.Softmax(axis=[1])(x)),
    "two_axes": (3, lambda x: L.Softmax(axis=(1, 2))(x)),
    "steps": (2, lambda x: L.Softmax()(x, mask=ops.greater(x, -4.0))),
    "positional_mask": (2, lambda x: L.Softmax()(x, ops.greater(x, -4.0))),
    "broadcast_mask": (3, lambda x: L.Softmax(axis=1)(x, mask=ops.greater(x[:, :, :1], -0.4))),
    "mask_of_numbers": (3, lambda x: L.Softmax(axis=(1, 2))(x, mask=ops.cast(ops.greater(x, 0.2), "float32"))),
}


@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax(name, tmp_path, rng):
    rank, build = SOFTMAX[name]
    x = L.Input((None, 5)[: rank - 1])
    array = frames(rng) if rank == 3 else np.where(np.arange(7) < [[3], [0], [7]], rng.standard_normal((3, 7)), -5)
    check(keras.Model(x, build(x)), tmp_path, [array.astype(np.float32)], native=True)


GROUPS = {
    "channels": {"groups": 5},
    "one": {"groups": 1, "epsilon": 0.1},
    "each": {"groups": -1, "scale": False},
    "time": {"groups": 7, "axis": 1, "center": False},
    "from_behind": {"groups": 1, "axis": -2},
    "last": {"groups": 5, "axis": 2},
}


@pytest.mark.parametrize("name", GROUPS)
def test_group_normalization(name, tmp_path, rng):
    x = L.Input((7, 5))
    y = L.GroupNormalization(**GROUPS[name])(L.Masking(0.5)(x))
    check(keras.Model(x, [y, L.GRU(2)(y)]), tmp_path, [frames(rng)], native=True)


@pytest.mark.parametrize("shape", [(6,), (None, 6), (4, 3, 6)])
def test_group_normalization_of_any_rank(shape, tmp_path, rng):
    x = L.Input(shape)
    array = rng.standard_normal((2, *(length or 9 for length in shape))).astype(np.float32)
    check(keras.Model(x, L.GroupNormalization(3)(x)), tmp_path, [array])

"""MultiHeadAttention written out as matrix products and a softmax."""

from dataclasses import dataclass

import numpy as np
from edgelstm_converters.keras.attention import both, causal_mask, step_numbers
from edgelstm_converters.keras.call import Call, Tensor
from edgelstm_converters.keras.registry import layer

_HIDDEN = -1e9  # the score that Keras gives a step that does not count
_EMPTY_ROWS_ARE_ZERO = (3, 10)  # from this version on, where the softmax runs as a layer


@dataclass(frozen=True)
class _Parts:
    """The inputs of one call; without a key the value is it."""

    query: Tensor
    value: Tensor
    key: Tensor
    has_key: bool


@layer(
    "MultiHeadAttention",
    honours="num_heads key_dim value_dim use_bias output_shape flash_attention sliding_window",
    fixed={"attention_axes": (None, [1]), "use_gate": (False, None)},
    arguments="value key query_mask value_mask key_mask attention_mask return_attention_scores training use_causal_mask",
)
def multi_head_attention(call: Call) -> list[Tensor]:
    """Scaled dot-product attention in several heads (Vaswani et al. 2017)."""
    parts = _parts(call)
    query, key, value = parts.query.value, parts.key.value, parts.value.value
    heads, size = call.integer("num_heads"), call.integer("key_dim")
    depth = call.integer("value_dim", size)
    q, k, v = (
        _projected(call, x, name, heads, n)
        for x, name, n in ((query, "query", size), (key, "key", size), (value, "value", depth))
    )
    shrunk = call.add("mul", q, call.constant(np.float32(size**-0.5), "scale"), suffix="/query/scaled")
    scores = call.add("matmul", shrunk, call.add("transpose", k, suffix="/key/turned", perm=(0, 1, 3, 2)), suffix="/scores")
    weights = _weights(call, scores, _allowed(call, parts))
    mixed = call.add("matmul", weights, v, suffix="/mixed")
    joined = call.add("transpose", mixed, suffix="/joined", perm=(0, 2, 1, 3))
    flat = call.add("reshape", joined, call.integers(0, 0, heads * depth), suffix="/flat")
    y = Tensor(_output(call, flat, heads, depth), parts.query.mask)
    return [y, Tensor(weights)] if call.kwargs.get("return_attention_scores") else [y]


def _parts(call: Call) -> _Parts:
    tensors = [*call.inputs, *[call.kwargs[name] for name in ("value", "key") if isinstance(call.kwargs.get(name), Tensor)]]
    if not 2 <= len(tensors) <= 3:
        raise call.bad(f"is called with {len(tensors)} inputs, not query, value and perhaps key")
    ranks = [call.rank(tensor.value) for tensor in tensors]
    if ranks != [3] * len(ranks):
        raise call.refuse(f"inputs with {ranks} axes; supported are three each")
    return _Parts(tensors[0], tensors[1], tensors[-1], has_key=len(tensors) == 3)


def _allowed(call: Call, parts: _Parts) -> str | None:
    """Which query may attend to which key, (batch, 1 or heads, query steps, key steps) bool; None where all may."""
    query = _mask(call, "query", parts.query)
    if query is not None and parts.query.mask is None and call.context.major >= 3:
        raise call.refuse("a query_mask for a query that carries no mask: some versions of Keras 3 ignore it")
    others = [_mask(call, "value", parts.value), _mask(call, "key", parts.key) if parts.has_key else None]
    found = [] if query is None else [call.add("unsqueeze", query, suffix="/query_mask", axes=(2,))]
    found += [call.add("unsqueeze", mask, suffix="/key_mask", axes=(1,)) for mask in others if mask is not None]
    if call.kwargs.get("use_causal_mask"):
        found.append(causal_mask(call, parts.query.value, parts.value.value))
    if call.config.get("sliding_window") is not None:
        found.append(_band(call, parts, call.integer("sliding_window")))
    given = call.kwargs.get("attention_mask")
    if isinstance(given, Tensor):
        found.append(call.add("cast", given.value, suffix="/attention_mask", to="bool"))
    elif given is not None:
        raise call.refuse(f"attention_mask = {given!r}; supported is a tensor of the model")
    allowed = both(call, found)
    if allowed is None or call.rank(allowed) == 4:
        return allowed
    return call.add("unsqueeze", allowed, suffix="/allowed/heads", axes=(-3,))


def _mask(call: Call, name: str, tensor: Tensor) -> str | None:
    given = call.kwargs.get(f"{name}_mask")
    if isinstance(given, Tensor):
        return given.value
    return None if tensor.mask is None else tensor.mask.value


def _band(call: Call, parts: _Parts, width: int) -> str:
    """(query steps, key steps) bool: true where the two are less than `width` steps apart."""
    row, column = step_numbers(call, parts.query.value, parts.value.value)
    limit = call.integers(width)
    ahead = call.add("less", call.add("sub", column, row, suffix="/ahead"), limit, suffix="/not_ahead")
    behind = call.add("less", call.add("sub", row, column, suffix="/behind"), limit, suffix="/not_behind")
    return call.add("and", ahead, behind, suffix="/band")


def _weights(call: Call, scores: str, allowed: str | None) -> str:
    """The softmax of the scores that are allowed. A query that may attend to nothing: to all alike, or zeros by a layer."""
    if allowed is None:
        return call.add("softmax", scores, suffix="/weights", axis=-1)
    hidden = call.add("where", allowed, scores, call.constant(np.float32(_HIDDEN), "hidden"), suffix="/masked")
    weights = call.add("softmax", hidden, suffix="/weights", axis=-1)
    by_layer = bool(call.number("dropout", 0.0) or call.kwargs.get("return_attention_scores"))
    if not by_layer or (call.context.major, call.context.minor) < _EMPTY_ROWS_ARE_ZERO:
        return weights
    return call.add("where", allowed, weights, call.constant(np.float32(0), "zero"), suffix="/kept")


def _projected(call: Call, x: str, name: str, heads: int, size: int) -> str:
    """(batch, time, features) -> (batch, heads, time, size)."""
    kernel = call.take(f"{name} kernel", call.features(x), heads, size).reshape(-1, heads * size)
    bias = call.take(f"{name} bias", heads, size).reshape(-1) if call.flag("use_bias", True) else None
    y = call.add(
        "dense",
        x,
        call.constant(kernel, f"{name}/kernel"),
        None if bias is None else call.constant(bias, f"{name}/bias"),
        suffix=f"/{name}",
    )
    split = call.add("reshape", y, call.integers(0, 0, heads, size), suffix=f"/{name}/heads")
    return call.add("transpose", split, suffix=f"/{name}/turned", perm=(0, 2, 1, 3))


def _output(call: Call, flat: str, heads: int, depth: int) -> str:
    """The heads of every step mixed into its output: (batch, time, heads * depth) -> (batch, time, *output_shape)."""
    shape = call.config.get("output_shape")
    free = [None] if shape is None else shape if isinstance(shape, list) else [shape]
    kernel = call.take("output kernel", heads, depth, *free)
    bias = call.take("output bias", *kernel.shape[2:]).reshape(-1) if call.flag("use_bias", True) else None
    matrix = call.constant(kernel.reshape(heads * depth, -1), "kernel")
    y = call.add("dense", flat, matrix, None if bias is None else call.constant(bias, "bias"))
    return y if len(free) == 1 else call.add("reshape", y, call.integers(0, 0, *kernel.shape[2:]), suffix="/output")

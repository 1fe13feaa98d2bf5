"""Attention layers written out as matrix products and a softmax."""

import numpy as np
from edgelstm_converters.keras.call import Call, Mask, Tensor
from edgelstm_converters.keras.registry import layer

_HIDDEN = 1e9  # what Keras subtracts from the score of a step that does not count


@layer("Attention", honours="use_scale", fixed={"score_mode": ("dot",), "causal": (False, None)})
def attention(call: Call) -> Tensor:
    """softmax(scale query key^T) value, of [query, value] or [query, value, key] (Luong et al. 2015)."""
    query, value, key = _operands(call)
    turned = call.add("transpose", key, suffix="/key", perm=(0, 2, 1))
    scores = call.add("matmul", query, turned, suffix="/scores")
    if call.flag("use_scale"):
        scores = call.add("mul", scores, call.constant(call.take("scale"), "scale"), suffix="/scaled")
    return _attended(call, scores, value)


@layer("AdditiveAttention", honours="use_scale", fixed={"causal": (False, None)})
def additive_attention(call: Call) -> Tensor:
    """softmax(sum(scale tanh(query + key))) value (Bahdanau et al. 2015)."""
    query, value, key = _operands(call)
    rows = call.add("unsqueeze", query, suffix="/query", axes=(2,))
    columns = call.add("unsqueeze", key, suffix="/key", axes=(1,))
    terms = call.add("tanh", call.add("add", rows, columns, suffix="/sum"), suffix="/tanh")
    if call.flag("use_scale", True):
        scale = call.constant(call.take("scale", call.features(query)), "scale")
        terms = call.add("mul", terms, scale, suffix="/scaled")
    return _attended(call, call.add("reduce_sum", terms, suffix="/scores", axes=(3,)), value)


@layer(
    "MultiHeadAttention",
    honours="num_heads key_dim value_dim use_bias",
    fixed={
        "output_shape": (None,),
        "attention_axes": (None, [1]),
        "flash_attention": (None, False),
        "use_gate": (False, None),
    },
)
def multi_head_attention(call: Call) -> Tensor:
    """Scaled dot-product attention in several heads (Vaswani et al. 2017)."""
    tensors = [*call.inputs, *[arg for arg in call.args if isinstance(arg, Tensor)]]
    tensors += [call.kwargs[name] for name in ("value", "key") if isinstance(call.kwargs.get(name), Tensor)]
    if not 2 <= len(tensors) <= 3:
        raise call.bad(f"is called with {len(tensors)} inputs, not query, value and perhaps key")
    _refuse_options(call, "attention_mask", "query_mask", "value_mask", "key_mask")
    if any(tensor.mask is not None for tensor in tensors):
        raise call.refuse("masked inputs are not supported")
    query, value = tensors[0].value, tensors[1].value
    key = tensors[2].value if len(tensors) > 2 else value
    heads, size = call.integer("num_heads"), call.integer("key_dim")
    depth = call.integer("value_dim", size)
    q, k, v = (
        _projected(call, x, name, heads, n)
        for x, name, n in ((query, "query", size), (key, "key", size), (value, "value", depth))
    )
    shrunk = call.add("mul", q, call.constant(np.float32(size**-0.5), "scale"), suffix="/query/scaled")
    scores = call.add("matmul", shrunk, call.add("transpose", k, suffix="/key/turned", perm=(0, 1, 3, 2)), suffix="/scores")
    mixed = call.add("matmul", call.add("softmax", scores, suffix="/weights", axis=-1), v, suffix="/mixed")
    joined = call.add("transpose", mixed, suffix="/joined", perm=(0, 2, 1, 3))
    flat = call.add("reshape", joined, call.integers(0, 0, heads * depth), suffix="/flat")
    kernel = call.take("output kernel", heads, depth, None)
    bias = call.constant(call.take("output bias", kernel.shape[2]), "bias") if call.flag("use_bias", True) else None
    return Tensor(call.add("dense", flat, call.constant(kernel.reshape(heads * depth, -1), "kernel"), bias))


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


def _operands(call: Call) -> tuple[str, str, str]:
    _refuse_options(call)
    if not 2 <= len(call.inputs) <= 3:
        raise call.bad(f"is called with {len(call.inputs)} inputs, not query, value and perhaps key")
    values = [tensor.value for tensor in call.inputs]
    return values[0], values[1], values[-1] if len(values) == 3 else values[1]


def _refuse_options(call: Call, *more: str) -> None:
    for name in ("use_causal_mask", "return_attention_scores", *more):
        if call.kwargs.get(name):
            raise call.refuse(f"{name} is not supported")


def _attended(call: Call, scores: str, value: str) -> Tensor:
    """The values mixed by the softmax of the scores, as the masks of query and value allow."""
    query_mask, value_mask = _masks(call)
    if value_mask is not None:
        counts = call.add("unsqueeze", value_mask.value, suffix="/value_mask", axes=(1,))
        hidden = call.add("sub", scores, call.constant(np.float32(_HIDDEN), "hidden"), suffix="/hidden")
        scores = call.add("where", counts, scores, hidden, suffix="/masked")
    y = call.add("matmul", call.add("softmax", scores, suffix="/weights", axis=-1), value)
    if query_mask is None:
        return Tensor(y)
    rows = call.add("unsqueeze", query_mask.value, suffix="/query_mask", axes=(2,))
    return Tensor(call.add("where", rows, y, call.constant(np.float32(0), "zero"), suffix="/kept"), query_mask)


def _masks(call: Call) -> tuple[Mask | None, Mask | None]:
    given = call.kwargs.get("mask")
    if isinstance(given, list):
        masks = [Mask(lambda tensor=tensor: tensor.value) if isinstance(tensor, Tensor) else None for tensor in given]
    else:
        masks = [tensor.mask for tensor in call.inputs]
    return masks[0], masks[1] if len(masks) > 1 else None

"""Attention layers written out as matrix products and a softmax; `multi_head.py` has the one with several heads."""

import numpy as np
from edgelstm_converters.keras.call import Call, Mask, Tensor
from edgelstm_converters.keras.registry import layer

_HIDDEN = np.float32(-1e9)  # Keras subtracts 1e9 from the score of a step that does not count: in float32 that gives this
_ARGUMENTS = "mask training return_attention_scores use_causal_mask"


@layer("Attention", honours="use_scale causal", fixed={"score_mode": ("dot", "concat")}, arguments=_ARGUMENTS)
def attention(call: Call) -> list[Tensor]:
    """softmax(scores) value of [query, value, key?]; scores: scale query key^T, or weight sum(tanh(scale (query + key)))."""
    query, value, key = _operands(call)
    scale = call.constant(call.take("scale"), "scale") if call.flag("use_scale") else None
    if call.config.get("score_mode") == "concat":
        weight = call.constant(call.take("concat_score_weight"), "concat_score_weight")
        total = call.add("reduce_sum", _tanh_of_sums(call, query, key, scale), suffix="/total", axes=(-1,))
        return _attended(call, call.add("mul", total, weight, suffix="/scores"), value)
    scores = call.add("matmul", query, _turned(call, key), suffix="/scores")
    return _attended(call, scores if scale is None else call.add("mul", scores, scale, suffix="/scaled"), value)


@layer("AdditiveAttention", honours="use_scale causal", arguments=_ARGUMENTS)
def additive_attention(call: Call) -> list[Tensor]:
    """softmax(sum(scale tanh(query + key))) value (Bahdanau et al. 2015)."""
    query, value, key = _operands(call)
    terms = _tanh_of_sums(call, query, key, None)
    if call.flag("use_scale", True):
        scale = call.constant(call.take("scale", call.features(query)), "scale")
        terms = call.add("mul", terms, scale, suffix="/scaled")
    return _attended(call, call.add("reduce_sum", terms, suffix="/scores", axes=(-1,)), value)


def causal_mask(call: Call, query: str, key: str) -> str:
    """(query steps, key steps) bool: true where the key is not behind the query."""
    row, column = step_numbers(call, query, key)
    return call.add("greater_equal", row, column, suffix="/causal")


def step_numbers(call: Call, query: str, key: str) -> tuple[str, str]:
    """The numbers of the time steps: those of the query as a column, those of the key as a row."""
    numbers = [_numbered(call, value, f"/{name}") for name, value in (("query", query), ("key", key))]
    return call.add("unsqueeze", numbers[0], suffix="/query/column", axes=(1,)), numbers[1]


def both(call: Call, masks: list[str]) -> str | None:
    """Where all of the masks hold; None without any."""
    result = masks[0] if masks else None
    for mask in masks[1:]:
        result = call.add("and", result, mask, suffix="/allowed")
    return result


def _numbered(call: Call, value: str, suffix: str) -> str:
    steps = call.add("shape", value, suffix=f"{suffix}/steps", start=-2, end=-1)
    zero, one = call.integers(0), call.integers(1)
    return call.add("range", zero, steps, one, suffix=f"{suffix}/numbers")


def _operands(call: Call) -> tuple[str, str, str]:
    if not 2 <= len(call.inputs) <= 3:
        raise call.bad(f"is called with {len(call.inputs)} inputs, not query, value and perhaps key")
    values = [tensor.value for tensor in call.inputs]
    if any(call.rank(value) != 3 for value in values):
        raise call.refuse(f"inputs with {[call.rank(value) for value in values]} axes; supported are three each")
    return values[0], values[1], values[2] if len(values) == 3 else values[1]


def _turned(call: Call, key: str) -> str:
    return call.add("transpose", key, suffix="/key", perm=(0, 2, 1))


def _tanh_of_sums(call: Call, query: str, key: str, scale: str | None) -> str:
    """tanh(scale (query + key)) for every pair of time steps: (batch, query steps, key steps, features)."""
    rows = call.add("unsqueeze", query, suffix="/query", axes=(2,))
    columns = call.add("unsqueeze", key, suffix="/key", axes=(1,))
    total = call.add("add", rows, columns, suffix="/sum")
    return call.add("tanh", total if scale is None else call.add("mul", total, scale, suffix="/scaled"), suffix="/tanh")


def _attended(call: Call, scores: str, value: str) -> list[Tensor]:
    """The values mixed by the softmax of the scores, as the masks of query and value allow; the weights where asked for."""
    query_mask, value_mask = _masks(call)
    allowed = []
    if value_mask is not None:
        allowed.append(call.add("unsqueeze", value_mask.value, suffix="/value_mask", axes=(1,)))
    if call.flag("causal") or call.kwargs.get("use_causal_mask"):
        allowed.append(causal_mask(call, call.inputs[0].value, call.inputs[-1].value))
    counts = both(call, allowed)
    if counts is not None:
        scores = call.add("where", counts, scores, call.constant(_HIDDEN, "hidden"), suffix="/masked")
    weights = call.add("softmax", scores, suffix="/weights", axis=-1)
    y = call.add("matmul", weights, value)
    if query_mask is not None:
        rows = call.add("unsqueeze", query_mask.value, suffix="/query_mask", axes=(2,))
        y = call.add("where", rows, y, call.constant(np.float32(0), "zero"), suffix="/kept")
    return [Tensor(y, query_mask), *([Tensor(weights)] if call.kwargs.get("return_attention_scores") else [])]


def _masks(call: Call) -> tuple[Mask | None, Mask | None]:
    given = call.kwargs.get("mask")
    if isinstance(given, list):
        masks = [Mask(lambda tensor=tensor: tensor.value) if isinstance(tensor, Tensor) else None for tensor in given]
    else:
        masks = [tensor.mask for tensor in call.inputs]
    masks += [None, None]
    return masks[0], masks[1]

"""A model judged by a user's own measure, on data with known answers."""

from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.graph import Graph
from edgelstm.model import Model, load


def evaluate(model: Model | Graph | str | PathLike[str], data: Any, metric: Callable[[Any, Any], float]) -> float:
    """The mean of `metric(y, prediction)` over data, in which every sample counts the same.

    `data` is a pair (x, y) of arrays, or an iterable of such pairs, each a batch; x is what `Model.predict` takes. `metric` is
    called once for each pair, with y as it is given and what the model predicts. A pair counts by the length of the first axis
    of y. A measure that is no mean over samples (an F1 score, say) wants all samples in one pair. The same call with a float32
    file and a reduced one tells what the reduction costs. Raises ShapeError where the data do not fit or there are none.
    """
    model = model if isinstance(model, Model) else load(model)
    total = samples = 0.0
    for x, y in _pairs(data):
        count = _samples(y)
        total += count * float(metric(y, model.predict(x)))
        samples += count
    if not samples:
        raise ShapeError("there are no samples to evaluate; give a pair (x, y) or an iterable of pairs, with at least one row")
    return total / samples


def _pairs(data: Any) -> Iterator[tuple[Any, Any]]:
    """The pairs of the data: the data itself where it is one."""
    if isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], tuple):
        yield data
        return
    if not isinstance(data, Iterable) or isinstance(data, str | bytes | dict | np.ndarray):
        raise ShapeError(f"data is a {type(data).__name__}; give a pair (x, y) or an iterable of pairs")
    for pair in data:
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise ShapeError(f"data holds a {type(pair).__name__} where a pair (x, y) is due")
        yield tuple(pair)


def _samples(y: Any) -> int:
    """Length of the first axis of the answers, or of the first of several; a single number is one sample."""
    if isinstance(y, dict):
        y = next(iter(y.values()), ())
    elif isinstance(y, list | tuple) and y and isinstance(y[0], np.ndarray):
        y = y[0]
    return len(y) if np.ndim(y) else 1

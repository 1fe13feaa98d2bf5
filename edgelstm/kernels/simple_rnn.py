"""The simple recurrent network over a sequence: h' = act(p + R h).

p: projected inputs with bias, row (t, b) at t * p_t + b * p_b as [block][lanes]; r: panels [block][units][lanes];
work: 2 * batch * padded floats. All else is as in the LSTM.
"""

from typing import Any, NamedTuple

from edgelstm.kernels import activate, formulas, products, recurrent, single
from edgelstm.kernels.activate import Activation
from edgelstm.kernels.declare import kernel
from edgelstm.kernels.recurrent import Sequence

STANDARD = f"p:f32* r:f32* h0:f32* y:f32* hn:f32* work:f32* {recurrent.COMMON}"


class Options(NamedTuple):
    """What the general kernel is told: a bound on what enters the activation (0: none), and the activation."""

    clip: float
    activation: Activation


@kernel("simple_rnn", STANDARD)
def simple_rnn(v: Any) -> Any:
    """With tanh."""
    tanh = formulas.make(v).tanh
    walk = _sequence(v, v.inline(lambda x, options: tanh(x)))

    def simple_rnn(p, r, h0, y, hn, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold):
        q = Sequence(p, y, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold)
        walk(q, h0, hn, r, 0)

    return simple_rnn


class Panels(NamedTuple):
    """The weights of a single step."""

    w: Any
    bias: Any
    r: Any


@kernel("simple_rnn_step", "x:f32* w:f32* bias:f32* r:f32* h:f32* y:f32* n_in:int units:int")
def simple_rnn_step(v: Any) -> Any:
    """One step of one row with tanh; see `single`."""
    start, product, tanh = single.start(v, 1), products.make_pair(v, 1), formulas.make(v).tanh

    @v.inline
    def block(q, weights, unit, left):
        sums = start(weights.bias, unit)
        sums = product(sums, q.x, weights.w, unit * q.n_in, q.n_in, q.h, weights.r, unit * q.units, q.units)
        return tanh(sums[0])

    step = single.walk(v, block)

    def simple_rnn_step(x, w, bias, r, h, y, n_in, units):
        step(single.Frame(x, h, h, y, n_in, units), Panels(w, bias, r))

    return simple_rnn_step


@kernel("simple_rnn_general", f"{STANDARD} clip:f32 {activate.parameters('f')}")
def simple_rnn_general(v: Any) -> Any:
    """With an activation by code."""
    chosen = activate.make(v)
    walk = _sequence(v, v.inline(lambda x, options: chosen(x, options.activation, options.clip)))

    def simple_rnn_general(
        p, r, h0, y, hn, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold,
        clip, f_code, f_alpha, f_beta,
    ):  # fmt: skip
        q = Sequence(p, y, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold)
        walk(q, h0, hn, r, Options(clip, Activation(f_code, f_alpha, f_beta)))

    return simple_rnn_general


def _sequence(v: Any, activation: Any) -> Any:
    load, commit = v.load, recurrent.commit(v)

    @v.inline
    def cell(q, step, place, sums, options):
        commit(q, step, place, activation(sums[0] + load(q.p, place.p), options))

    sweep = recurrent.sweep(v, 1, cell)

    @v.inline
    def advance(q, step, r, options):
        sweep(q, step, step.now, r, r, options)

    return recurrent.walk(v, advance)

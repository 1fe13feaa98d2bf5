"""The simple recurrent network over a sequence: h' = act(p + R h).

p: projected inputs with bias, row (t, b) at t * p_t + b * p_b as [block][lanes]; r: panels of the format; work: 2 *
batch * padded floats and what the format needs. All else is as in the LSTM.
"""

from typing import Any, NamedTuple

from edgelstm.kernels import activate, formulas, halves, recurrent, single
from edgelstm.kernels.activate import Activation
from edgelstm.kernels.formats import Format, each_format
from edgelstm.kernels.recurrent import Sequence

STANDARD = f"p:f32* r:panels* h0:f32* y:f32* hn:f32* work:f32* {recurrent.COMMON}"


class Options(NamedTuple):
    """What the general kernel is told: a bound on what enters the activation (0: none), and the activation."""

    clip: float
    activation: Activation


@each_format("simple_rnn", STANDARD)
def simple_rnn(v: Any, form: Format) -> Any:
    """With tanh."""
    walk = _sequence(v, form, _with_tanh(v), halves.made(v, form, _with_tanh))

    def simple_rnn(p, r, h0, y, hn, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale):
        q = Sequence(p, y, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale)
        walk(q, h0, hn, r, 0)

    return simple_rnn


class Panels(NamedTuple):
    """The weights of a single step."""

    w: Any
    bias: Any
    r: Any


@each_format("simple_rnn_step", f"x:f32* w:panels* bias:f32* r:panels* h:f32* y:f32* n_in:int units:int {single.SCRATCH}")
def simple_rnn_step(v: Any, form: Format) -> Any:
    """One step of one row with tanh; see `single`."""
    step = single.walk(v, form, 1, _single)

    def simple_rnn_step(x, w, bias, r, h, y, n_in, units, work, x_scale, h_scale):
        step(single.Frame(x, h, h, y, n_in, units, work, x_scale, h_scale), Panels(w, bias, r))

    return simple_rnn_step


def _single(v: Any, form: Format) -> single.Cell:
    tanh = formulas.make(v).tanh
    return single.joint(v, form, 1, v.inline(lambda q, sums, unit, left: tanh(sums[0])))


@each_format("simple_rnn_general", f"{STANDARD} clip:f32 {activate.parameters('f')}")
def simple_rnn_general(v: Any, form: Format) -> Any:
    """With an activation by code."""
    walk = _sequence(v, form, cell(v, general_rule(v)))

    def simple_rnn_general(
        p, r, h0, y, hn, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale,
        clip, f_code, f_alpha, f_beta,
    ):  # fmt: skip
        q = Sequence(p, y, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale)
        walk(q, h0, hn, r, Options(clip, Activation(f_code, f_alpha, f_beta)))

    return simple_rnn_general


def _with_tanh(v: Any) -> Any:
    return cell(v, standard_rule(v))


def standard_rule(v: Any) -> Any:
    """tanh, as `rule(x, options)`."""
    tanh = formulas.make(v).tanh
    return v.inline(lambda x, options: tanh(x))


def general_rule(v: Any) -> Any:
    """The activation and the bound that Options name."""
    chosen = activate.make(v)
    return v.inline(lambda x, options: chosen(x, options.activation, options.clip))


def cell(v: Any, rule: Any) -> Any:
    """`cell(sequence, step, place, sums, options)`: what follows the recurrent product."""
    load, commit = v.load, recurrent.commit(v)

    @v.inline
    def cell(q, step, place, sums, options):
        commit(q, step, place, rule(sums[0] + load(q.p, place.p), options))

    return cell


def _sequence(v: Any, form: Format, cell: Any, half: Any = None) -> Any:
    sweep = recurrent.sweep(v, form, 1, cell, states=2, half=half)

    @v.inline
    def advance(q, step, r, options):
        sweep(q, step, step.now, r, r, options)

    return recurrent.walk(v, advance)

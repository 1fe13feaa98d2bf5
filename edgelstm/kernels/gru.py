"""The GRU over a sequence: h' = z h + (1 - z) n, gates in the order z r n; with the reset gate after or before.

After (gru): n = tanh(p_n + r (R_n h + rb_n)). Before (gru_before): n = tanh(p_n + R_n (r h) + rb_n).

p: projected inputs with bias, row (t, b) at t * p_t + b * p_b as [block][3 * lanes]; rb: [block][3 * lanes], null for
zeros. gru: panels r of three gates; work 2 * batch * padded floats. gru_before: panels r_zr of two gates and r_n of one; work
4 * batch * padded; both and what the format needs. All else is as in the LSTM.
"""

from types import SimpleNamespace
from typing import Any, NamedTuple

from edgelstm.kernels import activate, formulas, halves, recurrent, single
from edgelstm.kernels.activate import Activation
from edgelstm.kernels.formats import Format, each_format
from edgelstm.kernels.recurrent import Sequence

_STATES = f"rb:f32* h0:f32* y:f32* hn:f32* work:f32* {recurrent.COMMON}"
_AFTER = f"p:f32* r:panels* {_STATES}"
_BEFORE = f"p:f32* r_zr:panels* r_n:panels* {_STATES}"
_CHOICES = f"clip:f32 {activate.parameters('f', 'g')}"


class Options(NamedTuple):
    """What the general kernels are told: a bound on what enters the activations (0: none), and the activations."""

    clip: float
    gate: Activation
    candidate: Activation


class Weights(NamedTuple):
    """The panels of one or two products, and the recurrent bias."""

    first: Any
    second: Any
    bias: Any


@each_format("gru", _AFTER)
def gru(v: Any, form: Format) -> Any:
    """The reset gate after the product, sigmoid and tanh."""
    walk = _after(v, form, standard_rules(v), halves.made(v, form, lambda half: reset_after(half, standard_rules(half))))

    def gru(p, r, rb, h0, y, hn, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale):
        q = Sequence(p, y, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale)
        walk(q, h0, hn, Weights(r, r, rb), 0)

    return gru


class Panels(NamedTuple):
    """The weights of a single step."""

    w: Any
    bias: Any
    r: Any
    rb: Any


@each_format("gru_step", f"x:f32* w:panels* bias:f32* r:panels* rb:f32* h:f32* y:f32* n_in:int units:int {single.SCRATCH}")
def gru_step(v: Any, form: Format) -> Any:
    """One step of one row, the reset gate after the product, standard activations; see `single`."""
    step = single.walk(v, form, 3, _single)

    def gru_step(x, w, bias, r, rb, h, y, n_in, units, work, x_scale, h_scale):
        step(single.Frame(x, h, h, y, n_in, units, work, x_scale, h_scale), Panels(w, bias, r, rb))

    return gru_step


def _single(v: Any, form: Format) -> single.Cell:
    f = formulas.make(v)
    sigmoid, tanh, fma, load_part = f.sigmoid, f.tanh, v.fma, v.load_part

    @v.inline
    def finish(q, sums, unit, left):
        z, r = sigmoid(sums[0] + sums[3]), sigmoid(sums[1] + sums[4])
        n = tanh(fma(r, sums[5], sums[2]))
        return fma(z, load_part(q.h, unit, left) - n, n)

    return single.apart(v, form, 3, finish)


@each_format("gru_general", f"{_AFTER} {_CHOICES}")
def gru_general(v: Any, form: Format) -> Any:
    """The reset gate after the product, activations by code: f for z and r, g for n."""
    walk = _after(v, form, general_rules(v))

    def gru_general(
        p, r, rb, h0, y, hn, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale,
        clip, f_code, f_alpha, f_beta, g_code, g_alpha, g_beta,
    ):  # fmt: skip
        options = Options(clip, Activation(f_code, f_alpha, f_beta), Activation(g_code, g_alpha, g_beta))
        q = Sequence(p, y, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale)
        walk(q, h0, hn, Weights(r, r, rb), options)

    return gru_general


@each_format("gru_before", _BEFORE)
def gru_before(v: Any, form: Format) -> Any:
    """The reset gate before the product, sigmoid and tanh."""
    walk = _before(v, form, standard_rules(v))

    def gru_before(p, r_zr, r_n, rb, h0, y, hn, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale):
        q = Sequence(p, y, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale)
        walk(q, h0, hn, Weights(r_zr, r_n, rb), 0)

    return gru_before


@each_format("gru_before_general", f"{_BEFORE} {_CHOICES}")
def gru_before_general(v: Any, form: Format) -> Any:
    """The reset gate before the product, activations by code: f for z and r, g for n."""
    walk = _before(v, form, general_rules(v))

    def gru_before_general(
        p, r_zr, r_n, rb, h0, y, hn, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale,
        clip, f_code, f_alpha, f_beta, g_code, g_alpha, g_beta,
    ):  # fmt: skip
        options = Options(clip, Activation(f_code, f_alpha, f_beta), Activation(g_code, g_alpha, g_beta))
        q = Sequence(p, y, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale)
        walk(q, h0, hn, Weights(r_zr, r_n, rb), options)

    return gru_before_general


def standard_rules(v: Any) -> SimpleNamespace:
    """Sigmoid for the gates, tanh for the candidate."""
    f = formulas.make(v)
    sigmoid, tanh = f.sigmoid, f.tanh
    gate, candidate = v.inline(lambda x, options: sigmoid(x)), v.inline(lambda x, options: tanh(x))
    return SimpleNamespace(gate=gate, candidate=candidate)


def general_rules(v: Any) -> SimpleNamespace:
    """Activations by code."""
    chosen = activate.make(v)
    return SimpleNamespace(
        gate=v.inline(lambda x, options: chosen(x, options.gate, options.clip)),
        candidate=v.inline(lambda x, options: chosen(x, options.candidate, options.clip)),
    )


def reset_after(v: Any, rules: SimpleNamespace) -> Any:
    """The cell of the form with reset_after, from the complete sums of z and r and the recurrent sum of n."""
    gate, candidate, commit = rules.gate, rules.candidate, recurrent.commit(v)
    fma, load, lanes = v.fma, v.load, v.lanes

    @v.inline
    def cell(q, step, place, sums, options):
        z = gate(sums[0] + load(q.p, place.p), options)
        r = gate(sums[1] + load(q.p, place.p + lanes), options)
        n = candidate(fma(r, sums[2], load(q.p, place.p + 2 * lanes)), options)
        commit(q, step, place, fma(z, load(q.work, step.now + place.state) - n, n))

    return cell


def _after(v: Any, form: Format, rules: SimpleNamespace, half: Any = None) -> Any:
    sweep = recurrent.sweep(v, form, 3, reset_after(v, rules), states=2, biased=True, half=half)

    @v.inline
    def advance(q, step, weights, options):
        sweep(q, step, step.now, weights.first, weights.bias, options)

    return recurrent.walk(v, advance)


def _before(v: Any, form: Format, rules: SimpleNamespace) -> Any:
    sweep_gates = recurrent.sweep(v, form, 2, reset_first(v, rules), states=4, projected=3)
    sweep_cell = recurrent.sweep(v, form, 1, reset_cell(v, rules), states=4, projected=3)
    state_at = recurrent.state_at(v)

    @v.inline
    def advance(q, step, weights, options):
        told = (weights.bias, options)
        sweep_gates(q, step, step.now, weights.first, weights.bias, told)
        sweep_cell(q, step, state_at(q, 3), weights.second, weights.bias, told)

    return recurrent.walk(v, advance)


def reset_first(v: Any, rules: SimpleNamespace) -> Any:
    """z and r h, kept as the states 2 and 3."""
    gate, biased, state_at = rules.gate, _biased(v), recurrent.state_at(v)
    load, store, lanes = v.load, v.store, v.lanes

    @v.inline
    def cell(q, step, place, sums, told):
        bias, options = told
        z = gate(biased(sums[0] + load(q.p, place.p), bias, 3 * place.unit), options)
        r = gate(biased(sums[1] + load(q.p, place.p + lanes), bias, 3 * place.unit + lanes), options)
        store(q.work, state_at(q, 2) + place.state, z)
        store(q.work, state_at(q, 3) + place.state, r * load(q.work, step.now + place.state))

    return cell


def reset_cell(v: Any, rules: SimpleNamespace) -> Any:
    """The candidate and the new state, from what reset_first left."""
    candidate, biased, state_at = rules.candidate, _biased(v), recurrent.state_at(v)
    fma, load, lanes, commit = v.fma, v.load, v.lanes, recurrent.commit(v)

    @v.inline
    def cell(q, step, place, sums, told):
        bias, options = told
        n = sums[0] + load(q.p, place.p + 2 * lanes)
        n = candidate(biased(n, bias, 3 * place.unit + 2 * lanes), options)
        z = load(q.work, state_at(q, 2) + place.state)
        commit(q, step, place, fma(z, load(q.work, step.now + place.state) - n, n))

    return cell


def _biased(v: Any) -> Any:
    load, is_null = v.load, v.is_null
    return v.inline(lambda x, bias, at: x if is_null(bias) else x + load(bias, at))

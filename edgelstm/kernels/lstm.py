"""The LSTM over a sequence: c' = f c + i g, h' = o act(c'), gates in the order i f g o.

p: projected inputs with bias, row (t, b) at t * p_t + b * p_b as [block][4 * lanes]; r: panels of the format. h0, c0, hn,
cn: (batch, units), null for zeros and for not wanted; they may alias. y: rows of `units` at t * y_t + b * y_b, or null.
work: 3 * batch * padded floats and what the format needs, padded being units rounded up to whole vectors. mask: (batch,
steps), non-zero where valid, or null. reverse: time runs backwards, y stays in its place. hold: see recurrent.commit.
"""

from types import SimpleNamespace
from typing import Any, NamedTuple

from edgelstm.kernels import activate, formulas, halves, recurrent, single, team, together
from edgelstm.kernels.activate import Activation
from edgelstm.kernels.formats import Format, each_format
from edgelstm.kernels.recurrent import Sequence

STANDARD = f"p:f32* r:panels* h0:f32* c0:f32* y:f32* hn:f32* cn:f32* work:f32* {recurrent.COMMON}"


class Options(NamedTuple):
    """What the general kernel is told; see there."""

    peep: Any
    clip: float
    input_forget: int
    gate: Activation
    candidate: Activation
    output: Activation


@each_format("lstm", STANDARD)
def lstm(v: Any, form: Format) -> Any:
    """The standard activations: sigmoid for the gates, tanh for candidate and output."""
    run = _sequence(v, form, standard_rules(v), halves.made(v, form, lambda half: cell(half, standard_rules(half))))

    def lstm(p, r, h0, c0, y, hn, cn, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale):
        q = Sequence(p, y, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale)
        run(q, r, h0, c0, hn, cn, 0)

    return lstm


@each_format("lstm_team", f"{STANDARD} {team.PARAMS}")
def lstm_team(v: Any, form: Format) -> Any:
    """The standard LSTM by a team."""
    walk, cell_at = together.walk(v, form, 4, _advance(v, form, standard_rules(v))), recurrent.state_at(v)
    load_state, save_state = recurrent.load_state(v), recurrent.save_state(v)

    def lstm_team(p, r, h0, c0, y, hn, cn, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale,
                  member, members, barrier, idle):
        q = Sequence(p, y, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale)
        if member == 0:
            load_state(q, cell_at(q, 2), c0)
        walk(q, h0, hn, r, 0, team.Team(member, members, barrier, idle))
        if member == 0:
            save_state(q, cell_at(q, 2), cn)

    return lstm_team


class Panels(NamedTuple):
    """The weights of a single step."""

    w: Any
    bias: Any
    r: Any


@each_format("lstm_step", f"x:f32* w:panels* bias:f32* r:panels* h:f32* c:f32* y:f32* n_in:int units:int {single.SCRATCH}")
def lstm_step(v: Any, form: Format) -> Any:
    """One step of one row with the standard activations; see `single`."""
    step = single.walk(v, form, 4, _single)

    def lstm_step(x, w, bias, r, h, c, y, n_in, units, work, x_scale, h_scale):
        step(single.Frame(x, h, c, y, n_in, units, work, x_scale, h_scale), Panels(w, bias, r))

    return lstm_step


def _single(v: Any, form: Format) -> single.Cell:
    gates, load_part, store_part = _gates(v, standard_rules(v)), v.load_part, v.store_part

    @v.inline
    def finish(q, sums, unit, left):
        h, c = gates(sums, load_part(q.cell, unit, left), 0, 0, 0)
        store_part(q.cell, unit, left, c)
        return h

    return single.joint(v, form, 4, finish)


@each_format("lstm_general", f"{STANDARD} peep:f32* clip:f32 input_forget:int {activate.parameters('f', 'g', 'h')}")
def lstm_general(v: Any, form: Format) -> Any:
    """Activations by code: f for i, f and o, g for the candidate, h for the output.

    peep: (3 * units,) weights from c to i, f and o, or null; clip: bound on what enters f and g, 0 for none;
    input_forget: non-zero makes f = 1 - i.
    """
    run = _sequence(v, form, general_rules(v))

    def lstm_general(
        p, r, h0, c0, y, hn, cn, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale,
        peep, clip, input_forget, f_code, f_alpha, f_beta, g_code, g_alpha, g_beta, h_code, h_alpha, h_beta,
    ):  # fmt: skip
        gate, candidate = Activation(f_code, f_alpha, f_beta), Activation(g_code, g_alpha, g_beta)
        options = Options(peep, clip, input_forget, gate, candidate, Activation(h_code, h_alpha, h_beta))
        q = Sequence(p, y, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold, h_scale)
        run(q, r, h0, c0, hn, cn, options)

    return lstm_general


def _advance(v: Any, form: Format, rules: SimpleNamespace, half: Any = None) -> Any:
    sweep = recurrent.sweep(v, form, 4, cell(v, rules), states=3, half=half)

    @v.inline
    def advance(q, step, r, options):
        sweep(q, step, step.now, r, r, options)

    return advance


def _sequence(v: Any, form: Format, rules: SimpleNamespace, half: Any = None) -> Any:
    walk, cell_at = recurrent.walk(v, _advance(v, form, rules, half)), recurrent.state_at(v)
    load_state, save_state = recurrent.load_state(v), recurrent.save_state(v)

    @v.inline
    def run(q, r, h0, c0, hn, cn, options):
        load_state(q, cell_at(q, 2), c0)
        walk(q, h0, hn, r, options)
        save_state(q, cell_at(q, 2), cn)

    return run


def cell(v: Any, rules: SimpleNamespace) -> Any:
    """The cell from the recurrent sums of its gates: what `recurrent.sweep` applies."""
    gates, load, store, lanes = _gates(v, rules), v.load, v.store, v.lanes
    commit, state_at = recurrent.commit(v), recurrent.state_at(v)

    @v.inline
    def cell(q, step, place, sums, options):
        at = state_at(q, 2) + place.state
        i, f = sums[0] + load(q.p, place.p), sums[1] + load(q.p, place.p + lanes)
        g, o = sums[2] + load(q.p, place.p + 2 * lanes), sums[3] + load(q.p, place.p + 3 * lanes)
        h, c = gates((i, f, g, o), load(q.work, at), q, place, options)
        if commit(q, step, place, h):
            store(q.work, at, c)

    return cell


def _gates(v: Any, rules: SimpleNamespace) -> Any:
    """`gates(sums, c, sequence, place, options)`: the new h and c from the complete sums of the gates and the old c."""
    gate, gated_candidate, gated_output = rules.gate, rules.gated_candidate, rules.gated_output
    peephole, couple, fma = rules.peephole, rules.couple, v.fma

    @v.inline
    def gates(sums, c, q, place, options):
        i = peephole(sums[0], c, 0, q, place, options)
        f = gate(peephole(sums[1], c, 1, q, place, options), options)
        c = fma(couple(f, i, options), c, gated_candidate(i, sums[2], options))
        o = peephole(sums[3], c, 2, q, place, options)
        return gated_output(o, c, options), c

    return gates


def standard_rules(v: Any) -> SimpleNamespace:
    """Sigmoid for the gates, tanh for candidate and output, neither peepholes nor coupling."""
    f = formulas.make(v)
    sigmoid, gated_tanh = f.sigmoid, f.gated_tanh
    return SimpleNamespace(
        gate=v.inline(lambda x, options: sigmoid(x)),
        gated_candidate=v.inline(lambda i, g, options: gated_tanh(i, g)),
        gated_output=v.inline(lambda o, c, options: gated_tanh(o, c)),
        peephole=v.inline(lambda x, c, which, q, place, options: x),
        couple=v.inline(lambda f, i, options: f),
    )


def general_rules(v: Any) -> SimpleNamespace:
    """The same with activations by code; `couple` is given what enters the input gate."""
    chosen, fma, load_part, is_null = activate.make(v), v.fma, v.load_part, v.is_null

    @v.inline
    def gate(x, options):
        return chosen(x, options.gate, options.clip)

    @v.inline
    def peephole(x, c, which, q, place, options):
        if is_null(options.peep):
            return x
        return fma(load_part(options.peep, which * q.units + place.unit, q.units - place.unit), c, x)

    @v.inline
    def couple(f, i, options):
        return 1.0 - gate(i, options) if options.input_forget else f

    return SimpleNamespace(
        gate=gate,
        gated_candidate=v.inline(lambda i, g, options: gate(i, options) * chosen(g, options.candidate, options.clip)),
        gated_output=v.inline(lambda o, c, options: gate(o, options) * chosen(c, options.output, 0.0)),
        peephole=peephole,
        couple=couple,
    )

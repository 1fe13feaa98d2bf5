"""The LSTM over a sequence: c' = f c + i g, h' = o act(c'), gates i f g o.

p: projected inputs with bias, row (t, b) at t * p_t + b * p_b as [block][4 * lanes]; r: panels [block][units][4 *
lanes]. h0, c0, hn, cn: (batch, units), null for zeros and for not wanted; they may alias. y: rows of `units` at
t * y_t + b * y_b, or null. work: 3 * batch * padded floats, padded being units rounded up to whole vectors. mask:
(batch, steps), non-zero where valid, or null. reverse: time runs backwards, y stays in its place. hold: see commit.
"""

from typing import Any

from edgelstm.kernels import formulas, recurrent
from edgelstm.kernels.declare import kernel
from edgelstm.kernels.recurrent import Sequence

_STATES = "p:f32* r:f32* h0:f32* c0:f32* y:f32* hn:f32* cn:f32* work:f32*"


@kernel("lstm", f"{_STATES} {recurrent.COMMON}")
def lstm(v: Any) -> Any:
    """The standard activations: sigmoid for the gates, tanh for candidate and output."""
    f = formulas.make(v)
    sigmoid, tanh, fma, load, store = f.sigmoid, f.tanh, v.fma, v.load, v.store
    lanes, commit, padded = v.lanes, recurrent.commit(v), recurrent.round_up(v)
    load_state, save_state = recurrent.load_state(v), recurrent.save_state(v)

    @v.inline
    def cell(q, step, place, sums, extra):
        i = sigmoid(sums[0] + load(q.p, place.p))
        f = sigmoid(sums[1] + load(q.p, place.p + lanes))
        g = tanh(sums[2] + load(q.p, place.p + 2 * lanes))
        o = sigmoid(sums[3] + load(q.p, place.p + 3 * lanes))
        at = 2 * q.batch * q.padded + place.state
        c = fma(f, load(q.work, at), i * g)
        if commit(q, step, place, o * tanh(c)):
            store(q.work, at, c)

    sweep = recurrent.sweep(v, 4, cell)

    @v.inline
    def advance(q, step, r):
        sweep(q, step, step.now, r, r, 0)

    run = recurrent.walk(v, advance)

    def lstm(p, r, h0, c0, y, hn, cn, work, mask, batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold):
        q = Sequence(p, y, work, mask, batch, steps, units, padded(units), p_t, p_b, y_t, y_b, reverse, hold)
        c_at = 2 * batch * q.padded
        load_state(q, c_at, c0)
        run(q, h0, hn, r)
        save_state(q, c_at, cn)

    return lstm

"""Values that look like the new h of an LSTM, GRU or SimpleRNN: their gates, read off the way products and sums are nested.

These are guesses; whether the equations hold is for the cell to say.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edgelstm.passes.recognition.forms import ZERO, Activation, Algebra, Form

LINEAR: Activation = ("linear", 0.0, 0.0)


@dataclass(frozen=True)
class Core:
    """A value that looks like the new h of a cell.

    `gates` are the arguments of the gates. `c` is the new c of an LSTM, `before` its old c or, of a GRU, the old h.
    """

    kind: str
    h: Form
    gates: Mapping[str, Form]
    activations: tuple[Activation, ...]
    c: Form = ZERO
    before: Form = ZERO
    variant: str = ""


def cores(algebra: Algebra, form: Form) -> Iterator[Core]:
    """Every way in which a form may be the new h of a cell."""
    yield from _lstm_cores(algebra, form)
    yield from _gru_cores(algebra, form)
    found = _activated(algebra, form)
    if found is not None and found[0] != LINEAR:
        yield Core("simple_rnn", form, {"h": found[1]}, (found[0],))


def _lstm_cores(algebra: Algebra, form: Form) -> Iterator[Core]:
    """h = o * act(c), c = f * c_before + i * g."""
    for act_o, o, inside in factored(algebra, form):
        activated = _unscaled(algebra, _activated(algebra, inside))
        for act_c, c in ((LINEAR, inside),) if activated is None else (activated, (LINEAR, inside)):
            for act_g, gates, before in _cell_states(algebra, c, act_o):
                yield Core("lstm", form, {**gates, "o": o}, (act_o, act_g, act_c), c, before)


def _unscaled(algebra: Algebra, found: tuple[Activation, Form] | None) -> tuple[Activation, Form] | None:
    """(hard sigmoid with alpha and beta, c) where the scale and the shift stand inside of it."""
    if found is None or found[0] != ("hard_sigmoid", 1.0, 0.0):
        return found
    form = found[1]
    beta = form.terms.get((), np.zeros(()))
    alphas = [c for product, c in form.terms.items() if product != ()]
    if not alphas or alphas[0].ndim or beta.ndim:
        return found
    c = algebra.scale(algebra.add(form, algebra.constant(-beta)), 1 / alphas[0])
    return ("hard_sigmoid", float(alphas[0]), float(beta)), c


def _cell_states(algebra: Algebra, c: Form, recurrent: Activation) -> Iterator[tuple[Activation, dict[str, Form], Form]]:
    """(activation of g, gates, c_before) of every way to read c; without f and c_before where c_before is 0."""
    summands = [Form({product: k}) for product, k in c.terms.items()]
    if len(summands) == 1:
        for act_g, i, g in _gated(algebra, summands[0], recurrent):
            yield act_g, {"i": i, "g": g}, ZERO
    if len(summands) == 2:
        for kept, fresh in (summands, summands[::-1]):
            for act_f, f, before in factored(algebra, kept):
                for act_g, i, g in _gated(algebra, fresh, recurrent) if act_f == recurrent else ():
                    yield act_g, {"i": i, "f": f, "g": g}, before


def _gated(algebra: Algebra, form: Form, recurrent: Activation) -> Iterator[tuple[Activation, Form, Form]]:
    """(activation of g, i, g) for i * act(g)."""
    for act_i, i, inside in factored(algebra, form):
        if act_i == recurrent:
            act_g, g = _activated(algebra, inside) or (LINEAR, inside)
            yield act_g, i, g


def _gru_cores(algebra: Algebra, form: Form) -> Iterator[Core]:
    """h = z * h_before + (1 - z) * n, or n + z * (h_before - n)."""
    summands = [Form({product: k}) for product, k in form.terms.items()]
    for fresh in summands if len(summands) <= 2 else ():
        kept = [one for one in summands if one is not fresh]
        for act_n, n, rest in factored(algebra, fresh):
            found = _kept_share(algebra, rest)
            if found is None:
                continue
            act_z, z = found
            shares = factored(algebra, kept[0]) if kept else ((act_z, z, ZERO),)
            before = next((b for act, gate, b in shares if act == act_z and gate.key == z.key), None)
            if before is not None:
                yield Core("gru", form, {"z": z, "n": n}, (act_z, act_n), ZERO, before, "shares")
        yield from _gru_difference(algebra, form, fresh, kept)


def _gru_difference(algebra: Algebra, form: Form, fresh: Form, kept: list[Form]) -> Iterator[Core]:
    found = _activated(algebra, fresh)
    if found is None or len(kept) != 1:
        return
    for act_z, z, inside in factored(algebra, kept[0]):
        yield Core("gru", form, {"z": z, "n": found[1]}, (act_z, found[0]), ZERO, algebra.add(inside, fresh), "difference")


def _kept_share(algebra: Algebra, form: Form) -> tuple[Activation, Form] | None:
    """(activation, its argument) of the gate in 1 - gate."""
    return _activated(algebra, algebra.add(algebra.constant(1), algebra.scale(form, -1)))


def factored(algebra: Algebra, form: Form) -> Iterator[tuple[Activation, Form, Form]]:
    """(activation, its argument, what it is multiplied by) for every non-linearity that is a factor of a product."""
    if form.atom is None or algebra.atoms[form.atom].kind != "product":
        return
    inside = algebra.atoms[form.atom].data[0]
    for number in dict.fromkeys(next(iter(inside.terms))):
        atom = algebra.atoms[number]
        rest = algebra.divided(inside, number) if atom.kind == "nonlinear" else None
        if rest is not None:
            yield *atom.data, rest


def _activated(algebra: Algebra, form: Form) -> tuple[Activation, Form] | None:
    """(activation, its argument) of a form that is one non-linearity."""
    atom = None if form.atom is None else algebra.atoms[form.atom]
    return atom.data if atom is not None and atom.kind == "nonlinear" else None

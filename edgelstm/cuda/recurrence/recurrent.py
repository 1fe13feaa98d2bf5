"""Twins of the recurrent kernels: the launches of the form that `forms.plan_recurrent` chooses for a layer on this device."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgelstm.cuda.driver import LANES, limits
from edgelstm.cuda.launching import Args, Launch, Twin, launch, launch_clusters, resident_blocks
from edgelstm.cuda.recurrence import forms, grid, whole
from edgelstm.cuda.recurrence.arguments import arrays, sizes, states
from edgelstm.cuda.recurrence.cells import all_cells, weights
from edgelstm.cuda.recurrence.forms import Form, Layer
from edgelstm.cuda.tiled import products
from edgelstm.cuda.tiled.rounding import ROW_WORDS, quantize

COUNTERS = 2 * grid.LINE  # float32 of the counter of a group of rows


def _bound(name: str, form: str, args: Args) -> list[Launch]:
    layer = Layer(name, form, args["batch"], args["units"], args["steps"])
    if layer.batch == 0:
        return []
    made = {forms.WHOLE: _whole, forms.CLUSTER: _cluster, forms.PERSISTENT: _persistent, forms.STEPWISE: _stepwise}
    device, found = limits(), []
    while not found:
        plan = forms.plan_recurrent(device, layer)
        found, device = made[plan.kind](layer, plan, args), forms.without(device, plan)
    return found


def _given(layer: Layer, args: Args) -> tuple[Any, ...]:
    """The weights and options of a call."""
    cell = all_cells()[layer.cell]
    return weights(cell, args), cell.options(args)


def _scale(args: Args) -> np.float32:
    return np.float32(args.get("h_scale", 0.0))


def _whole(layer: Layer, plan: Form, args: Args) -> list[Launch]:
    kernel = whole.kernel(layer.cell, layer.form, plan.rows, plan.resident, plan.held)
    return [launch(kernel, plan.blocks[1], plan.threads, arrays(args), *states(all_cells()[layer.cell], args),
                   *_given(layer, args), _scale(args), sizes(args, plan), shared=plan.shared)]


def _cluster(layer: Layer, plan: Form, args: Args) -> list[Launch]:
    """No launch where the device holds fewer of these clusters at once than the plan took for granted."""
    kernel = grid.clustered(layer.cell, layer.form, plan.rows)
    return launch_clusters(kernel, plan.blocks, plan.threads, arrays(args), *states(all_cells()[layer.cell], args),
                           *_given(layer, args), _scale(args), sizes(args, plan), shared=plan.shared,
                           at_once=forms.clusters_at_once(limits(), plan))


def _persistent(layer: Layer, plan: Form, args: Args) -> list[Launch]:
    """No launch where the device holds fewer of these blocks at once than the plan took for granted."""
    kernel = grid.persistent(layer.cell, layer.form, plan.rows, plan.resident)
    given = (arrays(args), *states(all_cells()[layer.cell], args), *_given(layer, args), _scale(args),
             args["scratch"].view(np.int64), sizes(args, plan))
    if resident_blocks(kernel, plan.threads, *given, shared=plan.shared) < plan.blocks[0] * plan.blocks[1]:
        return []
    return [launch(kernel, plan.blocks, plan.threads, *given, shared=plan.shared, together=True)]


def _stepwise(layer: Layer, plan: Form, args: Args) -> list[Launch]:
    starts, ends = states(all_cells()[layer.cell], args)
    read, phases, write = grid.stepwise(layer.cell, layer.form, plan.rows)
    h, told = (0, args["batch"] * layer.width), (_scale(args), sizes(args, plan))

    def of(kernel: Any, *given: Any) -> Launch:
        return launch(kernel, plan.blocks, plan.threads, arrays(args), *given, *told, shared=plan.shared)

    steps = [of(phase, *_given(layer, args), s, h[s % 2], h[1 - s % 2]) for s in range(layer.steps) for phase in phases]
    return [of(read, starts, 0), *steps, of(write, ends, h[layer.steps % 2])]


def _counters(args: Args) -> int:
    """float32 for the counters of all groups of rows."""
    return COUNTERS * limits().multiprocessors


def _sequence_twin(name: str) -> Callable[[str], Twin]:
    return lambda form: Twin(lambda args: _bound(name, form, args), _counters)


def _step_twin(name: str, gates: int) -> Callable[[str], Twin]:
    """The kernel of one step of one row: the product of the frame, then the sequence kernel for a single step."""
    def scratch(form: str, args: Args) -> int:
        return (gates + 3) * -(-args["units"] // LANES) * LANES + _frame_words(form, args)

    def bind(form: str, args: Args) -> list[Launch]:
        units, given = args["units"], args["scratch"]
        n_out, p = gates * -(-units // LANES) * LANES, given[_counters(args) + _frame_words(form, args):]
        frame, prepared = _frame(form, args, given[_counters(args):])
        first = {"x": frame, "w": args["w"], "bias": args["bias"], "y": p, "rows": 1, "n_in": args["n_in"], "n_out": n_out,
                 "x_stride": 0, "y_stride": 0, **products.rows(args)}
        null = args["bias"][:0]
        second = {"p": p, "mask": args["none"], "batch": 1, "steps": 1, "units": units, "p_t": 0, "p_b": 0, "y_t": 0, "y_b": 0,
                  "reverse": 0, "hold": 0, "work": p[n_out:], "r": args["r"], "y": args["y"], "rb": args.get("rb", null),
                  "scratch": given[:_counters(args)], "h_scale": args["h_scale"]}
        states = {f"{state}{end}": args[state] for state, _ in all_cells()[name].carried for end in "0n"}
        return [*prepared, *products.gemm(form, gates).bind(first), *_bound(name, form, second | states)]

    return lambda form: Twin(lambda args: bind(form, args), lambda args: _counters(args) + scratch(form, args))


def _frame_words(form: str, args: Args) -> int:
    """float32 for the frame as a prepared row."""
    return ROW_WORDS[form](args["n_in"]) if form in ROW_WORDS else 0


def _frame(form: str, args: Args, room: Any) -> tuple[Any, list[Launch]]:
    """The frame as the product reads it, and what makes it so."""
    if form not in ROW_WORDS:
        return args["x"], []
    given = {"x": args["x"], "y": room, "batch": 1, "count": 1, "n": args["n_in"], "x_start": 0, "x_batch": 0, "x_row": 0,
             "scale": args["x_scale"]}
    return room, quantize(form).bind(given)


TWINS: dict[str, Callable[[str], Twin]] = {
    **{name: _sequence_twin(name) for name in ("lstm", "lstm_general", "gru", "gru_general", "gru_before", "gru_before_general",
                                               "simple_rnn", "simple_rnn_general")},
    "lstm_step": _step_twin("lstm", 4), "gru_step": _step_twin("gru", 3), "simple_rnn_step": _step_twin("simple_rnn", 1),
}

"""Measure a model on this machine: latency of a step and of a sequence, overhead, start-up, memory, and where the time goes.

--json gives everything as one report; --compare holds the medians of this run against such a report of the same model, machine
and settings, with exit code 1 when one is slower by more than --max-regression. --against runs the same trained file in other
runtimes, as far as they are installed and can read it, and says what it could not compare.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelstm.cli.number import number
from edgelstm.cli.open_model import add_device, add_model, open_model, placed
from edgelstm.cli.text import count_bytes, print_json, say, table

if TYPE_CHECKING:
    from edgelstm.benchmark.measure import Settings
    from edgelstm.model import Model

SUMMARY = "measure latency, memory and start-up of a model on this machine"
SHOWN_PERCENT = 1.0
PEERS = ("onnxruntime", "litert", "openvino", "torch", "numpy")


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--steps", metavar="N", type=_positive, default=100, help="time steps of a sequence (100)")
    parser.add_argument("--batch", metavar="N", type=_positive, default=1, help="sequences at once (1)")
    parser.add_argument("--threads", metavar="N", type=_positive, default=1, help="threads of the model (1)")
    add_device(parser)
    parser.add_argument("--seconds", metavar="S", type=_seconds, default=1.0, help="time for each latency (1)")
    parser.add_argument("--starts", metavar="N", type=_count, default=3,
                        help="fresh processes that tell the start-up; 0 leaves it out, and the peak of memory with it (3)")
    parser.add_argument("--against", metavar="NAMES", type=_peers, default=(), help=f"other runtimes, of {','.join(PEERS)}")
    parser.add_argument("--source", metavar="FILE", type=Path, action="append", default=[],
                        help="the trained file in a form that a runtime of --against reads; may be repeated")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--compare", metavar="OLD.json", type=Path, help="an older report to hold the medians against")
    parser.add_argument("--max-regression", metavar="P%", type=_percent, default=10.0,
                        help="how much slower is too slow (10%%)")
    parser.add_argument("--plot", metavar="OUT.png", type=Path, help="draw latencies and shares of the kernels")


def run(arguments: argparse.Namespace) -> int:
    from edgelstm.benchmark import measure, plot, regression, start

    old = None if arguments.compare is None else regression.read(arguments.compare)
    graph = open_model(arguments.model).graph
    model = placed(graph, arguments.device, arguments.threads, arguments.batch)
    model.streaming.check_frames()
    settings = measure.Settings(arguments.steps, arguments.batch, arguments.threads, arguments.seconds)
    measured = measure.measure(model, settings)
    report = measured.report
    report["model"]["file"] = arguments.model.name
    if arguments.starts and model.device == "cpu":
        report["start"] = start.measure(graph, settings.batch, settings.steps, settings.threads, arguments.starts)
    report["against"] = _against(model, arguments, settings)
    rows = [] if old is None else regression.compare(old, report, arguments.compare)
    if arguments.plot is not None:
        plot.draw(measured, arguments.plot)
        say(f"wrote {arguments.plot}")
    if arguments.json:
        print_json(report | ({"compared": rows} if rows else {}))
    else:
        print(_text(report))
    return _judge(rows, arguments)


def _against(model: "Model", arguments: argparse.Namespace, settings: "Settings") -> dict[str, Any]:
    """A comparison for every runtime that was asked for, or `missing`: why there is none."""
    from edgelstm.benchmark.peers import NotComparable, compare

    found: dict[str, Any] = {}
    sources = [*arguments.source, arguments.model]
    for name in arguments.against:
        ending = ".tflite" if name == "litert" else ".onnx"
        source = next((path for path in sources if path.suffix.lower() == ending), None)
        try:
            found[name] = compare(name, model, source, settings)
        except NotComparable as reason:
            found[name] = {"missing": str(reason)}
            say(f"without {name}: {reason}")
    return found


def _judge(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> int:
    """Tell the changes to the older report; 1 when a median got too slow."""
    if not rows:
        return 0
    slower = [row["change_percent"] > arguments.max_regression for row in rows]
    say(table(("median", "old us", "new us", "change", ""),
              [(row["name"], f"{row['old_us']:.3f}", f"{row['new_us']:.3f}", f"{row['change_percent']:+.1f}%", "SLOWER" * bad)
               for row, bad in zip(rows, slower, strict=True)]))
    return int(any(slower))


def _text(report: dict[str, Any]) -> str:
    parts = [_latencies(report)]
    for name in ("step", "sequence"):
        if "kernels" in report[name]:
            parts.append(f"kernels of a {name}\n{_kernels(report[name]['kernels'])}")
    nbytes = report["bytes"]
    lines = [f"weights  {count_bytes(nbytes['weights'])} as stored, {count_bytes(nbytes['packed'])} packed",
             f"state    {count_bytes(nbytes['state'])} a stream", f"arena    {count_bytes(nbytes['arena'])} for the sequence"]
    if "start" in report:
        start = report["start"]
        lines += [f"peak     {count_bytes(start['peak_rss'])} of memory in a process that loads the model and computes once",
                  f"start    {start['warm_ms']:.0f} ms to the first output with kernels cached, {start['cold_ms']:.0f} ms with "
                  f"an empty cache, {start['numpy_ms']:.0f} ms for Python and NumPy alone"]
    parts.append("\n".join(lines))
    against = {name: found for name, found in report["against"].items() if "ratio" in found}
    if against:
        parts.append(table(("against", "of a", "EdgeLSTM us", "peer us", "ratio", "quartiles", "its error"),
                           [(name, f["form"], f"{f['edgelstm_us']:.2f}", f"{f['peer_us']:.2f}", f"{f['ratio']:.3f}",
                             "{:.3f}-{:.3f}".format(*f["spread"]), f"{f['max_error']:.1e}") for name, f in against.items()]))
    return "\n\n".join(parts)


def _latencies(report: dict[str, Any]) -> str:
    keys = ("p50_us", "p90_us", "p99_us", "max_us", "native_us", "door_us", "python_us")
    rows = [(name, *(f"{report[name][key]:.3f}" if key in report[name] else "-" for key in keys),
             f"{report[name]['steps_per_second']:,.0f}")
            for name in ("step", "sequence") if "p50_us" in report[name]]
    refused = report["step"].get("refused")
    return table(("us", "p50", "p90", "p99", "max", "native", "empty call", "Python", "steps/s"), rows) + \
        (f"\nno step: this model {refused}" if refused else "")


def _kernels(calls: list[dict[str, Any]]) -> str:
    """The calls that take a noticeable share, and the rest in a line; --json has them all."""
    shown = [call for call in calls if call["share_percent"] >= SHOWN_PERCENT]
    rows = [(str(call["call"]), call["kernel"], f"{call['us']:.3f}", f"{call['share_percent']:.1f}%") for call in shown]
    if len(shown) < len(calls):
        rest = [call for call in calls if call["share_percent"] < SHOWN_PERCENT]
        us, share = (sum(call[key] for call in rest) for key in ("us", "share_percent"))
        rows.append(("", f"{len(rest)} others", f"{us:.3f}", f"{share:.1f}%"))
    return table(("call", "kernel", "us", "share"), rows)


def _positive(argument: str) -> int:
    number = _count(argument)
    if not number:
        raise argparse.ArgumentTypeError("0 is too few; at least 1 is needed")
    return number


def _count(argument: str) -> int:
    if not argument.isdecimal():
        raise argparse.ArgumentTypeError(f"{argument!r} is not a whole number")
    return int(argument)


def _seconds(argument: str) -> float:
    return number(argument, "a number of seconds")


def _percent(argument: str) -> float:
    return number(argument.removesuffix("%"), "a percentage, like 10%")


def _peers(argument: str) -> tuple[str, ...]:
    names = tuple(argument.split(","))
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"no runtime is called {name!r}; there are {', '.join(PEERS)}")
    return names

"""Show what a model holds, needs and can do: inputs, layers, exact bytes, streaming, state, where it came from."""

import argparse
from typing import Any

from edgelstm.cli.open_model import add_model, open_model
from edgelstm.cli.text import count_bytes, print_json, table

SUMMARY = "show what a model holds, needs and can do"


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    from edgelstm.cli.describe import describe

    found = describe(open_model(arguments.model))
    if arguments.json:
        print_json({"file": arguments.model.name, **found})
    else:
        print(f"{arguments.model.name}\n\n{_ports(found)}\n\n{_layers(found)}\n\n{_facts(found)}")
    return 0


def _ports(found: dict[str, Any]) -> str:
    rows = [(side, port["name"], port["dtype"], _shape(port["shape"]), _axes(port))
            for side in ("input", "output") for port in found[f"{side}s"]]
    return table(("", "name", "dtype", "shape", "axes"), rows)


def _axes(port: dict[str, Any]) -> str:
    return ", ".join(f"{role} = {port[role]}" for role in ("batch", "time") if port[role] is not None)


def _layers(found: dict[str, Any]) -> str:
    rows = [(layer["name"], layer["op"], "?" if layer["shape"] is None else _shape(layer["shape"]),
             layer["precision"] or "", f"{layer['parameters']:,}", f"{layer['bytes']:,}", ", ".join(layer["state"]))
            for layer in found["layers"]]
    return table(("layer", "op", "output", "precision", "parameters", "bytes", "state"), rows)


def _shape(shape: list[int | str]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _facts(found: dict[str, Any]) -> str:
    nbytes, streaming = found["bytes"], found["streaming"]
    lines = [f"nodes       {found['nodes']}", f"parameters  {found['parameters']:,}",
             f"weights     {count_bytes(nbytes['weights'])} as stored, {count_bytes(nbytes['packed'])} packed for this machine",
             f"state       {count_bytes(nbytes['state'])} for one stream"]
    lines += [f"arena       {count_bytes(arena['bytes'])} for batch 1, {arena['steps']} time step{'s' * (arena['steps'] > 1)}"
              for arena in nbytes["arenas"]]
    lines += [f"            {problem}" for problem in nbytes["problems"]]
    where = f"node {streaming['node']!r}: " if streaming["node"] else ""
    lines.append("streaming   yes" if streaming["ok"] else f"streaming   no: {where}{streaming['reason']}")
    lines += [f"carried     output {result!r} feeds input {source!r}" for source, result in found["states"]]
    lines += ["stateful    the source carried its states from call to call; a stream does"] * found["stateful"]
    lines += [f"note        {note}" for note in found["notes"]]
    lines += [f"{'from' if i == 0 else '':<11} {key}: {value}" for i, (key, value) in enumerate(found["provenance"].items())]
    lines.append(f"probes      {found['probes']}")
    return "\n".join(lines)

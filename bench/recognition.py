"""In how many ONNX files the recurrence ends as native recurrent nodes: python -m bench.recognition --corpus DIR."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import edgelstm
from edgelstm.errors import EdgeLSTMError

RECURRENT = ("lstm", "gru", "simple_rnn")


def models(corpus: Path) -> Iterator[Path]:
    """Every ONNX model of a corpus: the file that meta.json names, in each folder below."""
    for meta in sorted(corpus.glob("**/meta.json")):
        described = json.loads(meta.read_text(encoding="utf-8"))
        if described.get("set") == "bad_public" or not str(described.get("model_file", "")).endswith(".onnx"):
            continue
        yield meta.parent / described["model_file"]


def outcome(model: Path) -> tuple[str, str]:
    """(native, expanded or refused; what was found)."""
    try:
        graph = edgelstm.convert(model, probe=False)
    except EdgeLSTMError as error:
        return "refused", str(error).splitlines()[0]
    ops = Counter(node.op for node in graph.nodes)
    found = ", ".join(f"{ops[op]} {op}" for op in (*RECURRENT, "loop") if ops[op])
    recognised = sum(note.startswith("recognised") for note in graph.notes)
    how = f" ({recognised} recognised)" if recognised else ""
    return "native" if any(ops[op] for op in RECURRENT) and not ops[
        "loop"
    ] else "expanded", f"{found or 'no recurrent node'}{how}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with a folder and a meta.json for each model")
    parser.add_argument("--at-least", type=float, default=0.95, help="share of native files below which the exit status is 1")
    given = parser.parse_args(arguments)
    results = {model.parent.name: outcome(model) for model in models(given.corpus)}
    for name, (kind, found) in results.items():
        print(f"{kind:9} {name:45} {found}")
    native = sum(kind == "native" for kind, _ in results.values())
    print(f"native recurrent nodes in {native} of {len(results)} ONNX files")
    return 0 if results and native >= given.at_least * len(results) else 1


if __name__ == "__main__":
    sys.exit(main())

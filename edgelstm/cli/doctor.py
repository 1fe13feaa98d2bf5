"""Tell what EdgeLSTM finds on this machine: processor, kernel cache, package versions, and what is missing for what."""

import argparse
from pathlib import Path
from typing import Any

from edgelstm.cli.crossover import crossover, text
from edgelstm.cli.text import count_bytes, print_json, table

SUMMARY = "tell what this machine has, and what is missing for what"
NEEDED_FOR = {
    "numpy": "everything",
    "llvmlite": "compiling kernels, and loading them where images of them cannot be mapped",
    "numba": "compiling kernels that the cache does not hold",
    "h5py": "converting Keras models: pip install 'edgelstm[convert]'",
    "onnx": "converting ONNX models: pip install 'edgelstm[convert]'",
    "numba-cuda": "running models on a GPU: pip install 'edgelstm[cuda]'",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--crossover", metavar="MODEL", type=Path,
                        help="measure this model on CPU and GPU at several batches (a standard layer, if there is a GPU)")
    parser.add_argument("--json", action="store_true", help="everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    import platform

    found = {"edgelstm": metadata_version("edgelstm"), "python": platform.python_version(), "system": platform.platform(),
             "packages": {name: metadata_version(name) for name in NEEDED_FOR}, **_machine(),
             "gpu": _gpu()}
    if arguments.crossover is not None or found["gpu"]["measurable"]:
        found["crossover"] = crossover(arguments.crossover)
    if arguments.json:
        print_json(found)
    else:
        print(_text(found))
    return 0


def metadata_version(package: str) -> str | None:
    """The installed version of a package, None where it is not installed; nothing is imported."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    """The target that kernels are compiled for and where they are kept; empty without llvmlite."""
    if metadata_version("llvmlite") is None:
        return {"target": None, "caches": []}
    from edgelstm.native import host, host_forms
    from edgelstm.native.inventory import describe

    target = host()
    features = [feature[1:] for feature in target.features.split(",") if feature.startswith("+")]
    return {
        "target": {"name": target.name, "triple": target.triple, "cpu": target.cpu, "lanes": target.lanes,
                   "features": features, "forms": [form.name for form in host_forms()]},
        "caches": [{"path": str(place.path), "refused": place.refused, "writable": place.writable,
                    "kernels": place.kernels, "bytes": place.size} for place in describe()],
    }


def _gpu() -> dict[str, Any]:
    """The device in a line, or why there is none; the simulator is not worth measuring."""
    from edgelstm.errors import EdgeLSTMError

    try:
        from edgelstm.cuda import driver

        return {"device": driver.describe(), "missing": None, "measurable": not driver.SIMULATED}
    except EdgeLSTMError as error:
        return {"device": None, "missing": " ".join(str(error).split()), "measurable": False}


def _text(found: dict[str, Any]) -> str:
    lines = [f"edgelstm {found['edgelstm']}, Python {found['python']}, {found['system']}"]
    target = found["target"]
    if target is not None:
        lines += [f"target   {target['name']}: {target['lanes']} float32 lanes, {target['cpu']}, {target['triple']}",
                  f"         EDGELSTM_TARGET may be {', '.join(target['forms'])}",
                  f"features {' '.join(target['features'])}"]
    for place in found["caches"]:
        state = place["refused"] or f"{place['kernels']} kernels, {count_bytes(place['bytes'])}"
        lines.append(f"cache    {place['path']}: {state}{'' if place['refused'] or place['writable'] else ', read only'}")
    lines.append(f"gpu      {found['gpu']['device'] or 'none: ' + found['gpu']['missing']}")
    if "crossover" in found:
        lines += ["", text(found["crossover"])]
    rows = [(name, version or "missing", NEEDED_FOR[name]) for name, version in found["packages"].items()]
    return "\n".join([*lines, "", table(("package", "version", "needed for"), rows)])

"""The layer rules and house rules of docs/architecture.md, read off the sources."""

import ast
import sys
from pathlib import Path

import pytest

import edgelstm

ROOT = Path(__file__).parent.parent
RUNTIME, CONVERTERS = ROOT / "edgelstm", ROOT / "converters"
FRAMEWORKS = {"h5py", "onnx", "keras", "tensorflow", "torch", "jax", "onnxruntime"}
COMPILERS = {"numba", "llvmlite"}


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Absolute names a file imports (`a.b.c`); with `top_level` only those that run when it is imported."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in walk_top_level(tree) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def walk_top_level(node):
    for child in ast.iter_child_nodes(node):
        is_type_check = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not is_type_check:
            yield child
            yield from walk_top_level(child)


def outside(found: set[str], *allowed: str) -> set[str]:
    """The imported names that are neither in the standard library nor under one of the allowed prefixes."""
    return {name for name in found if name.split(".")[0] not in sys.stdlib_module_names
            and not any(name == a or name.startswith(a + ".") for a in allowed)}


@pytest.mark.parametrize(("folder", "allowed"), [
    ("ops", ("numpy", "edgelstm.ops", "edgelstm.errors", "edgelstm.record")),
    ("kernels", ("numpy", "numba", "llvmlite", "edgelstm.kernels")),
    ("native", ("numpy", "numba", "llvmlite", "edgelstm.kernels", "edgelstm.native", "edgelstm.errors", "edgelstm.record",
                "edgelstm.version")),
    ("passes", ("numpy", "edgelstm.passes", "edgelstm.ops", "edgelstm.graph", "edgelstm.facts", "edgelstm.errors",
                "edgelstm.axes", "edgelstm.stand_ins", "edgelstm.reference", "edgelstm.control_flow", "edgelstm.expand")),
    ("format", ("numpy", "edgelstm.format", "edgelstm.graph", "edgelstm.ops", "edgelstm.errors", "edgelstm.version")),
])
def test_a_room_imports_only_what_lies_below_it(folder, allowed):
    found = {str(path.relative_to(ROOT)): outside(imports(path), *allowed) for path in sources(RUNTIME / folder)}
    assert {path: names for path, names in found.items() if names} == {}


def test_graphs_know_no_kernel():
    for name in ("graph", "facts", "builder", "axes", "streaming", "reference"):
        found = imports(RUNTIME / f"{name}.py")
        assert not {n for n in found if n.startswith(("edgelstm.kernels", "edgelstm.native", "edgelstm.program"))}, name


def test_the_session_knows_no_op():
    for name in ("session", "stream", "stream_pool", "model", "programs"):
        assert not {n for n in imports(RUNTIME / f"{name}.py") if n.startswith("edgelstm.ops")}, name


def test_the_runtime_reaches_converters_only_lazily():
    users = {path.name for path in sources(RUNTIME) if any(n.startswith("edgelstm_converters") for n in imports(path))}
    assert users <= {"conversion.py", "layers.py"}
    at_import = [p for p in sources(RUNTIME) if any(n.startswith("edgelstm_converters") for n in imports(p, top_level=True))]
    assert at_import == []


def test_frameworks_are_imported_only_inside_converter_functions():
    for path in sources(RUNTIME) + sources(CONVERTERS):
        assert not {n for n in imports(path, top_level=True) if n.split(".")[0] in FRAMEWORKS}, path
    for path in sources(RUNTIME):
        assert not {n for n in imports(path) if n.split(".")[0] in FRAMEWORKS}, path


def test_compilers_are_imported_only_where_kernels_are_made():
    for path in sources(RUNTIME):
        found = {n.split(".")[0] for n in imports(path, top_level=True)} & COMPILERS
        allowed = {"native": {"llvmlite"}, "aot": {"llvmlite"}, "vectors": COMPILERS}.get(path.parent.name, set())
        if path.name == "frontend.py" or (path.parent.name == "cuda" and path.name == "driver.py"):
            allowed = COMPILERS
        assert found <= allowed, path


def test_files_and_functions_stay_short():
    for path in sources(RUNTIME) + sources(CONVERTERS):
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 70, f"{path}: {node.name}"
                assert len(node.args.args) + len(node.args.kwonlyargs) <= 10 or "kernels" in path.parts, f"{path}: {node.name}"


def test_only_the_command_line_prints():
    for path in sources(RUNTIME) + sources(CONVERTERS):
        if path.parent.name != "cli":
            calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)}
            assert "print" not in calls, path


def test_public_names():
    assert edgelstm.__all__ == sorted(edgelstm.__all__)
    for name in edgelstm.__all__:
        assert getattr(edgelstm, name) is not None
    errors = [getattr(edgelstm, name) for name in edgelstm.__all__ if name.endswith("Error")]
    assert all(issubclass(error, edgelstm.EdgeLSTMError) for error in errors)

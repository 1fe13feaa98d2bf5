"""The folder of a build: whole or not there, and nothing in it that somebody else wrote is lost."""

import errno
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import edgelstm
from edgelstm.aot.folder import SUMS
from tests.built import cell


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def build(folder, units=3, **options):
    return edgelstm.build(cell("lstm", units=units), folder, "cortex-m7", optimize="size", **options)


@pytest.mark.parametrize("name", ["main.c", "CMakeLists.txt", "README.md", "m.h"])
def test_files_of_others_are_refused(tmp_path, name):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / name).write_text("mine")
    (folder / "beside.c").write_text("also mine")
    with pytest.raises(edgelstm.BuildError, match=rf"{name}.*not written by a build.*another folder") as caught:
        build(folder, self_test=True)
    assert caught.value.exit_code == 2
    assert contents(folder) == {name: b"mine", "beside.c": b"also mine"}


def test_files_beside_a_build_stay(tmp_path):
    (tmp_path / "m").mkdir()
    for name in ("app.c", "libm-mine.so"):
        (tmp_path / "m" / name).write_text("mine")
    for units in (3, 5):
        edgelstm.build(cell("lstm", units=units), tmp_path / "m")
    found = contents(tmp_path / "m")
    assert found["app.c"] == found["libm-mine.so"] == b"mine"
    assert len([name for name in found if name.startswith("libm-")]) == 2


def test_a_build_may_replace_what_a_build_wrote_but_not_what_was_changed(tmp_path):
    folder = tmp_path / "m"
    build(folder, self_test=True)
    build(folder, units=5, self_test=True)
    before = contents(folder)
    (folder / "main.c").write_bytes(b"/* mine */" + before["main.c"])
    with pytest.raises(edgelstm.BuildError, match=r"main\.c"):
        build(folder, units=7, self_test=True)
    assert contents(folder) == before | {"main.c": b"/* mine */" + before["main.c"]}
    build(folder, units=7)


def test_two_models_share_a_folder(tmp_path):
    from edgelstm.format import write

    for name in ("a", "b", "a"):
        write(cell("lstm", units=3), tmp_path / f"{name}.elstm")
        edgelstm.build(tmp_path / f"{name}.elstm", tmp_path / "out", "cortex-m7")
    assert {"a.h", "a.o", "liba.a", "b.h", "b.o", "libb.a"} < set(contents(tmp_path / "out"))


def test_the_sums_are_those_of_the_files(tmp_path):
    edgelstm.build(cell("lstm"), tmp_path / "m", self_test=True)
    found = contents(tmp_path / "m")
    listed = dict(reversed(line.split("  ")) for line in found[SUMS].decode().splitlines())
    assert listed == {name: hashlib.sha256(content).hexdigest() for name, content in found.items()
                      if name != SUMS and "__pycache__" not in name}
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", SUMS], cwd=tmp_path / "m", check=True, capture_output=True)


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, existing, after):
    folder = tmp_path / "m"
    if existing:
        build(folder)
    before, written, write = contents(tmp_path), [], Path.write_bytes

    def full(path, content):
        if len(written) >= after:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        written.append(path)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(edgelstm.BuildError, match="No space left"):
        build(folder, units=5)
    assert contents(tmp_path) == before
    assert folder.exists() == existing

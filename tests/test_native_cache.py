"""The object cache: what is found, what is refused, and what damage and company do to it."""

import os
import signal
import subprocess
import sys
import time
import warnings

import pytest

from edgelstm.native import cache, host, places
from edgelstm.native.compiler import kernel_object
from edgelstm.native.inventory import describe

KERNEL = "relu_f32"
POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX")
NOT_ROOT = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")


def forget():
    """Directories are looked at again."""
    places._first.cache_clear()
    places._temporary.cache_clear()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty cache directory, the only one that is tried but for a temporary directory of its own."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("EDGELSTM_CACHE", str(directory))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    forget()
    places._warn_once.cache_clear()
    yield directory
    forget()
    places._warn_once.cache_clear()


@pytest.fixture
def content(place):
    """The object of one kernel, compiled into the empty cache."""
    return kernel_object(KERNEL, host())


def entries(place, suffix):
    return sorted(file for file in place.iterdir() if file.suffix == suffix)


def in_new_process(code, **env):
    """Standard output of Python code; `numba` is printed when it was imported."""
    code += "\nimport sys\nif 'numba' in sys.modules: print('numba')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, **env}).stdout.split()  # fmt: skip


LINK = "from edgelstm.native import link\nassert link(['relu_f32'])['relu_f32'] > 0"


def test_a_second_process_does_not_import_numba(place):
    assert in_new_process(LINK) == ["numba"]
    assert in_new_process(LINK) == []


def test_a_kernel_is_one_object_and_one_link(place, content):
    assert len(entries(place, ".object")) == len(entries(place, ".kernel")) == 1
    assert cache.find_kernel(KERNEL, host()) == content


@pytest.mark.parametrize("suffix", [".object", ".kernel"])
@pytest.mark.parametrize("damage", [b"", b"\0", b"x" * 64, None])
def test_damaged_entries_are_compiled_again(place, content, suffix, damage):
    (file,) = entries(place, suffix)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if damage is None else damage)
    assert cache.find_kernel(KERNEL, host()) is None
    assert kernel_object(KERNEL, host()) == content
    assert cache.find_kernel(KERNEL, host()) == content


@POSIX
def test_directories_that_others_can_write_to_are_refused(place, content):
    place.chmod(0o777)
    forget()
    assert cache.find_kernel(KERNEL, host()) is None
    assert describe()[0].refused == "other users can write to it"


@POSIX
@NOT_ROOT
def test_a_read_only_directory_is_read(place, content):
    place.chmod(0o555)
    forget()
    try:
        assert in_new_process(LINK) == []
        assert not describe()[0].writable
    finally:
        place.chmod(0o755)


def test_without_any_directory_there_is_one_warning_and_no_failure(place, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGELSTM_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    forget()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first, second = (kernel_object(KERNEL, host()) for _ in range(2))
    assert first == second
    assert [str(w.message) for w in caught if "compiled kernels are not kept" in str(w.message)] == [
        str(caught[0].message)
    ]


def test_a_second_choice_is_used_where_the_first_cannot_be(place, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGELSTM_CACHE", str(tmp_path / "file"))
    forget()
    kernel_object(KERNEL, host())
    chosen, fallback = describe()
    assert chosen.refused == "is not a directory"
    assert fallback.kernels == 1 and fallback.path.parent == tmp_path


def test_two_processes_fill_the_cache_at_once(place):
    both = [subprocess.Popen([sys.executable, "-c", LINK]) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert cache.find_kernel(KERNEL, host()) is not None
    assert not list(place.glob(".partial-*"))


@POSIX
def test_a_process_killed_while_filling_leaves_nothing_broken(place):
    code = "from edgelstm.native.compiler import kernel_object\nfrom edgelstm.native import host\n" + "".join(
        f"kernel_object({name!r}, host())\n" for name in (KERNEL, "tanh_f32", "sigmoid_f32", "gemm1", "gemm3")
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not (place.is_dir() and any(place.iterdir())) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert in_new_process(LINK) in ([], ["numba"])
    assert in_new_process(LINK) == []


def test_missing_numba_is_named(place):
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from edgelstm.errors import DependencyError\nfrom edgelstm.native import link\n"
        "try: link(['relu_f32'])\nexcept DependencyError as error: print('pip install numba' in str(error))\n"
        "del sys.modules['numba']"
    )
    assert in_new_process(code) == ["True"]


def test_content_changes_with_what_determines_it():
    names = {cache.object_name("a", "", host()), cache.object_name("b", "", host()), cache.kernel_name("a", host())}
    assert len(names) == 3

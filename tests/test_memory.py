"""Memory of packed weights: aligned, of the exact size, in huge pages where that pays and the system has them."""

import mmap

import numpy as np
import pytest

from edgelstm import memory
from edgelstm.memory import ALIGNMENT, HUGE_PAGE, address, weights_copy

LENGTHS = 4, 1000, HUGE_PAGE * 3 // 4 - 4, HUGE_PAGE * 3 // 4, HUGE_PAGE, HUGE_PAGE + 4, 3 * HUGE_PAGE - 12


@pytest.mark.parametrize("nbytes", LENGTHS)
def test_a_copy_of_weights_is_equal_aligned_and_its_own(nbytes):
    weights = np.random.default_rng(nbytes).integers(0, 256, nbytes // 4 * 4, np.uint8).view(np.int32)
    copy = weights_copy(weights)
    assert copy.dtype == weights.dtype and copy.shape == weights.shape and copy.flags.writeable
    assert address(copy) % ALIGNMENT == 0 and not np.shares_memory(copy, weights)
    np.testing.assert_array_equal(copy, weights)


@pytest.mark.parametrize("nbytes, pages", [(HUGE_PAGE * 3 // 4 - 4, 0), (HUGE_PAGE * 3 // 4, 1), (HUGE_PAGE + 4, 1),
                                           (HUGE_PAGE * 7 // 4, 2), (4 * HUGE_PAGE, 4)])
def test_pages_that_are_filled_to_three_quarters_are_huge(nbytes, pages, monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "_mapped", lambda nbytes, pages: asked.append(pages))
    weights_copy(np.zeros(nbytes, np.uint8))
    assert asked == [pages] * (pages > 0)


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="this system has no huge pages to ask for")
def test_huge_pages_begin_where_the_weights_begin():
    block = memory._mapped(HUGE_PAGE + 4, 1)
    if block is None:
        pytest.skip("this system refuses huge pages")
    assert address(block) % HUGE_PAGE == 0 and block.nbytes == HUGE_PAGE + 4


@pytest.mark.parametrize("failing", ["mmap", "madvise"])
def test_a_system_without_huge_pages_gets_common_ones(failing, monkeypatch):
    class Refusing(mmap.mmap):
        def __new__(cls, *args, **options):
            if failing == "mmap":
                raise OSError("Cannot allocate memory")
            return super().__new__(cls, *args, **options)

        def madvise(self, *args):
            raise OSError("Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Refusing)
    weights = np.arange(HUGE_PAGE, dtype=np.float32)
    np.testing.assert_array_equal(weights_copy(weights), weights)

"""A plan in miniature for kernel tests: every buffer lies between guard bands that must stay as they were."""

import numpy as np

from edgelstm import kernels
from edgelstm.native import host, link, run_table
from edgelstm.ops.op import Fact, check_attrs
from edgelstm.program import packing

_GUARD = 64
_SENTINEL = 0xA5


class Guarded:
    """An operand whose bytes lie between two runs of sentinels."""

    def __init__(self, shape, dtype, array=None, known=False):
        self.shape, self.dtype = tuple(shape), dtype
        self.value = array if known else None
        self._size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        self._bytes = np.full(self._size + 2 * _GUARD, _SENTINEL, np.uint8)
        if array is not None:
            self.array[...] = array

    @property
    def array(self):
        return self._bytes[_GUARD:_GUARD + self._size].view(self.dtype).reshape(self.shape)

    @property
    def address(self):
        return self._bytes.ctypes.data + _GUARD

    @property
    def intact(self):
        before, after = self._bytes[:_GUARD], self._bytes[_GUARD + self._size:]
        return bool((before == _SENTINEL).all() and (after == _SENTINEL).all())


class GuardedLowering:
    """Runs every kernel call at once, and checks the guard bands after it. `states` holds the arrays of a stream."""

    def __init__(self, states=None):
        self.lanes, self.members, self.in_parts = host().lanes, 1, True
        self.states = states or {}
        self.used = []
        self.aliases = {}

    def call(self, kernel, **params):
        declared = kernels.get(kernel).params
        assert {name for name, _ in declared} == set(params)
        words = [self._word(kind, params[name]) for name, kind in declared]
        self.used += [value for value in params.values() if isinstance(value, Guarded)]
        block = np.array(words, np.int64)
        run_table(np.array([1, link([kernel])[kernel], block.ctypes.data], np.int64))
        assert all(value.intact for value in self.used), f"{kernel} wrote outside its buffers"

    def _word(self, kind, value):
        if isinstance(value, Guarded):
            return self._resolved(value).address
        return 0 if value is None else int(np.float32(value).view(np.int32)) if kind == "f32" else int(value)

    def _resolved(self, value):
        while id(value) in self.aliases:
            value = self.aliases[id(value)]
        return value

    def result(self, out):
        return self._resolved(out).array.view(out.dtype).reshape(out.shape)

    def alias(self, out, source):
        self.aliases[id(out)] = source

    def constant(self, tag, make):
        array = np.ascontiguousarray(make())
        return Guarded(array.shape, str(array.dtype), array)

    def panels(self, tag, matrix, gates, vectors=1, taps=1):
        return self.constant(tag, lambda: packing.packed(matrix, gates, self.lanes, vectors, taps))

    def kernel(self, name, precision):
        return packing.kernel_name(name, precision)

    def row_words(self, precision, n):
        return packing.row_words(precision, n)

    def activation_code(self, name):
        return kernels.ACTIVATIONS[name]

    def scratch(self, shape, dtype="float32"):
        return Guarded(shape, dtype)

    def state(self, slot):
        return self.states.get(slot)


def facts_of(op, arrays):
    """Facts with values for every given array, None for absent ones, as many as the op declares."""
    facts = [None if a is None else Fact(np.shape(a), str(np.asarray(a).dtype), np.asarray(a)) for a in arrays]
    return op.padded(facts)


def run_kernels(op, case, states=None):
    """The outputs of one op by its kernels; only its parameters are known beforehand."""
    attrs, facts = check_attrs(op, case.attrs), facts_of(op, case.inputs)
    low = GuardedLowering(states)
    names = [op.inputs[min(i, len(op.inputs) - 1)].rstrip("?*") for i in range(len(facts))]
    ins = [None if fact is None else Guarded(fact.shape, fact.dtype, fact.value, name in op.parameters)
           for fact, name in zip(facts, names, strict=True)]
    outs = [Guarded(fact.shape, fact.dtype) for fact in op.infer(attrs, facts)]
    op.lower(low, attrs, ins, outs)
    return [low.result(out) for out in outs]


def run_reference(op, case):
    """The outputs of one op by its float64 reference."""
    wide = [a.astype(np.float64) if a is not None and a.dtype == np.float32 else a for a in case.inputs]
    wide = op.padded(wide)
    return op.reference(check_attrs(op, case.attrs), wide)

"""How a kernel is declared: a name, its parameters, and a factory that writes it for one set of vectors.

    @kernel("scale", "x:f32* y:f32* n:int factor:f32")
    def scale(v):
        load, store = v.load, v.store
        def scale(x, y, n, factor):
            ...
        return scale

The factory runs only when the kernel is compiled, so declaring one imports no compiler.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

KINDS = ("f32*", "i8*", "i16*", "i32*", "i64*", "u8*", "u16*", "int", "f32")

Factory = Callable[[Any], Callable[..., None]]


class KernelDecl(NamedTuple):
    """A kernel: `params` are (name, kind) pairs in the order of the argument block, one 64-bit word each.

    Where every element of y is one formula of the elements at the same place, `formula(v)` gives that function, of the pointers
    in order without y and then of the numbers; `numbers` says that it is one of numbers, not vectors.
    """

    name: str
    params: tuple[tuple[str, str], ...]
    factory: Factory
    formula: Factory | None = None
    numbers: bool = False

    @property
    def spelled(self) -> str:
        """The parameters as they were declared."""
        return " ".join(f"{param}:{kind}" for param, kind in self.params)

    @property
    def symbol(self) -> str:
        """The name of the compiled entry."""
        return f"edgelstm_{self.name}"


REGISTRY: dict[str, KernelDecl] = {}


def kernel(name: str, params: str, formula: Factory | None = None, numbers: bool = False) -> Callable[[Factory], Factory]:
    """A decorator that declares a factory as the kernel `name`; `params` reads "x:f32* n:int", kinds as in KINDS."""
    pairs = parsed(name, params)

    def declare(factory: Factory) -> Factory:
        if name in REGISTRY:
            raise ValueError(f"kernel {name!r} is declared twice")
        REGISTRY[name] = KernelDecl(name, pairs, factory, formula, numbers)
        return factory

    return declare


def of_numbers(name: str, params: str, formula: Factory) -> None:
    """Declare the kernel `name` over x, y and n: y[i] = formula(v)(x[i]), one number at a time."""

    @kernel(name, params, formula, numbers=True)
    def factory(v: Any) -> Callable[..., None]:
        apply = v.inline(formula(v))

        def loop(x, y, n):
            for i in range(n):
                y[i] = apply(x[i])

        return loop


def parsed(name: str, params: str) -> tuple[tuple[str, str], ...]:
    """The parameters of a kernel as pairs."""
    return tuple(_parse(name, word) for word in params.split())


def _parse(name: str, word: str) -> tuple[str, str]:
    param, _, kind = word.partition(":")
    if kind not in KINDS:
        raise ValueError(f"kernel {name!r}: parameter {word!r} has no known kind, one of {', '.join(KINDS)}")
    return param, kind

"""The layers that can be imported: one handler for each class, declared with the configuration keys it honours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Handler = Callable[[Any], Any]


@dataclass(frozen=True)
class Entry:
    """A handler and what it promises.

    `honours` are the configuration keys it acts on, `fixed` those of which it supports only some values, `keeps_mask`
    says whether the mask of the first input holds for the output, `custom` that the handler answers for every key itself.
    `arguments` are what a call may give behind the first argument, in the order of Keras 3.
    """

    handler: Handler
    honours: frozenset[str] = frozenset()
    fixed: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    keeps_mask: bool = False
    custom: bool = False
    arguments: tuple[str, ...] = ("training", "mask")


_ENTRIES: dict[str, Entry] = {}


def layer(
    *kinds: str,
    honours: str = "",
    fixed: Mapping[str, Sequence[Any]] | None = None,
    keeps_mask: bool = False,
    arguments: str = "training mask",
) -> Callable[[Handler], Handler]:
    """Declare the handler of some layer classes; `honours` and `arguments` are lists of names, separated by blanks."""

    def declare(handler: Handler) -> Handler:
        entry = Entry(handler, frozenset(honours.split()), fixed or {}, keeps_mask, arguments=tuple(arguments.split()))
        _ENTRIES.update(dict.fromkeys(kinds, entry))
        return handler

    return declare


def register(name: str, handler: Handler) -> None:
    """Teach the importer a custom layer class: `handler(call)` gives the value name of the output."""
    _ENTRIES[name] = Entry(handler, keeps_mask=True, custom=True)


def find(kind: str) -> Entry | None:
    """The entry of a layer class; a custom class is also found without the package it was registered under."""
    return _ENTRIES.get(kind) or _ENTRIES.get(kind.rpartition(">")[2])


def kinds() -> list[str]:
    """Every known layer class."""
    return sorted(_ENTRIES)

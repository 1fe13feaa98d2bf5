"""Records: dataclasses whose methods are shared, where `dataclasses` writes and compiles the source of six for every class.

That takes half a millisecond a class at every start, and twenty classes lie on the way to a model's first output. The functions
of `dataclasses` (`replace`, `fields`, `asdict`) take records; `changed` is `replace` without importing them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


class _Fresh(NamedTuple):
    make: Callable[[], Any]


def fresh(make: Callable[[], T]) -> T:
    """The default of a field of which every record gets one of its own."""
    return _Fresh(make)  # type: ignore[return-value]


@dataclass_transform(frozen_default=True, field_specifiers=(fresh,))
def record(*, eq: bool = True, frozen: bool = True) -> Callable[[type[T]], type[T]]:
    """A class decorator: the annotations are the fields. Records with `eq` are compared and hashed by their fields."""

    def finish(cls: type[T]) -> type[T]:
        names = tuple(cls.__annotations__)
        cls._fields_ = cls.__match_args__ = names
        cls.__dataclass_fields__ = _Fields()
        cls.__replace__ = changed
        cls.__init__ = _initializer(cls, names)
        cls.__repr__ = _repr
        if eq:
            cls.__eq__, cls.__hash__ = _eq, _hash
        if frozen:
            cls.__setattr__, cls.__delattr__ = _refuse, _refuse
        return cls

    return finish


def changed(one: T, **changes: Any) -> T:
    """The record with other values in some of its fields."""
    return type(one)(**{**{name: getattr(one, name) for name in one._fields_}, **changes})


class _Fields:
    """The fields as `dataclasses` knows them, made when it asks for the first time."""

    def __get__(self, one: Any, cls: type) -> dict[str, Any]:
        from dataclasses import dataclass

        twin = dataclass(type(cls.__name__, (), {"__annotations__": {name: Any for name in cls._fields_}}))
        cls.__dataclass_fields__ = twin.__dataclass_fields__
        return twin.__dataclass_fields__


def _initializer(cls: type, names: tuple[str, ...]) -> Callable[..., None]:
    own = {name: vars(cls)[name] for name in names if name in vars(cls)}
    made = {name: default.make for name, default in own.items() if isinstance(default, _Fresh)}
    defaults = {name: default for name, default in own.items() if name not in made}
    known, count, after = frozenset(names), len(names), getattr(cls, "__post_init__", None)
    for name in made:
        delattr(cls, name)

    def __init__(self: Any, *args: Any, **given: Any) -> None:
        values = vars(self)
        values.update(defaults)
        values.update(zip(names, args, strict=False))
        values.update(given)
        for name, make in made.items():
            if name not in values:
                values[name] = make()
        twice = given and not given.keys().isdisjoint(names[:len(args)])
        if len(values) != count or len(args) > count or twice or not known.issuperset(given):
            _explain(cls, names, known - defaults.keys() - made.keys(), args, given)
        if after is not None:
            after(self)

    return __init__


def _explain(cls: type, names: tuple[str, ...], needed: frozenset[str], args: tuple[Any, ...],
             given: dict[str, Any]) -> NoReturn:
    missing = [name for name in names[len(args):] if name in needed and name not in given]
    wrong = sorted(given.keys() - set(names[len(args):]))
    raise TypeError(f"{cls.__name__} takes {', '.join(names)}: {len(args)} given by place, missing {missing}, "
                    f"unknown or twice {wrong}")


def _values(one: Any) -> tuple[Any, ...]:
    return tuple(getattr(one, name) for name in one._fields_)


def _repr(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields_)})"


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse(self: Any, name: str, *_: object) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot change {name!r} of a {type(self).__name__}")

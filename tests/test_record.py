"""Records behave as the dataclasses they stand for."""

import copy
import dataclasses
import pickle
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelstm.record import changed, fresh, record


@record()
class Point:
    x: int
    y: int = 2
    tags: Mapping[str, int] = fresh(dict)

    @property
    def sum(self) -> int:
        return self.x + self.y


@dataclasses.dataclass(frozen=True)
class Twin:
    x: int
    y: int = 2
    tags: Mapping[str, int] = dataclasses.field(default_factory=dict)


@record(eq=False)
class Identity:
    x: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", self.x + 1)


@record(eq=False, frozen=False)
class Buffer:
    size: int
    offset: int = 0


SMALL = st.integers(0, 2)
ARGUMENTS = st.tuples(st.lists(SMALL, max_size=4), st.dictionaries(st.sampled_from(["x", "y", "tags", "z"]), SMALL, max_size=4))


def made(cls, args, names):
    try:
        return cls(*args, **names)
    except TypeError:
        return None


@given(ARGUMENTS, ARGUMENTS)
def test_records_are_made_compared_and_hashed_as_dataclasses(one, other):
    a, b = (made(Point, *given) for given in (one, other))
    c, d = (made(Twin, *given) for given in (one, other))
    assert [x is None for x in (a, b)] == [x is None for x in (c, d)]
    if a is None or b is None:
        return
    assert dataclasses.asdict(a) == dataclasses.asdict(c)
    assert repr(a) == repr(c).replace("Twin", "Point")
    assert (a == b) == (c == d) and (a != b) == (c != d)
    if not isinstance(a.tags, dict):
        assert hash(a) == hash(c)


def test_every_record_has_its_own_fresh_default():
    assert Point(1).tags is not Point(1).tags


def test_records_are_frozen_unless_they_are_not():
    point, buffer = Point(1), Buffer(3)
    for act in (lambda: setattr(point, "x", 2), lambda: setattr(point, "z", 2), lambda: delattr(point, "x")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            act()
    buffer.offset = 8
    assert (buffer.size, buffer.offset) == (3, 8)


def test_replacing_gives_another_record():
    point = Point(1, tags={"a": 1})
    for other in (changed(point, x=5), dataclasses.replace(point, x=5)):
        assert other == Point(5, 2, {"a": 1}) and other.sum == 7 and point.x == 1
    with pytest.raises(TypeError, match="z"):
        changed(point, z=1)
    assert [field.name for field in dataclasses.fields(point)] == ["x", "y", "tags"]


def test_records_without_equality_are_themselves():
    one = Identity(1)
    assert one.x == 2 and one == one and one != Identity(1) and len({one, Identity(1)}) == 2


def test_records_are_copied_and_pickled():
    point = Point(1, 3, {"a": 1})
    assert copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point
    match point:
        case Point(x, y):
            assert (x, y) == (1, 3)


def test_what_is_wrong_is_named():
    with pytest.raises(TypeError, match=r"Point takes x, y, tags: .*missing \['x'\].*\['z'\]"):
        Point(z=1)

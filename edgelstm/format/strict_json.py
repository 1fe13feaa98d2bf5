"""JSON that is not trusted: strict parsing, and objects read field by field with the kind of every value checked."""

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from edgelstm.errors import FormatError

Check = Callable[[Any, str], Any]
_MAX_INTEGER = 2**63 - 1


def parse(text: bytes | str, what: str) -> Any:
    """The value of a JSON text. Raises FormatError for anything that not every JSON reader takes the same way.

    Refused are texts that are not UTF-8, duplicate keys, NaN and infinities, numbers beyond float64, lone surrogates and
    nesting deeper than the interpreter can follow. `what` names the text in messages.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(decoded, object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_float=_finite)
        if "\\ud" in decoded.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise FormatError(f"{what} is not UTF-8: {error.reason}") from None
    except RecursionError:
        raise FormatError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise FormatError(f"{what} is not JSON: {error}") from None
    return value


def dump(value: Any) -> bytes:
    """The shortest JSON text of a value, in UTF-8. Raises FormatError for what JSON or UTF-8 cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"the graph holds something that a file cannot: {error}") from None


def fields(**checks: Check) -> Check:
    """The check of an object that has exactly these keys."""

    def check(value: Any, where: str) -> dict[str, Any]:
        mapping(value, where)
        for key in sorted(checks.keys() - value.keys()):
            raise FormatError(f"{where} lacks {key!r}")
        for key in sorted(value.keys() - checks.keys()):
            raise FormatError(f"{where} has the key {key!r}, which this version of the format does not know")
        return {key: one(value[key], f"{where}.{key}") for key, one in checks.items()}

    return check


def listed(item: Check) -> Check:
    """The check of an array whose items all pass one check; gives a tuple."""

    def check(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            _refuse(value, where, "an array")
        return tuple(item(one, f"{where}[{i}]") for i, one in enumerate(value))

    return check


def optional(item: Check) -> Check:
    """The check of a value that may be null."""
    return lambda value, where: None if value is None else item(value, where)


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """An object with any keys."""
    return value if isinstance(value, dict) else _refuse(value, where, "an object")


def text(value: Any, where: str) -> str:
    """A string."""
    return value if isinstance(value, str) else _refuse(value, where, "a string")


def boolean(value: Any, where: str) -> bool:
    """true or false."""
    return value if isinstance(value, bool) else _refuse(value, where, "true or false")


def natural(value: Any, where: str) -> int:
    """A whole number from 0 to 2**63 - 1."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= _MAX_INTEGER else _refuse(value, where, "a whole number from 0 to 2**63 - 1")


def positive_number(value: Any, where: str) -> float:
    """A finite number that is not negative."""
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if numeric and 0 <= value <= _MAX_INTEGER else _refuse(value, where, "a number from 0 on")


def _refuse(value: Any, where: str, wanted: str) -> NoReturn:
    raise FormatError(f"{where} is {reprlib.repr(value)}, not {wanted}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in names if names.count(key) > 1)!r} stands there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value

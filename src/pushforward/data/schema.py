"""Reading plain JSON values back with the type and range they must have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from pushforward.errors import UserError

T = TypeVar("T")
Reader = Callable[[Any, str], T]
"""Takes a JSON value and its place, returns it checked, or raises UserError naming the place."""

_MAX_SIDE = 1 << 30


def wrong(where: str, value: object, expected: str) -> UserError:
    """The sentence for a stored value that is not what it must be."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    return UserError(
        f"The stored data format has {shown} at {where!r}, and {expected} was expected: the file was edited or damaged."
    )


def fields(value: Any, where: str, names: Collection[str]) -> Mapping[str, Any]:
    """An object with exactly these keys."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise wrong(where, value, f"an object with the keys {', '.join(sorted(names))}")
    return value


def text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise wrong(where, value, "a text")
    return value


def flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise wrong(where, value, "true or false")
    return value


def number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise wrong(where, value, "a finite number")
    return float(value)


def positive(value: Any, where: str) -> float:
    found = number(value, where)
    if found <= 0:
        raise wrong(where, value, "a number above 0")
    return found


def whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_SIDE:
        raise wrong(where, value, "a whole number that is not negative")
    return value


def side(value: Any, where: str) -> int:
    if whole(value, where) == 0:
        raise wrong(where, value, "a whole number above 0")
    return value


def digits(value: Any, where: str) -> int:
    if whole(value, where) > 15:
        raise wrong(where, value, "a number of decimals up to 15")
    return value


def one_of(*choices: str) -> Reader[str]:
    """One of a few words."""

    def read(value: Any, where: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise wrong(where, value, f"one of {', '.join(choices)}")
        return value

    return read


def optional(read: Reader[T]) -> Reader[T | None]:
    """null, or what `read` accepts."""
    return lambda value, where: None if value is None else read(value, where)


def items(read: Reader[T], length: int | None = None) -> Reader[tuple[T, ...]]:
    """A list (of this length, where one is given) of what `read` accepts."""

    def read_all(value: Any, where: str) -> tuple[T, ...]:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise wrong(where, value, "a list" if length is None else f"a list of {length}")
        return tuple(read(item, f"{where}[{i}]") for i, item in enumerate(value))

    return read_all

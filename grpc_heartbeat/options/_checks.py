"""Checks of the builders' arguments. Each message names the argument, its value and the range."""

from __future__ import annotations

from grpc_heartbeat.config import check_seconds

MAX_BYTES = 2**31 - 1
UNLIMITED = -1


def millis(name: str, value: object, maximum: float, *, minimum: float = 0.0, inclusive: bool = False) -> int:
    """Whole milliseconds; a time of less than one is not rounded to none."""
    return max(1, round(seconds(name, value, maximum, minimum=minimum, inclusive=inclusive) * 1000))


def seconds(name: str, value: object, maximum: float, *, minimum: float = 0.0, inclusive: bool = False) -> float:
    """Return ``value`` as seconds within the range."""
    checked = check_seconds(name, value, minimum=minimum, inclusive=inclusive)
    if checked > maximum:
        raise ValueError(f"{name} must be at most {maximum:g} seconds; got {value!r} (were milliseconds meant?)")
    return checked


def flag(name: str, value: object) -> int:
    """Return a boolean as 0 or 1."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {type(value).__name__} ({value!r})")
    return int(value)


def count(name: str, value: object, maximum: int = 1000) -> int:
    """Return a whole number from 0 to ``maximum``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__} ({value!r})")
    if not 0 <= value <= maximum:
        raise ValueError(f"{name} must be from 0 to {maximum}; got {value}")
    return value


def size(name: str, value: object) -> int:
    """Return a number of bytes, or -1 for no limit."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a number of bytes, not {type(value).__name__} ({value!r})")
    if value != UNLIMITED and not 0 < value <= MAX_BYTES:
        raise ValueError(f"{name} must be from 1 to {MAX_BYTES} bytes, or -1 for no limit; got {value}")
    return value

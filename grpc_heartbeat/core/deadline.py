"""Deadlines: absolute monotonic instants, the arithmetic of budgets, and the exact budget in metadata.

Theory of operation. gRPC carries a *duration* in ``grpc-timeout``, with about three significant digits, rounded up by some
implementations and down by others, so an error of up to 1 % is added at every hop. Inside a process we therefore keep the
*instant* at which the budget ends, on the monotonic clock, and compute what is left at the last moment before a call is
sent. Beside ``grpc-timeout`` we send the exact budget in microseconds in the metadata entry ``deadline-budget-v1``; the
receiver takes the smaller of the two. That can only shorten a deadline, so the entry is safe to accept from strangers.

``None`` always means "no limit".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real

from grpc_heartbeat.config import MAX_SECONDS

UNLIMITED_ABOVE = MAX_SECONDS
"""Seconds above which a time-out means "no limit"."""

BUDGET_KEY = "deadline-budget-v1"
"""Metadata key of the exact budget: ASCII digits, microseconds. A change of format gets a new key."""

_MAX_DIGITS = 15


def normalize_timeout(timeout: object, name: str = "timeout") -> float | None:
    """Return ``timeout`` as seconds, or ``None`` where it sets no limit (None, infinity, more than 1e8 s).

    Zero and negative values are returned as they are: such a call ends locally.

    Raises:
        TypeError: not a number.
        ValueError: not a number of seconds (NaN).
    """
    if type(timeout) is not float:
        if timeout is None:
            return None
        if isinstance(timeout, bool) or not isinstance(timeout, Real):
            raise TypeError(f"{name} must be a number of seconds or None, not {type(timeout).__name__} ({timeout!r})")
        try:
            timeout = float(timeout)
        except OverflowError:  # an integer with hundreds of digits
            timeout = -math.inf if timeout < 0 else math.inf
    if timeout > UNLIMITED_ABOVE:
        return None
    if math.isnan(timeout):
        raise ValueError(f"{name} must be a number of seconds or None, not NaN")
    return timeout


def earliest(first: float | None, second: float | None) -> float | None:
    """Return the smaller of two limits or instants, where ``None`` sets no limit."""
    if first is None:
        return second
    if second is None or first <= second:
        return first
    return second


def inbound_deadline(
    time_remaining: float | None,
    metadata: Iterable[tuple[str, str | bytes]] | None,
    now: float,
    arrived: float | None = None,
) -> float | None:
    """Return the instant at which an inbound RPC's budget ends.

    Args:
        time_remaining: What gRPC says is left, in seconds. ``None`` and the huge number that the sync stack reports for
            "no deadline" both mean no limit.
        metadata: The RPC's invocation metadata, which may carry the exact budget.
        now: The monotonic clock, in seconds.
        arrived: What it said when the metadata came; the exact budget is a duration from then. Default: now.
    """
    deadline = None
    if time_remaining is not None and time_remaining <= UNLIMITED_ABOVE:
        deadline = now + time_remaining
    for key, value in metadata or ():
        if key == BUDGET_KEY:
            budget = decode_budget(value)
            if budget is not None:
                exact = (now if arrived is None else arrived) + budget
                if deadline is None or exact < deadline:
                    deadline = exact
    return deadline


def encode_budget(seconds: float) -> str:
    """Return the ``deadline-budget-v1`` entry's value for a budget of 0 to 1e8 seconds, rounded down to microseconds."""
    return str(int(seconds * 1e6))


def decode_budget(value: str | bytes) -> float | None:
    """Return the budget in seconds, or ``None`` when ``value`` is not one: strangers may send anything."""
    if not 0 < len(value) <= _MAX_DIGITS:
        return None
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return int(text) / 1e6 if text.isascii() and text.isdigit() else None

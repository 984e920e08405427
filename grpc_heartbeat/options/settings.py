"""What a list of options amounts to: the keepalive settings that C-core works with, its defaults and clamps applied.

A value of another type than C-core reads counts as absent, as it does there; the rules report it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from grpc_heartbeat.config import check_seconds

Values = Mapping[str, object]

INT_MAX = 2**31 - 1
"""As a time this means "never" to gRPC."""
TIME = "grpc.keepalive_time_ms"
TIMEOUT = "grpc.keepalive_timeout_ms"
PING_TIMEOUT = "grpc.http2.ping_timeout_ms"
PERMIT = "grpc.keepalive_permit_without_calls"
MAX_PINGS = "grpc.http2.max_pings_without_data"
MIN_INTERVAL = "grpc.http2.min_ping_interval_without_data_ms"
MAX_STRIKES = "grpc.http2.max_ping_strikes"

CLIENT_PACE = 1.0
"""Seconds between two PINGs of a client at least, whatever its keepalive time."""
THROTTLED_PACE = 60.0
"""Seconds between two PINGs once a client has used up its PINGs without data."""
DEFAULT_TIMEOUT = 20.0
DEFAULT_PING_TIMEOUT = 60.0
SERVER_TIME = 7200.0
MIN_INTERVAL_DEFAULT = 300.0
STRIKES_DEFAULT = 2
NO_CALLS_INTERVAL = 7200.0
"""Seconds between PINGs that a server demands while no call is active and it does not permit them."""


def whole(values: Values, name: str) -> int | None:
    """Return the whole number that C-core reads for ``name``, or ``None`` where it reads nothing."""
    value = values.get(name)
    return int(value) if isinstance(value, int) and -INT_MAX - 1 <= value <= INT_MAX else None


def seconds(values: Values, name: str, default: float, *, minimum: float = 0.0) -> float:
    """Return the seconds that milliseconds in ``name`` mean."""
    millis = whole(values, name)
    if millis is None:
        return default
    return math.inf if millis == INT_MAX else max(minimum, millis / 1000)


@dataclass(frozen=True, slots=True)
class Keepalive:
    """One end's keepalive. Times are in seconds; ``math.inf`` means never.

    Args:
        time: Silence after which a PING is sent.
        timeout: How long sent bytes may stay unacknowledged by the peer's kernel (TCP_USER_TIMEOUT, Linux only).
        ping_timeout: How long a PING may stay unanswered by the peer's process.
        permit: Whether PINGs go on while there are no calls.
        max_pings: PINGs in a row without data before a client falls back to one a minute; 0 sets no limit.
    """

    time: float
    timeout: float
    ping_timeout: float
    permit: bool
    max_pings: int = 0

    @property
    def on(self) -> bool:
        """Whether PINGs are sent at all."""
        return self.time != math.inf

    @property
    def pace(self) -> float:
        """Seconds between two PINGs of a client on a quiet connection."""
        return max(self.time, CLIENT_PACE)

    @property
    def slowest(self) -> float:
        """Seconds between two PINGs of a client once it is throttled."""
        return max(self.pace, THROTTLED_PACE) if self.max_pings else self.pace


def client_keepalive(values: Values) -> Keepalive:
    """Return the keepalive of a channel with these options."""
    max_pings = whole(values, MAX_PINGS)
    return _keepalive(values, math.inf, max(0, max_pings) if max_pings is not None else 2)


def server_keepalive(values: Values) -> Keepalive:
    """Return the keepalive of a server with these options. Servers throttle nothing."""
    return _keepalive(values, SERVER_TIME, 0)


def _keepalive(values: Values, time: float, max_pings: int) -> Keepalive:
    time = seconds(values, TIME, time, minimum=0.001)
    timeout = seconds(values, TIMEOUT, DEFAULT_TIMEOUT)
    ping_timeout = seconds(values, PING_TIMEOUT, DEFAULT_PING_TIMEOUT)
    if timeout == math.inf:
        ping_timeout = math.inf  # the timer of a PING is only armed when the keepalive time-out is finite
    return Keepalive(time, timeout or DEFAULT_TIMEOUT, ping_timeout, bool(whole(values, PERMIT)), max_pings)


@dataclass(frozen=True, slots=True)
class Enforcement:
    """What a server allows its clients. For servers that are not Python's, give this instead of options.

    The defaults are those of gRPC in every language. In grpc-go these are ``EnforcementPolicy.MinTime`` and
    ``PermitWithoutStream``, in grpc-java ``permitKeepAliveTime`` and ``permitKeepAliveWithoutCalls``; in both the strikes
    are fixed at 2. etcd's are 5 s (``--grpc-keepalive-min-time``) and never without calls.

    Args:
        min_interval: Seconds between two PINGs below which the second is a strike. Default 300. At most 1e8.
        permit_without_calls: Whether this holds without calls too. Default false: then it is two hours.
        max_strikes: Strikes that are forgiven since the server last sent headers or data. Default 2; 0 forgives all.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an argument outside its range.
    """

    min_interval: float = MIN_INTERVAL_DEFAULT
    permit_without_calls: bool = False
    max_strikes: int = STRIKES_DEFAULT

    def __post_init__(self) -> None:
        interval = check_seconds("Enforcement.min_interval", self.min_interval, inclusive=True)
        object.__setattr__(self, "min_interval", interval)
        if not isinstance(self.permit_without_calls, bool):
            raise TypeError(
                f"Enforcement.permit_without_calls must be True or False, not {self.permit_without_calls!r}"
            )
        if isinstance(self.max_strikes, bool) or not isinstance(self.max_strikes, int):
            raise TypeError(f"Enforcement.max_strikes must be an integer, not {self.max_strikes!r}")
        if not 0 <= self.max_strikes <= INT_MAX:
            raise ValueError(f"Enforcement.max_strikes must be from 0 to {INT_MAX}; got {self.max_strikes}")

    def required(self, *, calls: bool) -> float:
        """Seconds that must lie between two PINGs, with or without active calls."""
        return self.min_interval if calls or self.permit_without_calls else NO_CALLS_INTERVAL


def enforcement(values: Values) -> Enforcement:
    """Return what a Python server with these options allows."""
    interval = seconds(values, MIN_INTERVAL, MIN_INTERVAL_DEFAULT)
    strikes = whole(values, MAX_STRIKES)
    strikes = STRIKES_DEFAULT if strikes is None else max(0, strikes)
    return Enforcement(min(interval, INT_MAX / 1000), bool(whole(values, PERMIT)), strikes)

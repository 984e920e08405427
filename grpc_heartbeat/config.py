"""Configuration: frozen, checked when made, without clocks or running state.

Every message names the field that is wrong, the value it had and the range that is allowed.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from numbers import Real
from typing import Literal, TypeAlias, get_args

MAX_LABEL_BYTES = 255
"""Longest service, zone or instance name, in UTF-8 bytes; strangers send these, so they are bounded."""

MAX_SECONDS = 1e8
"""Longest duration that is taken for one, about three years: gRPC's own arithmetic overflows on much longer ones."""

MAX_CONNECTIONS = 1000
"""Most connections of one pooled channel."""

BeatType = Literal["liveness", "readiness"]

BackoffStep: TypeAlias = tuple[int, float, float]
"""From this many failures in a row: a pause of so many seconds, spread by ± this share of it."""

BACKOFF_TABLE: tuple[BackoffStep, ...] = ((1, 0.1, 0.2), (3, 0.4, 0.3), (5, 1.2, 0.5))
"""A table for ``HeartbeatPolicy.backoff``: short pauses first, because most failures end at once; wide spread last, because
then many clients wait for one server."""


def check_seconds(name: str, value: object, *, minimum: float = 0.0, inclusive: bool = False) -> float:
    """Return ``value`` as a number of seconds above ``minimum`` and at most 1e8.

    Raises:
        TypeError: not a number (booleans are not numbers here).
        ValueError: NaN, infinite, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__} ({value!r})")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    in_range = (seconds >= minimum if inclusive else seconds > minimum) and seconds <= MAX_SECONDS
    if not in_range:
        bound = "at least" if inclusive else "more than"
        raise ValueError(f"{name} must be {bound} {minimum:g} and at most {MAX_SECONDS:g} seconds; got {value!r}")
    return seconds


def check_backoff(name: str, table: Iterable[BackoffStep]) -> tuple[BackoffStep, ...]:
    """Return ``table`` as a tuple, if its steps rise from 1 failure and each pauses for a while.

    Raises:
        TypeError: not steps of a count and two numbers.
        ValueError: no steps, in a wrong order, or a value out of its range.
    """
    steps: list[BackoffStep] = []
    for step in table:
        if len(tuple(step)) != 3:
            raise TypeError(f"a step of {name} must be (failures, seconds, spread); got {step!r}")
        failures, seconds, spread = step
        check_count(f"failures in {name}", failures)
        if check_seconds(f"spread in {name}", spread, inclusive=True) > 1:
            raise ValueError(f"spread in {name} must be a share from 0 to 1; got {spread!r}")
        steps.append((failures, check_seconds(f"seconds in {name}", seconds), float(spread)))
    counts = [step[0] for step in steps]
    if counts[:1] != [1] or counts != sorted(set(counts)):
        raise ValueError(f"the steps of {name} must begin with 1 failure and rise; got {counts}")
    return tuple(steps)


def check_count(name: str, value: object) -> None:
    """Check that ``value`` is an integer of at least 1.

    Raises:
        TypeError: not an integer (booleans are none here).
        ValueError: less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")


def _check_label(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__} ({value!r})")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be text that UTF-8 can hold, without lone surrogates; got {value!r}") from None
    if size > MAX_LABEL_BYTES:
        raise ValueError(f"{name} must be at most {MAX_LABEL_BYTES} bytes of UTF-8; got {size}")


def _service_name() -> str:
    """Return what the environment says. Bytes in it that are no UTF-8 show as ``?``: nobody is there to mend them."""
    return os.environ.get("OTEL_SERVICE_NAME", "").encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is, as every heartbeat span and hello frame says it.

    Args:
        service: The service's name (OpenTelemetry ``service.name``). Default: ``OTEL_SERVICE_NAME`` or ``""``.
        zone: The failure domain (OpenTelemetry ``cloud.availability_zone``). Default: ``""``, unknown.
        instance: This process among its siblings (``service.instance.id``). Default: ``host:pid``.

    Raises:
        TypeError: a part is not a string.
        ValueError: a part is longer than 255 bytes of UTF-8, or holds lone surrogates.
    """

    service: str = field(default_factory=_service_name)
    zone: str = ""
    instance: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")

    def __post_init__(self) -> None:
        _check_label("Identity.service", self.service)
        _check_label("Identity.zone", self.zone)
        _check_label("Identity.instance", self.instance)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a call may take, layer by layer. ``None`` (the default of each) means no limit of ours; all are in seconds.

    Args:
        total: From the start of a call to its end. The call's own ``timeout=`` and what is left of the inbound deadline still
            count: the smallest wins. Calls that stream responses have a total only where one is given for their very method.
        connect: From the start of a call until its channel has a connection: name look-up, TCP, TLS and HTTP/2 settings.
        header: From then until the server accepts the call, which it says by its initial metadata. A server with this
            library's interceptors says so after 20 ms; others on unary methods mostly say so with the response.
        idle: For one response message, while the application waits for it.
        write: For one request message of a stream to be taken by the connection, while it waits for that.

    Raises:
        TypeError: not a number.
        ValueError: NaN, infinite, zero, negative or above 1e8.
    """

    total: float | None = None
    connect: float | None = None
    header: float | None = None
    idle: float | None = None
    write: float | None = None

    def __post_init__(self) -> None:
        for part in ("total", "connect", "header", "idle", "write"):
            value = getattr(self, part)
            if value is not None:
                object.__setattr__(self, part, check_seconds(f"Timeouts.{part}", value))

    @classmethod
    def recommended(cls) -> Timeouts:
        """Return limits that suit a call between two services: connect 3 s, header 2 s, total 8 s."""
        return cls(total=8.0, connect=3.0, header=2.0)


@dataclass(frozen=True, slots=True)
class HeartbeatPolicy:
    """How a heartbeat stream beats and when it is believed dead.

    Args:
        interval: Seconds between beats, measured from a fixed origin, so that they do not drift. Default 5.
        timeout: Seconds to wait for a beat's echo before it counts as missed; at most ``interval``, so that one beat is in
            flight at a time. Default 1, or the interval if that is shorter.
        misses: Consecutive misses after which the stream is failed and opened anew. Default 3.
        type: What each beat asks, ``"liveness"`` (default) or ``"readiness"``.
        reconnect_min: Seconds before the first attempt to reopen a failed stream; doubles per failure. Default 0.2.
        reconnect_max: Longest pause between attempts, in seconds. Default 10.
        backoff: Pauses by the number of failures in a row instead of those that double, as in :data:`BACKOFF_TABLE`. Steps
            rise from 1 failure, each with its pause in seconds and its spread, a share from 0 to 1. Default: none.
        silence: Seconds of silence after which the peer is convicted, whatever its past. Default: as long as ``misses`` beats.
        tolerance: Seconds of silence that suspicion allows beyond what is usual for this peer, before it convicts earlier than
            ``silence``. Default: ``silence`` less one interval, at least ``timeout``.
        suspicion: How surprising silence must be to convict: φ, at most 300. Default 8, wrong once in 10⁸ regular echoes.
        deviation: Least standard deviation of echoes, in seconds, that suspicion assumes. Default 0.1.
        overloaded: Queue delay or loop lag in seconds from which acks mean OVERLOADED; it ends below half of it. Default 0.1.
        overloaded_acks: Acks in a row that must say so. Default 2: one may be a garbage collection.
        fallback: Whether a peer that knows no heartbeats is asked by its health service, and one without that whether it
            answers at all, instead of being left alone. Default: yes.

    Raises:
        TypeError, ValueError: a value of the wrong type or outside its range; the message names it.
    """

    interval: float = 5.0
    timeout: float | None = None
    misses: int = 3
    type: BeatType = "liveness"
    reconnect_min: float = 0.2
    reconnect_max: float = 10.0
    backoff: tuple[BackoffStep, ...] | None = None
    silence: float | None = None
    tolerance: float | None = None
    suspicion: float = 8.0
    deviation: float = 0.1
    overloaded: float = 0.1
    overloaded_acks: int = 2
    fallback: bool = True

    def __post_init__(self) -> None:
        interval = check_seconds("HeartbeatPolicy.interval", self.interval, minimum=0.01, inclusive=True)
        timeout = check_seconds("HeartbeatPolicy.timeout", min(1.0, interval) if self.timeout is None else self.timeout)
        if timeout > interval:
            raise ValueError(
                f"HeartbeatPolicy.timeout ({timeout:g} s) must not exceed interval ({interval:g} s): "
                "one beat is in flight at a time"
            )
        check_count("HeartbeatPolicy.misses", self.misses)
        if self.type not in get_args(BeatType):
            raise ValueError(f"HeartbeatPolicy.type must be one of {get_args(BeatType)}; got {self.type!r}")
        reconnect_min = check_seconds("HeartbeatPolicy.reconnect_min", self.reconnect_min)
        reconnect_max = check_seconds(
            "HeartbeatPolicy.reconnect_max", self.reconnect_max, minimum=reconnect_min, inclusive=True
        )
        if self.backoff is not None:
            object.__setattr__(self, "backoff", check_backoff("HeartbeatPolicy.backoff", self.backoff))
        for name, value in (
            ("interval", interval),
            ("timeout", timeout),
            ("reconnect_min", reconnect_min),
            ("reconnect_max", reconnect_max),
        ):
            object.__setattr__(self, name, value)
        self._check_judgement()

    def _check_judgement(self) -> None:
        for name in ("silence", "deviation", "overloaded"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_seconds(f"HeartbeatPolicy.{name}", getattr(self, name)))
        if self.tolerance is not None:
            tolerance = check_seconds("HeartbeatPolicy.tolerance", self.tolerance, inclusive=True)
            object.__setattr__(self, "tolerance", tolerance)
        check_count("HeartbeatPolicy.overloaded_acks", self.overloaded_acks)
        if check_seconds("HeartbeatPolicy.suspicion", self.suspicion) > 300:
            raise ValueError(f"HeartbeatPolicy.suspicion must be at most 300; got {self.suspicion!r}")

    @property
    def beat_timeout(self) -> float:
        """Seconds to wait for an echo, with the default filled in."""
        return self.interval if self.timeout is None else self.timeout

    @property
    def longest_silence(self) -> float:
        """Seconds of silence that convict whatever the past, with the default filled in."""
        return self.misses * self.interval if self.silence is None else self.silence


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When heartbeats stop calls on a channel, and how it comes back.

    Args:
        misses: Beats missed in a row that open the breaker. A conviction by the judge opens it too. Default 3.
        open_min: Seconds from the opening to the first probe; doubles with each probe that fails, ±20 %. Default 0.1.
        open_max: Longest such pause, in seconds: how long a peer that came back may wait for us. Default 1.
        probe_timeout: Seconds from the opening of a fresh connection to its first echo, after which the probe has failed. It
            has to suffice for connecting. Default 1.5.
        successes: Echoes in a row that close the breaker. Default 1.
        when_open: What a call does meanwhile: ``"fail"`` at once with UNAVAILABLE (default) or ``"wait"`` within its budget.

    Raises:
        TypeError, ValueError: a value of the wrong type or outside its range; the message names it.
    """

    misses: int = 3
    open_min: float = 0.1
    open_max: float = 1.0
    probe_timeout: float = 1.5
    successes: int = 1
    when_open: Literal["fail", "wait"] = "fail"

    def __post_init__(self) -> None:
        for name in ("misses", "successes"):
            check_count(f"BreakerPolicy.{name}", getattr(self, name))
        open_min = check_seconds("BreakerPolicy.open_min", self.open_min)
        open_max = check_seconds("BreakerPolicy.open_max", self.open_max, minimum=open_min, inclusive=True)
        if self.when_open not in ("fail", "wait"):
            raise ValueError(f"BreakerPolicy.when_open must be 'fail' or 'wait'; got {self.when_open!r}")
        object.__setattr__(self, "open_min", open_min)
        object.__setattr__(self, "open_max", open_max)
        probe_timeout = check_seconds("BreakerPolicy.probe_timeout", self.probe_timeout)
        object.__setattr__(self, "probe_timeout", probe_timeout)


@dataclass(frozen=True, slots=True)
class PoolPolicy:
    """How many connections a pooled channel has, and when one is believed dead.

    Args:
        size: Connections at most, from 1 to 1000; each is made when a call needs it. Default 4.
        idle: Seconds without a sign of life after which a connection is given no call; it is probed in time before that.
            Default 60.
        timeout: Seconds that the peer has to answer a probe; at most half of ``idle``. A connection on which it stays silent is
            stale, and replaced when a call wants it. Default 1, or half of ``idle`` if that is shorter.

    Raises:
        TypeError, ValueError: a value of the wrong type or outside its range; the message names it.
    """

    size: int = 4
    idle: float = 60.0
    timeout: float | None = None

    def __post_init__(self) -> None:
        check_count("PoolPolicy.size", self.size)
        if self.size > MAX_CONNECTIONS:
            raise ValueError(f"PoolPolicy.size must be at most {MAX_CONNECTIONS}; got {self.size}")
        idle = check_seconds("PoolPolicy.idle", self.idle)
        timeout = check_seconds("PoolPolicy.timeout", min(1.0, idle / 2) if self.timeout is None else self.timeout)
        if timeout > idle / 2:
            raise ValueError(f"PoolPolicy.timeout ({timeout:g} s) must be at most half of idle ({idle:g} s)")
        object.__setattr__(self, "idle", idle)
        object.__setattr__(self, "timeout", timeout)

    @property
    def probe_timeout(self) -> float:
        """Seconds that the peer has to answer a probe, with the default filled in."""
        return self.idle / 2 if self.timeout is None else self.timeout

"""What the two sides of a heartbeat stream say to each other, free of any encoding.

Durations are seconds here; the wire has milliseconds. The rules of each field stand in ``heartbeat.proto``. What is made for
each beat is a named tuple: a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from grpc_heartbeat.config import BeatType, Identity

GOODBYE_KEY = "heartbeat-goodbye-bin"
"""The metadata entry of a goodbye in a stream's trailers: the frame's bytes. A client that reads it there says so by sending an
entry of the same name, empty, when it opens the stream."""


class ServingStatus(enum.IntEnum):
    """Whether a process accepts work; the numbers are those of ``grpc.health.v1``."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2


class GoodbyeReason(enum.IntEnum):
    """Why a side closes its stream on purpose."""

    UNSPECIFIED = 0
    CLOSING = 1
    DRAINING = 2


@dataclass(frozen=True, slots=True)
class Hello:
    """Who the sender is; the first frame of each side."""

    identity: Identity
    tracestate: str = ""


class Beat(NamedTuple):
    """Are you there? ``next_within`` promises the next beat within that many seconds; 0 promises nothing."""

    sequence: int
    type: BeatType = "liveness"
    trace_context: bytes = b""
    next_within: float = 0.0


class Load(NamedTuple):
    """How busy the sender of an ack is. ``None``: not measured. Durations in seconds, CPU as a share of one core."""

    in_flight: int | None = None
    queue_delay: float | None = None
    loop_lag: float | None = None
    cpu: float | None = None
    gc_pause: float | None = None


class Ack(NamedTuple):
    """The answer to one beat. ``sender`` is set in the reply to Ping only."""

    sequence: int
    status: ServingStatus = ServingStatus.UNKNOWN
    load: Load | None = None
    advised_interval: float = 0.0
    sender: Identity | None = None


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The last frame of a side that closes on purpose."""

    reason: GoodbyeReason = GoodbyeReason.UNSPECIFIED
    message: str = ""


Frame: TypeAlias = Hello | Beat | Ack | Goodbye

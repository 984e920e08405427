"""What happens to a heartbeat, as its observers hear it. Instants are monotonic seconds, durations seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Ack, GoodbyeReason, ServingStatus
from grpc_heartbeat.core.levels import Level

FailureCause: TypeAlias = Literal["silent", "lost", "refused", "unsupported", "unclear"]
"""Why a stream ended.

``silent``: the peer did not answer in time. ``lost``: the stream ended with an error, or without a goodbye. ``refused``: the
peer answered that it does not want this stream now. ``unsupported``: the peer does not know heartbeats, which is no illness.
``unclear``: the stream ended and this side cannot see with what status; the next attempt tells.
"""


@dataclass(frozen=True, slots=True)
class StreamOpening(Event):
    """A stream is being opened."""


@dataclass(frozen=True, slots=True)
class StreamOpened(Event):
    """The peer's first frame arrived."""


@dataclass(frozen=True, slots=True)
class PeerIdentified(Event):
    """The peer said who it is."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class LevelChanged(Event):
    """The peer is asked in another way from now on, because of what it knows."""

    level: Level
    before: Level


@dataclass(frozen=True, slots=True)
class ServingTold(Event):
    """The peer told whether it accepts work without being asked."""

    status: ServingStatus


@dataclass(frozen=True, slots=True)
class BeatSent(Event):
    """A beat was handed to the transport. It ends once: acked, missed or abandoned."""

    sequence: int


@dataclass(frozen=True, slots=True)
class BeatAcked(Event):
    """The echo of the beat in flight arrived in time."""

    sequence: int
    rtt: float
    ack: Ack


@dataclass(frozen=True, slots=True)
class BeatMissed(Event):
    """No echo in time; ``consecutive`` counts misses since the last echo. ``why``: not written, or not echoed."""

    sequence: int
    consecutive: int
    why: str


@dataclass(frozen=True, slots=True)
class BeatAbandoned(Event):
    """The stream ended while the beat was in flight."""

    sequence: int
    why: str


@dataclass(frozen=True, slots=True)
class LateEcho(Event):
    """The echo of a missed beat arrived after all: a sample of the round trip, and no sign of life in time.

    ``waiting_since``: when the first beat after it was sent, the echo of which is still awaited; ``None`` if there is none.
    """

    sequence: int
    rtt: float
    ack: Ack
    waiting_since: float | None


@dataclass(frozen=True, slots=True)
class StreamFailed(Event):
    """The stream is over and nobody said goodbye. ``opened``: the peer had answered on it."""

    why: str
    cause: FailureCause
    opened: bool


@dataclass(frozen=True, slots=True)
class PeerLeft(Event):
    """The peer said goodbye."""

    reason: GoodbyeReason
    message: str


@dataclass(frozen=True, slots=True)
class StreamClosed(Event):
    """The stream was closed from our side."""

    why: str


@dataclass(frozen=True, slots=True)
class HeartbeatClosed(Event):
    """The heartbeat was closed by its owner, or its channel was."""

    why: str

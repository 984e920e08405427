"""What happens to the clients of a server's heartbeat streams, as its observers hear it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.events import Event

LossCause: TypeAlias = Literal["silent", "unread", "refused"]
"""Why a server ended a stream.

``silent``: the client broke its promise of a next beat, or did not echo the server's. ``unread``: it took no answers.
``refused``: it broke a limit.
"""


@dataclass(frozen=True, slots=True)
class ClientEvent(Event):
    """Something that happened to the client ``peer``; ``None`` before it said who it is."""

    peer: Identity | None


@dataclass(frozen=True, slots=True)
class ClientJoined(ClientEvent):
    """A client opened a stream and said who it is."""


@dataclass(frozen=True, slots=True)
class ClientEchoed(ClientEvent):
    """A client echoed a beat of the server's ``rtt`` after it was sent."""

    sequence: int
    rtt: float


@dataclass(frozen=True, slots=True)
class ClientMissed(ClientEvent):
    """A client did not echo a beat of the server's in time; ``consecutive`` counts such misses in a row."""

    sequence: int
    consecutive: int


@dataclass(frozen=True, slots=True)
class ClientLost(ClientEvent):
    """The server ended the stream of a client that is gone or misbehaves."""

    cause: LossCause
    why: str


@dataclass(frozen=True, slots=True)
class ClientLeft(ClientEvent):
    """A stream is over and nobody is to blame: a goodbye of either side, or the client's connection ended."""

    why: str

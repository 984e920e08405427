"""What a server puts up with from the peers of its heartbeat streams, and who of them hold how many.

Strangers open these streams, so everything that they can make a server keep or do is bounded here. A client that breaks a
limit is told which, in the details of RESOURCE_EXHAUSTED.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from grpc_heartbeat.config import check_count, check_seconds

MAX_STREAMS = 20_000
"""Streams that a server holds where a stream is some 20 KB of memory and no thread."""

MAX_THREADED_STREAMS = 256
"""Streams that it holds where each holds a thread."""

FIELD_OVERHEAD = 32
"""Bytes that each entry of metadata counts for beside its text, as HTTP/2 counts them."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Limits for the heartbeat streams of one server.

    Args:
        per_host: Streams at a time from one address, ports aside. All clients behind one proxy share it. Default 10,240.
        beats_per_second: Beats a second on one stream. A client above it is first asked for a longer interval, in each answer;
            if it has not slowed down two seconds later, its stream ends. At least 1. Default 200.
        frame_bytes: Size of one frame. A larger one is not read, and ends its stream. At least 1,024, which holds the largest
            frame of this version with some to spare for others. Default 4,096.
        metadata_bytes: Size of the metadata that a stream is opened with, each entry counted with 32 bytes on top. gRPC
            itself refuses what is above its own limit, which is 16 KB by default. Default 8,192.
        unread: Seconds that an answer may wait to be taken by a client that does not read. Clients that promise
            their next beat within a third of it are answered at nearly half the cost; below 10 none are. Default 20.

    Raises:
        TypeError, ValueError: a value of the wrong type or outside its range; the message names it.
    """

    per_host: int = 10_240
    beats_per_second: int = 200
    frame_bytes: int = 4_096
    metadata_bytes: int = 8_192
    unread: float = 20.0

    def __post_init__(self) -> None:
        for name in ("per_host", "beats_per_second", "frame_bytes", "metadata_bytes"):
            check_count(f"StreamLimits.{name}", getattr(self, name))
        if self.frame_bytes < 1_024:
            raise ValueError(f"StreamLimits.frame_bytes must be at least 1024; got {self.frame_bytes}")
        object.__setattr__(self, "unread", check_seconds("StreamLimits.unread", self.unread))


class Places:
    """The places for streams that a server has, in all and for each host. Not safe for several threads at once.

    Args:
        most: Streams at a time, in all.
    """

    __slots__ = ("_hosts", "_limits", "_most", "taken")

    def __init__(self, most: int, limits: StreamLimits) -> None:
        self._most = most
        self._limits = limits
        self._hosts: dict[str, int] = {}
        self.taken = 0
        """Streams that are held."""

    def take(self, host: str) -> str | None:
        """Take a place for a stream of ``host``; give it back by :meth:`leave`. Returns why there is none, or ``None``."""
        held = self._hosts.get(host, 0)
        if self.taken >= self._most:
            return f"this server holds {self._most} heartbeat streams, which is its limit; raise max_streams of add_to_server"
        if held >= self._limits.per_host:
            return (
                f"this server holds {held} heartbeat streams of {host}, which is its limit; hold one stream for each "
                "connection, or raise StreamLimits.per_host of add_to_server"
            )
        self._hosts[host] = held + 1
        self.taken += 1
        return None

    def leave(self, host: str) -> None:
        """Give a place back."""
        self.taken -= 1
        held = self._hosts[host] - 1
        if held:
            self._hosts[host] = held
        else:
            del self._hosts[host]


def host_of(peer: str) -> str:
    """Return what of a peer's address is shared by all of its connections: that without the port, or ``unix`` sockets' all."""
    scheme, _, address = peer.partition(":")
    if scheme in ("ipv4", "ipv6"):
        return f"{scheme}:{address.rpartition(':')[0]}"
    return scheme if scheme == "unix" else peer


def excess_metadata(entries: Iterable[tuple[str, str | bytes]], limits: StreamLimits) -> str | None:
    """Return why a stream that is opened with these metadata is refused, or ``None``."""
    size = sum(len(key) + len(value) + FIELD_OVERHEAD for key, value in entries)
    if size <= limits.metadata_bytes:
        return None
    return (
        f"{size} bytes of metadata are too many for a heartbeat stream: this server takes {limits.metadata_bytes}; send "
        "fewer, or raise StreamLimits.metadata_bytes of add_to_server"
    )


def excess_frame(size: int, limits: StreamLimits) -> str:
    """Return why a frame of ``size`` bytes ends its stream."""
    return (
        f"a heartbeat frame of {size} bytes is too large: this server reads {limits.frame_bytes}; "
        "send less, or raise StreamLimits.frame_bytes of add_to_server"
    )


class Pace:
    """How fast the beats of one stream come; made when a stream has spent its first window of beats.

    Beats are counted in windows of :data:`WINDOW` seconds. A window whose beats are spent before its time makes the stream a
    *fast* one, which its client is told; one that is still fast :data:`PATIENCE` seconds later is ended.
    """

    __slots__ = ("_began", "_fast_since", "_per_window")

    WINDOW = 1.0
    PATIENCE = 2.0

    def __init__(self, limits: StreamLimits) -> None:
        self._per_window = int(limits.beats_per_second * self.WINDOW)
        self._began = -math.inf
        self._fast_since: float | None = None

    def spent(self, now: float) -> bool:
        """Begin a new window, the beats of the last one being spent; return whether the stream is to be ended."""
        began, self._began = self._began, now
        if now - began >= self.WINDOW:
            self._fast_since = None
            return False
        if self._fast_since is None:
            self._fast_since = now
        return now - self._fast_since >= self.PATIENCE

    def advice(self, now: float) -> float:
        """Return the seconds between beats that the client is to be asked for, twice what it may do; 0 if it is not fast."""
        if self._fast_since is None:
            return 0.0
        if now - self._began >= self.WINDOW:
            self._fast_since = None
            return 0.0
        return 2 * self.WINDOW / self._per_window

    def excess(self) -> str:
        """Return why the stream is ended."""
        return (
            f"more than {self._per_window / self.WINDOW:g} heartbeats a second on one stream, and no fewer after "
            f"{self.PATIENCE:g} s of advice; heed advised_interval_millis, or raise StreamLimits.beats_per_second of "
            "add_to_server"
        )

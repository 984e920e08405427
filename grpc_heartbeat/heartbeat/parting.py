"""Streams that are over for us and still stand: how long each may, until it is cancelled. No I/O, ``now`` is an argument."""

from __future__ import annotations

import math
from collections.abc import Iterator

from grpc_heartbeat.heartbeat.streams import Stream


class Parting:
    """The streams of one heartbeat that are to end by themselves. One thread at a time."""

    __slots__ = ("_cuts", "next_cut")

    def __init__(self) -> None:
        self._cuts: tuple[tuple[Stream, float], ...] = ()
        self.next_cut = math.inf
        """When :meth:`overdue` has something to say."""

    def __bool__(self) -> bool:
        return bool(self._cuts)

    def __iter__(self) -> Iterator[Stream]:
        return iter([stream for stream, _ in self._cuts])

    def add(self, stream: Stream, cut: float) -> None:
        """Await the end of ``stream`` until ``cut``."""
        self._set((*self._cuts, (stream, cut)))

    def ended(self, stream: Stream) -> None:
        """Note that ``stream`` has ended."""
        self._set(tuple(entry for entry in self._cuts if entry[0] is not stream))

    def overdue(self, now: float) -> list[Stream]:
        """Return the streams to cancel. They stay here until they report their end."""
        if now < self.next_cut:
            return []
        overdue = [stream for stream, cut in self._cuts if now >= cut]
        self._set(tuple((stream, math.inf if now >= cut else cut) for stream, cut in self._cuts))
        return overdue

    def _set(self, cuts: tuple[tuple[Stream, float], ...]) -> None:
        self._cuts = cuts
        self.next_cut = min((cut for _, cut in cuts), default=math.inf)

"""How well a peer can be asked whether it is alive, from heartbeats down to its mere transport; without I/O.

Theory of operation
-------------------
There are four levels, each of which asks less of the peer:

- ``HEARTBEAT``: a heartbeat stream. The answers say whether the application accepts work, and how busy it is.
- ``WATCH``: beats are ``grpc.health.v1`` Checks, and a Watch beside them tells of each change of status at once.
- ``CHECK``: the Checks alone.
- ``TRANSPORT``: the same question to a peer that does not know it. Its answer, UNIMPLEMENTED, comes from the gRPC server, so
  the transport works and the process runs; of the application nothing is known.

A peer that answers UNIMPLEMENTED is not sick: the next stream is opened at once, one level down. What was found holds for one
connection: the next one, which may lead to a newer server, is tried from the top again, and so is an old one every
:data:`RETRY_AFTER` seconds or so. A climb costs at most three refused calls.

``STRATEGY`` stands beside them: the peer is asked over a protocol that its owner chose (``strategies/``), and in no other way.

What the owner does: it opens each stream at the level of ``opening``, tells what became of it (``opened``, ``unsupported``,
``left``), and leaves it at ``retry_at``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

RETRY_AFTER = 300.0
"""Seconds after which a better level is tried on the same connection, and up to a fifth more, so that clients spread."""


class Level(enum.Enum):
    """What a peer is asked; best first, and last what is none of these levels."""

    HEARTBEAT = "heartbeat"
    WATCH = "watch"
    CHECK = "check"
    TRANSPORT = "transport"
    STRATEGY = "strategy"


_BELOW = {Level.HEARTBEAT: Level.WATCH, Level.WATCH: Level.CHECK, Level.CHECK: Level.TRANSPORT}


class Levels:
    """The level of one heartbeat.

    Args:
        falls_back: Whether other levels than ``HEARTBEAT`` are wanted.
        random: Returns a number in [0, 1), as ``random.random`` does.

    Attributes:
        level: Of the stream that is opened or open.
        told: Of the last stream that opened.
        retry_at: When to leave an open stream and try a better one; ``None``: not before it ends.
    """

    __slots__ = ("_falls_back", "_next", "_random", "_top", "level", "retry_at", "told")

    def __init__(self, falls_back: bool, random: Callable[[], float]) -> None:
        self._falls_back = falls_back
        self._random = random
        self._next = self.level = self.told = self._top = Level.HEARTBEAT
        self.retry_at: float | None = None

    def begin_at(self, top: Level) -> None:
        """Open the first stream on each connection at ``top`` instead of ``HEARTBEAT``. To be called before there is any."""
        self._next = self.level = self.told = self._top = top

    @property
    def steps_down(self) -> bool:
        """Whether the next stream is another level's, to be opened at once."""
        return self._next is not self._top

    def opening(self) -> Level:
        """Return the level of the stream that is opened now."""
        self.level, self._next = self._next, self._top
        self.retry_at = None
        return self.level

    def opened(self, now: float) -> Level | None:
        """Note that the peer answered on the stream; return the level before, if it is another one."""
        if self.level is not self._top:
            self.retry_at = now + RETRY_AFTER * (1 + 0.2 * self._random())
        before, self.told = self.told, self.level
        return None if before is self.level else before

    def unsupported(self) -> bool:
        """Note that the peer does not know the level; return whether there is another."""
        self.retry_at = None
        below = _BELOW.get(self.level) if self._falls_back else None
        if below is not None:
            self._next = below
        return below is not None

    def left(self) -> None:
        """Note that the stream ended otherwise."""
        self.retry_at = None

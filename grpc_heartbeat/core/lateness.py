"""When this process did not run as it should, so that nobody else is blamed for it.

A process that was frozen, starved of CPU, blocked in its event loop or collecting garbage cannot tell whether an answer was
late: it did not look. So its pauses are recorded here, and who judges a peer deducts them from the time that it has waited
(:meth:`LocalPauses.excused`). After each pause there is a grace of the same length, at most :data:`GRACE`, in which the answers
that lie in buffers are read.

Pauses are found by whoever can: a tick that came too late (:meth:`LocalPauses.tick`), the collector's callbacks, a probe of the
event loop (:meth:`LocalPauses.add`). Reports of one pause by several of them overlap and count once.

A process that is starved for more than half of the time judges nobody. It says so (``suspended_by``, ``total``); more it
cannot truthfully say.

One object serves all connections of a process or loop. Instants are readings of one monotonic clock. One thread at a time
reports; any may ask: what they see is replaced as a whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

PauseCause: TypeAlias = Literal["late tick", "garbage collection", "loop blocked", "cpu starved"]

TOLERANCE = 0.05
"""Seconds by which a tick may be late on a healthy machine: the width of a slot of the scheduler."""

GRACE = 0.1
"""Longest time that is added to a pause for reading what arrived in it."""

REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause, its grace not included."""

    start: float
    end: float
    cause: PauseCause

    @property
    def until(self) -> float:
        """When its grace is over."""
        return self.end + min(GRACE, self.end - self.start)


class LocalPauses:
    """The last pauses of this process, oldest first and not overlapping."""

    def __init__(self) -> None:
        self._pauses: tuple[Pause, ...] = ()
        self._until = -math.inf
        self.total = 0.0
        """Seconds of pause so far."""
        self.count = 0

    @property
    def last(self) -> Pause | None:
        """The newest pause that is remembered."""
        return self._pauses[-1] if self._pauses else None

    def tick(self, due: float, now: float) -> None:
        """Note that something of ours that was due at ``due`` ran at ``now``."""
        if now - due > TOLERANCE:
            self.add(due, now, "late tick")

    def add(self, start: float, end: float, cause: PauseCause) -> None:
        """Note a pause. One that overlaps with others is joined with them and keeps the cause of the longest."""
        if not end > start:
            return
        longest = added = Pause(start, end, cause)
        total, count = self.total, self.count  # stored once each: who asks meanwhile sees no joined pause missing
        rest = list(self._pauses)
        later: list[Pause] = []
        while rest and rest[-1].end >= start:
            known = rest.pop()
            if known.start > end:
                later.append(known)
                continue
            total -= known.end - known.start
            count -= 1
            longest = max(longest, known, key=lambda pause: pause.end - pause.start)
            added = Pause(min(added.start, known.start), max(added.end, known.end), longest.cause)
        self._pauses = (*rest, added, *reversed(later))[-REMEMBERED:]
        self.total = total + added.end - added.start
        self.count = count + 1
        self._until = max(self._until, added.until)

    def excused(self, since: float, now: float) -> float:
        """Return how many of the seconds from ``since`` to ``now`` do not count, because we paused or were catching up."""
        if since >= self._until:
            return 0.0
        excused, covered = 0.0, now
        for pause in reversed(self._pauses):
            excused += max(0.0, min(pause.until, covered) - max(pause.start, since))
            if pause.start <= since:
                break
            covered = min(covered, pause.start)
        return excused

    def suspended_by(self, now: float) -> PauseCause | None:
        """Return the cause of the pause whose grace lasts at ``now``; ``None`` if we run as we should."""
        last = self.last
        return last.cause if last is not None and now < last.until else None

"""A lane of a :class:`~grpc_heartbeat.core.timers.TimerQueue`: what is armed for one and the same length, oldest first.

Cancelled entries stay in it until they are at its head or until a *sweep*, which the driver does a stretch at a time, so that
nobody waits long for it. A lane is three deques end to end: ``kept`` (swept by this sweep), ``old`` (survivors of the sweep
before) and ``entries`` (armed since). A sweep moves what is alive from the second and the third to the first, and at its
beginning the first two change places. Armers know ``entries`` only.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from grpc_heartbeat.core.timer import Entry, Timer

if TYPE_CHECKING:
    from grpc_heartbeat.core.timers import TimerQueue

AnyEntry: TypeAlias = "Entry | Timer"

SWEEP_MINIMUM = 1024
"""Entries that may be armed before it is worth looking for cancelled ones."""

STRETCH = 10_000
"""Entries that are swept at a time: about a millisecond."""

ASKED = math.inf
"""The ``limit`` of a lane whose driver has been asked to look at it."""

RESTING = -1.0
"""The ``limit`` of a lane that its queue has let go of: whoever appends to it gives it back."""


class Lane:
    """Entries of one duration. The lane of alarms has no duration (NaN) and no order; it is only an inbox."""

    __slots__ = ("_sweep_begun", "_unswept", "duration", "entries", "kept", "limit", "old", "queue")

    def __init__(self, queue: TimerQueue, duration: float) -> None:
        self.queue = queue
        self.duration = duration
        self.entries: deque[AnyEntry] = deque()
        self.old: deque[AnyEntry] = deque()
        self.kept: deque[AnyEntry] = deque()
        self.limit: float = SWEEP_MINIMUM
        self._sweep_begun = False
        self._unswept = 0

    def add(self, entry: AnyEntry) -> None:
        """Append an entry that is current already (rule 2)."""
        entries = self.entries
        entries.append(entry)
        if entry.due < self.queue.horizon:
            self.queue.hasten(entry.due)
        if len(entries) > self.limit:
            self.ask_driver()

    def ask_driver(self) -> None:
        """Have the driver look at this lane now; ask once, however many are armed until it does."""
        self.limit = ASKED
        self.queue.keep(self)
        self.queue.hasten(-math.inf)

    @property
    def sweeping(self) -> bool:
        """Whether a sweep was asked for and is not at its end."""
        return self.limit == ASKED

    def sweep(self) -> None:
        """Do a stretch of the sweep that was asked for."""
        if not self._sweep_begun:
            self._sweep_begun = True
            self._unswept = len(self.entries)
            self.old, self.kept = self.kept, self.old
        stretch = self._move(self.old, STRETCH)
        self._unswept -= self._move(self.entries, min(STRETCH - stretch, self._unswept))
        if not self.old and (self._unswept == 0 or not self.entries):
            self._sweep_begun = False
            self.limit = max(SWEEP_MINIMUM, len(self.kept))

    def _move(self, source: deque[AnyEntry], most: int) -> int:
        """Take the oldest entries, keep those that live, and return how many were taken."""
        count = min(most, len(source))
        self.kept.extend(filter(survives, [source.popleft() for _ in range(count)]))
        return count

    def trim(self) -> None:
        """Drop cancelled entries from the head, a stretch at most."""
        for _ in range(STRETCH):
            entry = self.head()
            if entry is None or survives(entry):
                return
            self.pop()

    def head(self) -> AnyEntry | None:
        """Return the oldest entry."""
        queue = self.kept or self.old or self.entries
        return queue[0] if queue else None

    def pop(self) -> AnyEntry:
        """Take the oldest entry."""
        return (self.kept or self.old or self.entries).popleft()

    def clear(self) -> None:
        """Drop everything, also what was asked of the driver."""
        for queue in self.queues():
            queue.clear()
        self._sweep_begun = False
        self.limit = min(self.limit, SWEEP_MINIMUM)  # a lane that rests stays marked

    def queues(self) -> tuple[deque[AnyEntry], ...]:
        """Return the three queues, in order."""
        return self.kept, self.old, self.entries

    def __len__(self) -> int:
        return sum(map(len, self.queues()))


def survives(entry: AnyEntry) -> bool:
    """Tell whether a queued entry is still needed; if not, forget it in the order that rule 1 asks for."""
    timer = entry if isinstance(entry, Timer) else entry.timer
    if timer._entry is not entry:
        current = timer._entry
        when = timer.when
        # The loser of a race (rule 2) is needed if the winner comes too late.
        return when is not None and when is not timer._claimed and current is not None and when < current.due
    if timer.when is not None and timer.armed:
        return True
    timer._entry = None
    if timer.when is not None and timer.armed and timer._entry is None:  # armed again between the two looks
        timer._entry = entry
        return True
    return False

"""A queue of timers that any thread may arm and one driver empties.

Theory of operation
-------------------
Time-outs are constants of a policy, so those of one length come due in the order in which they were armed. Each distinct
length therefore has a *lane*, a FIFO deque that is sorted by construction: arming appends, the driver pops from the left.
What has no fixed length (a beat's absolute slot, a time-out that was restarted while it was queued) waits in one heap that
belongs to the driver alone.

A timer has at most one *current* entry ``(due, timer)`` in the queue, and ``when``, the instant at which it wants to fire.
The two may differ: cancelling stores ``when = None`` and leaves the entry where it is; restarting stores a later ``when``
and leaves the entry too. The driver looks at ``when`` only after it has popped the entry, then drops it, fires it, or moves
it to the heap. So cancel and restart are stores that allocate no entry.

Memory rules (any thread against the one driver; no lock, each step below is one atomic operation of the interpreter)
1. Whoever arms stores ``when`` first and looks for a current entry afterwards. The driver forgets the current entry first and
   reads ``when`` afterwards. One of the two always sees the other's store, so an arming is never lost.
2. Whoever appends an entry makes it current first. The driver drops entries that are not current, so that an entry which two
   sides queued at once cannot fire twice.
3. Firing does not erase ``when``; it records which ``when`` was fired (by object identity). An arming that races with the
   firing therefore survives it.
4. The driver sets ``horizon`` to infinity before it looks at the queues and to its next wake-up afterwards. Whoever arms
   compares with ``horizon`` after appending, and calls ``on_earlier`` if the driver would come too late.

A cancelled timer's callback may already be on its way when ``cancel`` returns; callbacks check their own state.

Cancelled entries stay until they come due or until a sweep: whoever finds more entries than twice those that survived the last
sweep (at least 1,024) asks the driver for one. A sweep is paid for by the armings before it, so arming stays O(1).

What a driver does: ``fired = queue.wake(now)``, run each ``timer.callback()`` outside any lock, sleep until
``queue.next_wakeup()`` or until ``on_earlier`` was called, and again.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

Callback: TypeAlias = Callable[[], object]
_Entry: TypeAlias = "tuple[float, Timer]"

SWEEP_MINIMUM = 1024
"""Entries that a queue may hold before it is worth looking for cancelled ones."""


class Timer:
    """One timer, armed and cancelled any number of times. Made by :meth:`TimerQueue.timeout` or :meth:`TimerQueue.alarm`."""

    __slots__ = ("_claimed", "_entry", "_lane", "callback", "when")

    def __init__(self, lane: _Lane, callback: Callback) -> None:
        self._lane = lane
        self._entry: _Entry | None = None
        self._claimed: float | None = None
        self.callback = callback
        self.when: float | None = None
        """The instant at which it was last asked to fire; ``None`` after :meth:`cancel`."""

    @property
    def armed(self) -> bool:
        """Whether it will fire if nothing else happens."""
        when = self.when
        return when is not None and when is not self._claimed

    def cancel(self) -> None:
        """Ask it not to fire. A callback that is already on its way still runs."""
        self.when = None


class Timeout(Timer):
    """A timer of constant length; arming it again restarts it."""

    __slots__ = ()

    def arm(self, now: float) -> None:
        """Fire ``duration`` seconds after ``now``, a reading of the driver's clock."""
        lane = self._lane
        when = now + lane.duration
        self.when = when
        if self._entry is None:
            self._entry = entry = (when, self)
            entries = lane.entries
            entries.append(entry)
            if when < lane.queue.horizon:
                lane.queue.hasten(when)
            if len(entries) > lane.limit:
                lane.ask_for_sweep()


class Alarm(Timer):
    """A timer for instants; arming it again moves it."""

    __slots__ = ()

    def arm(self, when: float) -> None:
        """Fire at ``when`` on the driver's clock, at once if that is past."""
        self.when = when = when + 0.0  # a new object: rule 3 compares identities
        entry = self._entry
        if entry is None or when < entry[0]:
            lane = self._lane
            self._entry = entry = (when, self)
            lane.entries.append(entry)
            if when < lane.queue.horizon:
                lane.queue.hasten(when)
            if len(lane.entries) > lane.limit:
                lane.ask_for_sweep()


class _Lane:
    """Entries of one duration, oldest first. The lane of alarms has no duration and no order; it is only an inbox."""

    __slots__ = ("duration", "entries", "limit", "queue")
    limit: float

    def __init__(self, queue: TimerQueue, duration: float) -> None:
        self.queue = queue
        self.duration = duration
        self.entries: deque[_Entry] = deque()
        self.limit = SWEEP_MINIMUM

    def ask_for_sweep(self) -> None:
        """Have the driver look at this lane now; ask once, however many are armed until it does."""
        self.limit = math.inf
        self.queue.hasten(-math.inf)

    def sweep(self) -> None:
        """Drop cancelled entries. Entries appended meanwhile stay to the right of the survivors, in order."""
        entries = self.entries
        taken = [entries.popleft() for _ in range(len(entries))]
        survivors = [entry for entry in taken if _survives(entry)]
        entries.extendleft(reversed(survivors))
        self.limit = max(SWEEP_MINIMUM, 2 * len(survivors))


class TimerQueue:
    """All timers of one driver.

    Args:
        on_earlier: Called from the arming thread when the driver has to wake up earlier than it planned. It must be quick,
            safe from any thread, and may be called without need.
    """

    def __init__(self, on_earlier: Callback) -> None:
        self.horizon = math.inf
        """The instant at which the driver will look at the queue without being asked."""
        self._on_earlier = on_earlier
        self._lanes: dict[float, _Lane] = {}
        self._inbox = _Lane(self, math.nan)
        self._heap: list[tuple[float, int, _Entry]] = []
        self._heap_limit = SWEEP_MINIMUM
        self._order = itertools.count()

    def timeout(self, duration: float, callback: Callback) -> Timeout:
        """Return an unarmed timer of ``duration`` seconds.

        Raises:
            ValueError: the duration is not positive and finite.
        """
        lane = self._lanes.get(duration)
        if lane is None:
            if not 0 < duration < math.inf:
                raise ValueError(f"duration must be positive and finite; got {duration!r}")
            lane = self._lanes.setdefault(duration, _Lane(self, duration))
        return Timeout(lane, callback)

    def alarm(self, callback: Callback) -> Alarm:
        """Return an unarmed timer for instants."""
        return Alarm(self._inbox, callback)

    def hasten(self, when: float) -> None:
        """Have the driver look at the queue at ``when`` at the latest."""
        self.horizon = min(self.horizon, when)
        self._on_earlier()

    def wake(self, now: float) -> list[Timer]:
        """Return the timers that are due, each once; the driver runs their callbacks. Call :meth:`next_wakeup` after that."""
        self.horizon = math.inf
        fired: list[Timer] = []
        self._empty_inbox()
        for lane in tuple(self._lanes.values()):
            entries = lane.entries
            if lane.limit == math.inf:
                lane.sweep()
            while entries and entries[0][0] <= now:
                self._settle(entries.popleft(), now, fired)
        heap = self._heap
        while heap and heap[0][0] <= now:
            self._settle(heapq.heappop(heap)[2], now, fired)
        if len(heap) > self._heap_limit:
            self._sweep_heap()
        return fired

    def next_wakeup(self) -> float | None:
        """Return the instant of the next :meth:`wake`, or ``None`` if nothing is queued. Only the driver calls this."""
        self.horizon = math.inf
        self._empty_inbox()
        heads = [lane.entries[0][0] for lane in tuple(self._lanes.values()) if lane.entries]
        if self._heap:
            heads.append(self._heap[0][0])
        if not heads:
            return None
        soonest = min(heads)
        self.horizon = soonest
        return soonest

    def armed(self) -> Iterator[Timer]:
        """Yield the timers that are armed: for leak checks and debugging, while no other thread arms or fires."""
        queued = [entry for lane in (self._inbox, *self._lanes.values()) for entry in tuple(lane.entries)]
        queued += [entry for _, _, entry in self._heap]
        return (entry[1] for entry in queued if entry[1].armed and entry[1]._entry is entry)

    def __len__(self) -> int:
        """Entries held, those of cancelled timers included."""
        return len(self._heap) + sum(len(lane.entries) for lane in (self._inbox, *self._lanes.values()))

    def _empty_inbox(self) -> None:
        inbox = self._inbox
        while inbox.entries:
            self._push(inbox.entries.popleft())
        inbox.limit = SWEEP_MINIMUM

    def _push(self, entry: _Entry) -> None:
        heapq.heappush(self._heap, (entry[0], next(self._order), entry))

    def _settle(self, entry: _Entry, now: float, fired: list[Timer]) -> None:
        timer = entry[1]
        if timer._entry is not entry:
            return
        timer._entry = None
        when = timer.when
        if when is None or when is timer._claimed:
            return
        if when > now:
            timer._entry = moved = (when, timer)
            self._push(moved)
            return
        timer._claimed = when
        fired.append(timer)

    def _sweep_heap(self) -> None:
        self._heap = [item for item in self._heap if _survives(item[2])]
        heapq.heapify(self._heap)
        self._heap_limit = max(SWEEP_MINIMUM, 2 * len(self._heap))


def _survives(entry: _Entry) -> bool:
    """Tell whether a queued entry is still needed; if not, forget it in the order that rule 1 asks for."""
    timer = entry[1]
    if timer._entry is not entry:
        return False
    when = timer.when
    if when is not None and when is not timer._claimed:
        return True
    timer._entry = None
    if timer.armed and timer._entry is None:  # armed again between the two looks
        timer._entry = entry
        return True
    return False

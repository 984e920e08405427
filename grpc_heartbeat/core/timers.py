"""A queue of timers that any thread may arm and one driver empties.

Theory of operation
-------------------
Time-outs are constants of a policy, so those of one length come due in the order in which they were armed. Each distinct
length therefore has a *lane*, a FIFO deque that is sorted by construction: arming appends, the driver pops from the left.
What has no fixed length (a beat's absolute slot, a time-out that was restarted while it was queued) waits in one heap that
belongs to the driver alone; ``arm_at`` puts it into the *inbox*, and the driver moves it on.

A timer has at most one *current* entry in the queue, with the instant ``due``, and ``when``, the instant at which it wants to
fire. The two may differ: cancelling stores ``when = None`` and leaves the entry where it is; restarting stores a later ``when``
and leaves the entry too. The driver looks at ``when`` only after it has popped the entry, then drops it, fires it, or moves
it to the heap. So cancel and restart are stores that allocate nothing. A timer's first entry in a lane is the timer itself;
entries after that are objects of their own, because the first may still be queued.

Memory rules (any thread against the one driver; no lock, each step below is one atomic operation of the interpreter)
1. Whoever arms stores ``when`` first and looks for a current entry afterwards. The driver forgets the current entry first and
   reads ``when`` afterwards. One of the two always sees the other's store, so an arming is never lost.
2. Whoever appends an entry makes it current first. Two sides may do so at once and one then wins. An entry that is not
   current is never moved on, but it does fire a timer whose time has come, because the winner may come later.
3. Firing does not erase ``when``; it records which ``when`` was fired (by object identity). An arming that races with the
   firing therefore survives it, and none fires twice.
4. The driver sets ``horizon`` to infinity before it looks at the queues and to its next wake-up afterwards. Whoever arms
   compares with ``horizon`` after appending, and calls ``on_earlier`` if the driver would come too late.
5. The driver lets go of an empty lane by marking it, removing it, and looking at it once more. Whoever appends looks for the
   mark afterwards and gives the lane back.

A cancelled timer may already be on its way when ``cancel`` returns; what fires checks its own state.

Most time-outs are cancelled long before they are due. When the driver is awake it therefore also drops the cancelled entries at
the head of each lane: otherwise it would wake up once for every call, some time after it, to find that there is nothing to do.
What else was cancelled stays until it comes due or until a sweep: whoever finds that as many were armed since the last sweep
as have survived it (at least 1,024) asks the driver for one. So a sweep is paid for by the armings before it, and arming stays
O(1).

What a driver does: ``fired = queue.wake(now)``; for each ``queue.firing(timer, now)`` and ``timer.fire()``, outside any lock;
sleep until ``queue.next_wakeup()`` or until ``on_earlier`` was called; and again.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterator

from grpc_heartbeat.core.lane import RESTING, SWEEP_MINIMUM, AnyEntry, Lane, survives
from grpc_heartbeat.core.sketch import Sketch
from grpc_heartbeat.core.timer import Alarm, Callback, Entry, Timeout, Timer

__all__ = ["Alarm", "Callback", "Lane", "Timeout", "Timer", "TimerQueue"]

MOST_IDLE_LANES = 64
"""Lanes that are kept though they are empty. A policy has few lengths; a program that computes them has any number."""


class TimerQueue:
    """All timers of one driver.

    Args:
        on_earlier: Called from the arming thread when the driver has to wake up earlier than it planned. It must be quick,
            safe from any thread, and may be called without need.
    """

    def __init__(self, on_earlier: Callback) -> None:
        self.horizon = math.inf
        """The instant at which the driver will look at the queue without being asked."""
        self.lateness = Sketch()
        """Seconds by which timers fired too late."""
        self.inbox = Lane(self, math.nan)
        self._on_earlier = on_earlier
        self._lanes: dict[float | Lane, Lane] = {}
        self._heap: list[tuple[float, int, AnyEntry]] = []
        self._heap_limit = SWEEP_MINIMUM
        self._order = itertools.count()

    def lane(self, duration: float) -> Lane:
        """Return the lane of ``duration`` seconds, for ``Timer.start``. Keep it: to look it up costs as much as to arm.

        Raises:
            ValueError: the duration is not positive and finite.
        """
        lane = self._lanes.get(duration)
        if lane is None:
            if not 0 < duration < math.inf:
                raise ValueError(f"duration must be positive and finite; got {duration!r}")
            lane = self._lanes.setdefault(duration, Lane(self, duration))
        return lane

    def timeout(self, duration: float, callback: Callback) -> Timeout:
        """Return an unarmed timer of ``duration`` seconds.

        Raises:
            ValueError: the duration is not positive and finite.
        """
        return Timeout(self.lane(duration), callback)

    def alarm(self, callback: Callback) -> Alarm:
        """Return an unarmed timer for instants."""
        return Alarm(self.inbox, callback)

    def hasten(self, when: float) -> None:
        """Have the driver look at the queue at ``when`` at the latest."""
        self.horizon = min(self.horizon, when)
        self._on_earlier()

    def keep(self, lane: Lane) -> None:
        """Take back a lane that was let go of; one that is here stays."""
        if lane is self.inbox or lane in self._lanes:
            return
        if self._lanes.setdefault(lane.duration, lane) is not lane:
            self._lanes[lane] = lane  # its length has a new lane

    def wake(self, now: float) -> list[Timer]:
        """Return the timers that are due, each once; the driver fires them. Call :meth:`next_wakeup` after that."""
        self.horizon = math.inf
        fired: list[Timer] = []
        self._empty_inbox()
        for lane in tuple(self._lanes.values()):
            if lane.sweeping:
                lane.sweep()
            while (entry := lane.head()) is not None and entry.due <= now:
                self._settle(lane.pop(), now, fired)
            lane.trim()
        heap = self._heap
        while heap and heap[0][0] <= now:
            self._settle(heapq.heappop(heap)[2], now, fired)
        if len(heap) > self._heap_limit:
            self._sweep_heap()
        if len(self._lanes) > MOST_IDLE_LANES:
            self._let_go()
        return fired

    def firing(self, timer: Timer, now: float) -> None:
        """Note that a timer that :meth:`wake` returned is fired at ``now``."""
        claimed = timer._claimed
        if claimed is not None:
            self.lateness.add(now - claimed)

    def next_wakeup(self) -> float | None:
        """Return the instant of the next :meth:`wake`, or ``None`` if nothing is queued. Only the driver calls this.

        Minus infinity asks for a wake at once, for the next stretch of a sweep.
        """
        self.horizon = math.inf
        self._empty_inbox()
        soonest = self._heap[0][0] if self._heap else math.inf
        for lane in tuple(self._lanes.values()):
            entry = lane.head()
            if entry is not None:
                soonest = -math.inf if lane.sweeping else min(soonest, entry.due)
        if soonest == math.inf:
            return None
        self.horizon = soonest
        return soonest

    def armed(self) -> Iterator[Timer]:
        """Yield the timers that are armed: exact while no other thread arms or fires."""
        for entry in self._queued():
            if entry.timer.armed and entry.timer._entry is entry:
                yield entry.timer

    def forget(self) -> None:
        """Disarm everything and forget what the driver planned: for a forked child, where the driver is gone."""
        for entry in self._queued():
            entry.timer.cancel()
            entry.timer._entry = None
        for lane in self._all_lanes():
            lane.clear()
        self._heap = []
        self.horizon = math.inf
        self.lateness = Sketch()

    def __len__(self) -> int:
        """Entries held, those of cancelled timers included."""
        return len(self._heap) + sum(map(len, self._all_lanes()))

    def _all_lanes(self) -> list[Lane]:
        return [self.inbox, *self._lanes.values()]

    def _queued(self) -> list[AnyEntry]:
        queues = [queue for lane in self._all_lanes() for queue in lane.queues()]
        return [entry for queue in queues for entry in _copied(queue)] + [item[2] for item in list(self._heap)]

    def _empty_inbox(self) -> None:
        inbox = self.inbox
        while inbox.entries:
            self._push(inbox.entries.popleft())
        inbox.limit = SWEEP_MINIMUM

    def _push(self, entry: AnyEntry) -> None:
        heapq.heappush(self._heap, (entry.due, next(self._order), entry))

    def _settle(self, entry: AnyEntry, now: float, fired: list[Timer]) -> None:
        timer = entry.timer
        current = timer._entry is entry
        if current:
            timer._entry = None
        when = timer.when
        if when is None or when is timer._claimed:
            return
        if when <= now:
            timer._claimed = when
            fired.append(timer)
        elif current:
            timer._entry = moved = Entry(when, timer)
            self._push(moved)

    def _sweep_heap(self) -> None:
        self._heap = [item for item in self._heap if survives(item[2])]
        heapq.heapify(self._heap)
        self._heap_limit = max(SWEEP_MINIMUM, 2 * len(self._heap))

    def _let_go(self) -> None:
        for key, lane in tuple(self._lanes.items()):
            if lane.head() is None:
                lane.limit = RESTING
                del self._lanes[key]
                if lane.head() is not None:
                    lane.limit = SWEEP_MINIMUM
                    self.keep(lane)


def _copied(queue: deque[AnyEntry]) -> list[AnyEntry]:
    while True:
        try:
            return list(queue)
        except RuntimeError:  # another thread appended
            pass

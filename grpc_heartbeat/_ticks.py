"""What turns the wheels: one for the synchronous stack, by the process's timer thread, and one for each event loop.

All heartbeat streams of a stack share its wheel: no thread, task or timer each. It also finds out when this process did not
run: a tick that comes too late is a pause of ours, and so is a garbage collection while anybody is queued; no peer is blamed
for those (``core/lateness.py``). A collection may come at any place of any thread, where nothing but storing is safe, so it is
noted by the next tick, before any member is woken.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator

from grpc_heartbeat import _faults, _gc_pauses
from grpc_heartbeat._loop_timers import LoopTimers, loop_timers
from grpc_heartbeat._timers import TimerThread, clock, timers
from grpc_heartbeat._weak import listed
from grpc_heartbeat.core.lateness import REMEMBERED, LocalPauses
from grpc_heartbeat.core.wheel import Member, Wheel


class Ticks:
    """A wheel and the timer that turns it.

    Args:
        driver: Whose thread or loop the members are woken on.
        now: Its clock.

    Attributes:
        now: The driver's clock.
        pauses: When this thread or loop did not run as it should.
    """

    def __init__(self, driver: TimerThread | LoopTimers, now: Callable[[], float]) -> None:
        self.pauses = LocalPauses()
        self.now = now
        self._wheel = Wheel()
        self._lock = threading.Lock()
        self._alarm = driver.alarm(self._turn)
        self._turned_out: set[Member] | None = None
        self._watching = False
        self._collections: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)

    def add(self, member: Member, due: float) -> None:
        """Have ``member.tick`` called at ``due`` on the driver's clock or up to its grain later; from any thread.

        What is due already is due now: that it is asked for late is no pause of ours.
        """
        with self._lock:
            if self._wheel.add(member, max(due, self.now())):
                self._arm()
            if not self._watching:
                self._watch()

    def remove(self, member: Member) -> None:
        """Have ``member`` woken no more; a tick that is on its way still comes."""
        with self._lock:
            self._wheel.remove(member)
            if self._turned_out is not None:
                self._turned_out.add(member)
            if not self._wheel.members:
                self._alarm.cancel()
                self._watch()

    @property
    def members(self) -> int:
        """How many are queued."""
        return self._wheel.members

    def queued(self) -> list[Member]:
        """Return them, soonest first, for leak checks."""
        with self._lock:
            return self._wheel.queued()

    def gc_paused(self, seconds: float) -> None:
        """Note a garbage collection that ends now."""
        now = self.now()
        self._collections.append((now - seconds, now))

    def _turn(self) -> None:
        with self._lock:
            now, planned = self.now(), self._wheel.next_wakeup()
            awake = self._wheel.wake(now)
            gone: set[Member] = set()  # those that are removed while they, or others, are ticked
            self._turned_out = gone
            while self._collections:
                self.pauses.add(*self._collections.popleft(), "garbage collection")
            if awake and planned is not None:
                self.pauses.tick(planned, now)
        again = [(member, due) for member in awake if (due := self._tick(member, now)) is not None]
        with self._lock:
            self._turned_out = None
            for member, due in again:
                if member not in gone:
                    self._wheel.add(member, max(due, now))
            self._arm()
            if self._watching != (self._wheel.members > 0):
                self._watch()

    def _arm(self) -> None:
        """Set the alarm. The lock is held, or an earlier arming could be lost."""
        wakeup = self._wheel.next_wakeup()
        if wakeup is not None and self._wheel.members:
            self._alarm.arm(wakeup)

    def _watch(self) -> None:
        """Watch the garbage collector while anybody is queued. The lock is held."""
        self._watching = self._wheel.members > 0
        (_gc_pauses.watch if self._watching else _gc_pauses.unwatch)(self)

    def _tick(self, member: Member, now: float) -> float | None:
        try:
            return member.tick(now)
        except Exception as error:
            _faults.record("ticks.member", error)
            return None


_process: Ticks | None = None
_by_loop: weakref.WeakKeyDictionary[LoopTimers, Ticks] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def ticks() -> Ticks:
    """Return the wheel of the process's timer thread."""
    global _process
    if _process is None:
        with _making:
            if _process is None:
                _process = Ticks(timers(), clock)
    return _process


def loop_ticks(loop: asyncio.AbstractEventLoop | None = None) -> Ticks:
    """Return the wheel of ``loop``, by default the running one.

    Raises:
        RuntimeError: no loop is given and none is running.
    """
    loop = asyncio.get_running_loop() if loop is None else loop
    driver = loop_timers(loop)
    found = _by_loop.get(driver)
    if found is None:
        _forget_closed_loops()
        found = _by_loop[driver] = Ticks(driver, loop.time)
    return found


def _forget_closed_loops() -> None:
    """Drop what the weak table cannot: a wheel refers to its driver, and to its loop."""
    for driver in listed(_by_loop.keys):
        loop = driver.loop()
        if loop is None or loop.is_closed():
            _by_loop.pop(driver, None)


def all_pauses() -> Iterator[tuple[str, LocalPauses]]:
    """Yield the pauses of the timer thread (``"thread"``) and of each event loop (``"loop"``), where a wheel turns."""
    if _process is not None:
        yield "thread", _process.pauses
    for found in listed(_by_loop.values):
        yield "loop", found.pauses


def _after_fork_in_child() -> None:
    """The parent's members are the parent's."""
    global _process, _making
    _process = None
    _making = threading.Lock()
    _by_loop.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

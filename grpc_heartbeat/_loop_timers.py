"""The timers of an event loop: one queue per loop, which holds at most one of the loop's own timer handles.

A timer of the loop costs a heap entry and a handle each; a queue of ours costs one handle for all of them. Use it from the
loop's thread only.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref

from grpc_heartbeat import _faults
from grpc_heartbeat.core.timers import Alarm, Callback, Timeout, Timer, TimerQueue


class LoopTimers:
    """A :class:`TimerQueue` driven by an event loop. Instants are readings of ``loop.time()``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._queue = TimerQueue(self._schedule)
        self._handle: asyncio.TimerHandle | None = None
        self._running = False

    def timeout(self, duration: float, callback: Callback) -> Timeout:
        """Return an unarmed timer of constant length: ``timer.arm(loop.time())`` starts or restarts it."""
        return self._queue.timeout(duration, callback)

    def alarm(self, callback: Callback) -> Alarm:
        """Return an unarmed timer for instants: ``alarm.arm(loop.time() + 1)``."""
        return self._queue.alarm(callback)

    def armed(self) -> list[Timer]:
        """Return the timers that will fire, for leak checks."""
        return list(self._queue.armed())

    def _schedule(self) -> None:
        if self._running:
            return  # _run schedules when it is done
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        loop, wakeup = self._loop(), self._queue.next_wakeup()
        if loop is not None and wakeup is not None:
            # The first to arm lends its context to all who follow, so there is none.
            self._handle = loop.call_at(wakeup, self._run, context=contextvars.Context())

    def _run(self) -> None:
        loop = self._loop()
        if loop is None:
            return
        self._handle = None
        self._running = True
        try:
            for timer in self._queue.wake(loop.time()):
                _fire(timer)
        finally:
            self._running = False
        self._schedule()


def _fire(timer: Timer) -> None:
    try:
        timer.callback()
    except Exception as error:
        _faults.record("loop_timers.callback", error)


_by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopTimers] = weakref.WeakKeyDictionary()


def loop_timers(loop: asyncio.AbstractEventLoop | None = None) -> LoopTimers:
    """Return the timers of ``loop``, by default the running one.

    Raises:
        RuntimeError: no loop is given and none is running.
    """
    loop = asyncio.get_running_loop() if loop is None else loop
    timers = _by_loop.get(loop)
    if timers is None:
        _forget_closed_loops()
        timers = _by_loop[loop] = LoopTimers(loop)
    return timers


def _forget_closed_loops() -> None:
    """Drop what the weak table cannot: a handle that was pending when its loop was closed refers to the loop."""
    for loop in [loop for loop in _by_loop if loop.is_closed()]:
        del _by_loop[loop]

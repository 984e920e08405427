"""The timers of an event loop: one queue per loop, which holds at most one of the loop's own timer handles.

A timer of the loop costs a heap entry and a handle each; a queue of ours costs one handle for all of them. Timers fire on the
loop's thread. They may be armed, moved and cancelled from any thread; from another one a sooner firing costs a wake-up of the
loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import weakref

from grpc_heartbeat import _faults
from grpc_heartbeat._weak import listed
from grpc_heartbeat.core.timers import Timer, TimerQueue


class LoopTimers:
    """A :class:`TimerQueue` driven by an event loop. Instants are readings of ``loop.time()``.

    ``lane``, ``timeout`` and ``alarm`` are those of the queue, as on ``TimerThread``.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = weakref.ref(loop)
        self.queue = TimerQueue(self._hurry)
        self.lane = self.queue.lane
        self.timeout = self.queue.timeout
        self.alarm = self.queue.alarm
        self.thread: int | None = None
        """The identifier of the thread that the loop was last seen to run on."""
        self._handle: asyncio.TimerHandle | None = None
        self._running = False

    def armed(self) -> list[Timer]:
        """Return the timers that will fire, for leak checks."""
        return list(self.queue.armed())

    def _hurry(self) -> None:
        if self._running:
            return  # _run schedules when it is done
        loop = self.loop()
        if loop is None or loop is _running_loop() or not loop.is_running():
            self._schedule()
        else:
            loop.call_soon_threadsafe(self._schedule, context=contextvars.Context())

    def _schedule(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        loop, wakeup = self.loop(), self.queue.next_wakeup()
        if loop is not None and wakeup is not None:
            # The first to arm lends its context to all who follow, so there is none.
            self._handle = loop.call_at(wakeup, self._run, context=contextvars.Context())

    def _run(self) -> None:
        loop = self.loop()
        if loop is None:
            return
        self._handle = None
        self.thread = threading.get_ident()
        self._running = True
        try:
            for timer in self.queue.wake(loop.time()):
                self._fire(timer, loop)
        finally:
            self._running = False
        self._schedule()

    def _fire(self, timer: Timer, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self.queue.firing(timer, loop.time())
            timer.fire()
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


def all_loop_timers() -> list[LoopTimers]:
    """Return the timers of every loop of this process that has any."""
    return listed(_by_loop.values)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _forget_closed_loops() -> None:
    """Drop what the weak table cannot: a handle that was pending when its loop was closed refers to the loop."""
    for loop in listed(_by_loop.keys):
        if loop.is_closed():
            _by_loop.pop(loop, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_by_loop.clear)  # a child's loops are its own

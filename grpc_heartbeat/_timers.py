"""The timer thread of this process: one daemon thread fires every time-out and beat of the synchronous stack.

The thread starts with the first timer and sleeps until the earliest one; an earlier arming wakes it by releasing a lock that
it waits for, which is the cheapest sticky signal there is. A forked child starts with a driver of its own and none of the
parent's timers. Callbacks run one after the other and must not block; what they raise is recorded and not passed on.
"""

from __future__ import annotations

import os
import threading
import time

from grpc_heartbeat import _faults
from grpc_heartbeat.core.timers import Timer, TimerQueue

THREAD_NAME = "grpc-heartbeat-timers"
_LONGEST_NAP = 60.0  # bounds what a clock that jumps, or a fault of ours, can cost

clock = time.monotonic
"""The clock that instants of :meth:`TimerThread.alarm` and ``now`` of a time-out's ``arm`` are read from."""


class TimerThread:
    """A :class:`TimerQueue` with its thread.

    ``timeout(duration, callback)`` returns an unarmed timer of constant length: ``timer.arm(clock())`` starts or restarts it.
    ``alarm(callback)`` returns an unarmed timer for instants: ``alarm.arm(clock() + 1)``.
    """

    def __init__(self) -> None:
        self._queue = TimerQueue(self._wake_up)
        self.timeout = self._queue.timeout  # bound here, not wrapped: this is on the way of calls
        self.alarm = self._queue.alarm
        self._signal = threading.Lock()
        self._signal.acquire()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def armed(self) -> list[Timer]:
        """Return the timers that will fire, for leak checks: exact once no other thread arms or fires any."""
        return list(self._queue.armed())

    def _wake_up(self) -> None:
        if self._thread is None:
            self._start()
        try:
            self._signal.release()
        except RuntimeError:  # already signalled
            pass

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            for timer in self._queue.wake(clock()):
                _fire(timer)
            wakeup = self._queue.next_wakeup()
            nap = _LONGEST_NAP if wakeup is None else min(_LONGEST_NAP, wakeup - clock())
            if nap > 0:
                self._signal.acquire(timeout=nap)


def _fire(timer: Timer) -> None:
    try:
        timer.callback()
    except Exception as error:
        _faults.record("timers.callback", error)


_driver = TimerThread()


def timers() -> TimerThread:
    """Return this process's timer thread."""
    return _driver


def armed() -> list[Timer]:
    """Return the timers of this process that will fire, for leak checks."""
    return _driver.armed()


def _start_afresh() -> None:
    global _driver
    _driver = TimerThread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)

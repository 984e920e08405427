"""The timer thread of this process: one daemon thread fires every time-out and beat of the synchronous stack.

The thread starts with the first timer and sleeps until the earliest one; an earlier arming wakes it by releasing a lock that
it waits for, which is the cheapest sticky signal there is. Timers may be armed, moved and cancelled from any thread. They fire
one after the other and must not block; what they raise is recorded and not passed on.

A forked child has this object too, with the same lanes, but no thread: there all of the parent's timers are disarmed and the
first new one starts a thread. A fork waits until the queue is not being changed by the thread.
"""

from __future__ import annotations

import math
import os
import threading
import time

from grpc_heartbeat import _faults
from grpc_heartbeat.core.timers import Timer, TimerQueue

THREAD_NAME = "grpc-heartbeat-timers"
_LONGEST_NAP = 60.0  # bounds what a clock that jumps, or a fault of ours, can cost

clock = time.monotonic
"""The clock that all instants here are read from."""


class TimerThread:
    """A :class:`TimerQueue` with its thread.

    ``lane(duration)`` returns what ``Timer.start`` wants: the cheapest way to arm one timer per call (``core/timer.py``).
    ``timeout(duration, callback)`` returns an unarmed timer of constant length: ``timer.arm(clock())`` starts or restarts it.
    ``alarm(callback)`` returns an unarmed timer for instants: ``alarm.arm(clock() + 1)``.
    """

    def __init__(self) -> None:
        self.queue = TimerQueue(self._wake_up)
        self.lane = self.queue.lane  # bound here, not wrapped: these are on the way of calls
        self.timeout = self.queue.timeout
        self.alarm = self.queue.alarm
        self._begin()

    def _begin(self) -> None:
        self._signal = threading.Lock()
        self._signal.acquire()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._at_rest = threading.Lock()  # held while the thread has entries in hand; not while timers fire

    def armed(self) -> list[Timer]:
        """Return the timers that will fire, for leak checks: exact once no other thread arms or fires any."""
        return list(self.queue.armed())

    def before_fork(self) -> None:
        """Wait until the thread has no entry in hand, and keep it from taking one."""
        self._at_rest.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._at_rest.release()

    def after_fork_in_child(self) -> None:
        """Disarm what the parent armed; the thread and whoever held the locks are gone."""
        self.queue.forget()
        self._begin()

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
                thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the system has none left: whoever arms next tries again
                    _faults.record("timers.start", error)
                    self.queue.horizon = math.inf
                else:
                    self._thread = thread

    def _run(self) -> None:
        while True:
            with self._at_rest:
                fired = self.queue.wake(clock())
            for timer in fired:
                self._fire(timer)
            with self._at_rest:
                wakeup = self.queue.next_wakeup()
            nap = _LONGEST_NAP if wakeup is None else min(_LONGEST_NAP, wakeup - clock())
            if nap > 0:
                self._signal.acquire(timeout=nap)

    def _fire(self, timer: Timer) -> None:
        try:
            self.queue.firing(timer, clock())
            timer.fire()
        except Exception as error:
            _faults.record("timers.callback", error)


_driver = TimerThread()


def timers() -> TimerThread:
    """Return this process's timer thread. It is the same object for ever, in forked children too."""
    return _driver


def armed() -> list[Timer]:
    """Return the timers of this process that will fire, for leak checks."""
    return _driver.armed()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_driver.before_fork,
        after_in_parent=_driver.after_fork_in_parent,
        after_in_child=_driver.after_fork_in_child,
    )

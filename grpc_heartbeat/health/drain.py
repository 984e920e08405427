"""The way out of service: everything ``NOT_SERVING``, a while for the world to notice, then the end of the long streams."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from grpc_heartbeat._timers import clock, timers


class Drain:
    """A drain under way, as ``HealthBoard.drain`` returns it. Wait for it with :meth:`wait`, or ``await`` it."""

    def __init__(self, leave: Callable[[], object]) -> None:
        self._leave = leave
        self._lock = threading.RLock()  # drain() may be called by a signal handler
        self._left = False
        self._at: float | None = None
        self._future: Future[None] = Future()
        self._alarm = timers().alarm(self.leave)

    @property
    def done(self) -> bool:
        """Whether the probe period is over and the streams were told to end."""
        return self._future.done()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the probe period is over, ``timeout`` seconds at most; returns whether it is.

        On an event loop ``await`` the drain instead: this would stop the loop, and with it every answer.
        """
        try:
            self._future.result(timeout)
        except FutureTimeoutError:
            return False
        return True

    def __await__(self) -> Generator[Any, None, None]:
        # Shielded: whoever stops waiting does not stop the drain.
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()

    def leave_within(self, seconds: float) -> None:
        """Leave in ``seconds``, unless that is later than what was planned before."""
        if seconds <= 0:
            self.leave()
            return
        at = clock() + seconds
        with self._lock:
            if self._left or (self._at is not None and self._at <= at):
                return
            self._at = at
            self._alarm.arm(at)

    def leave(self) -> None:
        """End the probe period now."""
        with self._lock:
            if self._left:
                return
            self._left = True
            self._alarm.cancel()
        try:
            self._leave()
        finally:
            self._future.set_result(None)

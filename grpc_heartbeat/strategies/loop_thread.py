"""An event loop in a thread, for as long as anybody uses it: one for all synchronous probers of the process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

_JOIN_LIMIT = 5.0

_shared: LoopThread | None = None
_sharing = threading.Lock()


class LoopThread:
    """A loop and its thread; made by :func:`acquire`."""

    def __init__(self) -> None:
        self.users = 0
        """Guarded by the lock of the module."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._running = threading.Event()
        # A daemon, as the timer thread: who forgets to close a prober can still exit.
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name="grpc-heartbeat-probers", daemon=True
        )
        self._thread.start()
        self._running.wait()

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._running.set()
        await self._over.wait()

    def call(self, function: Callable[[], None]) -> None:
        """Have ``function`` called on the loop."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(function)

    def leave(self, last: Coroutine[Any, Any, None], limit: float) -> None:
        """Run ``last`` on the loop, then use it no more; waits up to ``limit`` seconds, unless this is its own thread."""
        assert self._loop is not None
        done = asyncio.run_coroutine_threadsafe(last, self._loop)
        if threading.current_thread() is self._thread:
            done.add_done_callback(lambda _: self._released())
            return
        concurrent.futures.wait((done,), limit)
        if self._released():
            self._thread.join(_JOIN_LIMIT)

    def _released(self) -> bool:
        """Note that there is a user less; end with the last one, and tell whether it was that."""
        global _shared
        with _sharing:
            self.users -= 1
            if self.users:
                return False
            if _shared is self:
                _shared = None
        assert self._loop is not None
        assert self._over is not None
        self._loop.call_soon_threadsafe(self._over.set)
        return True


def acquire() -> LoopThread:
    """Return the thread that the process's probers share, which is started if there is none; to be left by ``leave``."""
    global _shared
    with _sharing:
        if _shared is None:
            _shared = LoopThread()
        _shared.users += 1
        return _shared


def _after_fork_in_child() -> None:
    """The thread is the parent's."""
    global _shared, _sharing
    _shared, _sharing = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

"""Probers for threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Observers
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from grpc_heartbeat.strategies import aio, loop_thread
from grpc_heartbeat.strategies.strategy import Factory

_CLOSE_LIMIT = 5.0


class Prober:
    """As ``grpc_heartbeat.strategies.aio.Prober``, for programs without an event loop. Use it as a context manager.

    All of them share a loop in a thread of its own, which runs as long as any is started and not closed. Observers are called
    on it: they must be quick, and may call :meth:`close`.
    """

    def __init__(
        self,
        strategy: str | Factory,
        target: str,
        policy: HeartbeatPolicy | None = None,
        *,
        identity: Identity | None = None,
        upstream: Identity | None = None,
        options: Mapping[str, Any] | None = None,
        tracer_provider: Any = None,
    ) -> None:
        self._prober = aio.Prober(
            strategy,
            target,
            policy,
            identity=identity,
            upstream=upstream,
            options=options,
            tracer_provider=tracer_provider,
        )
        self.strategy = self._prober.strategy
        self.target = target
        self.observers: Observers = self._prober.observers
        self._thread: loop_thread.LoopThread | None = None
        self._process = os.getpid()
        self._closed = False

    def start(self) -> None:
        """Begin. Calling it again, or after :meth:`close`, does nothing."""
        if self._thread is None and not self._closed:
            self._thread = loop_thread.acquire()
            self._thread.call(self._prober.start)

    def close(self) -> None:
        """Give up the connection. Takes a few seconds at the most; idempotent. An observer that calls it does not wait."""
        thread, self._thread, self._closed = self._thread, None, True
        if thread is not None and self._process == os.getpid():  # in a forked child there is no thread
            thread.leave(self._prober.close(), _CLOSE_LIMIT)

    def snapshot(self) -> HeartbeatSnapshot:
        """Return what is known about the peer now."""
        return self._prober.snapshot()

    def __enter__(self) -> Prober:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

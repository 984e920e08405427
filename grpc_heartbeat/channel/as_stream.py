"""A unary call made as a response stream, so that public API alone tells when the server has accepted it.

On the wire both are the same. grpcio reads a unary call's initial metadata with its response, a stream's when it comes. A
thread reads the response, because the application may never ask for it and callbacks are to be called all the same. This is the
way where grpcio's private names cannot be used (``_grpcio``) and only for methods with a header limit.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

import grpc

from grpc_heartbeat.channel.delegate import DelegatingCall

_log = logging.getLogger(__name__)


class OneResponse(DelegatingCall):
    """The future of ``stream``, a response stream of which one response is expected."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._response: Any = None
        self._read = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] | None = []
        threading.Thread(target=self._read_all, name="grpc-heartbeat-response", daemon=True).start()

    def _read_all(self) -> None:
        try:
            for response in self._inner:
                self._response = response
        except grpc.RpcError:
            pass  # ``result`` raises it
        finally:
            with self._lock:
                callbacks, self._callbacks = self._callbacks or [], None
            self._read.set()
        for callback in callbacks:
            try:
                callback()
            except Exception:
                _log.exception("a callback of a call failed")

    def result(self, timeout: float | None = None) -> Any:
        self._wait(timeout)
        super().result()
        return self._response

    def exception(self, timeout: float | None = None) -> Any:
        self._wait(timeout)
        return super().exception()

    def _wait(self, timeout: float | None) -> None:
        # A call that was cancelled here is over before its reader has seen it.
        if not self._inner.cancelled() and not self._read.wait(timeout):
            raise grpc.FutureTimeoutError()

    def done(self) -> bool:
        return self._read.is_set() or self.cancelled()

    def running(self) -> bool:
        return not self.done()

    def is_active(self) -> bool:
        return not self.done()

    def code(self) -> grpc.StatusCode:
        self._wait(None)
        return super().code()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        with self._lock:
            if self._callbacks is None:
                return False
            self._callbacks.append(callback)
            return True

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        if self.done() or not self.add_callback(functools.partial(fn, self)):
            fn(self)

"""One heartbeat stream on a synchronous channel, by grpc's public API.

A thread of ours opens it and reads; gRPC adds one that feeds it from an :class:`Outbox`. Both end with the stream.
"""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat.heartbeat.outbox import Outbox
from grpc_heartbeat.heartbeat.streams import Listener


class PublicStream:
    """A ``Stream``.

    Args:
        open_stream: The multicallable of the Keepalive method.
        listener: Whom to report to.
        name: Of the thread.
    """

    def __init__(self, open_stream: Any, listener: Listener, name: str) -> None:
        self._open_stream = open_stream
        self._listener = listener
        self._outbox = Outbox(lambda number: listener.written(self, number))
        # In an empty context: no deadline, cancel scope or span of whoever happens to start this.
        run = contextvars.Context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name=name, daemon=True)
        self._call: Any = None
        self._cancelled = False

    def start(self) -> None:
        self._thread.start()

    def send(self, data: bytes, number: int = 0) -> None:
        self._outbox.put(data, number)

    def finish(self) -> None:
        self._outbox.close()

    def cancel(self) -> None:
        self._cancelled = True
        call = self._call
        if call is not None:
            call.cancel()

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:
            _faults.record("heartbeat.stream", error)
            self._listener.cut_off(self, f"internal fault: {error!r}")
        finally:
            self._outbox.close()

    def _read(self) -> None:
        try:
            self._call = self._open_stream(self._outbox, timeout=None, wait_for_ready=False)
        except ValueError as error:
            self._listener.channel_closed(self, error)
            return
        if self._cancelled:
            self._call.cancel()
        try:
            for data in self._call:
                self._listener.received(self, data)
            code, details = self._call.code(), self._call.details()
        except grpc.RpcError as error:
            code, details = _status(error)
        self._listener.ended(self, code, details)


def _status(error: grpc.RpcError) -> tuple[grpc.StatusCode | None, str | None]:
    if isinstance(error, grpc.Call):
        return error.code(), error.details()
    return None, str(error)

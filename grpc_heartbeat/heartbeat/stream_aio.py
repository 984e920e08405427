"""One heartbeat stream on an asyncio channel, by grpc's public API.

A task of ours opens it and reads; gRPC adds one that feeds it from an :class:`AioOutbox`. Both end with the stream.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat import _faults
from grpc_heartbeat.heartbeat.outbox_aio import AioOutbox
from grpc_heartbeat.heartbeat.streams import Listener

_TASKS_COUNT_CANCELS = hasattr(asyncio.Task, "cancelling")


class PublicStream:
    """A ``Stream``; lives on the loop that made it.

    Args:
        open_stream: The multicallable of the Keepalive method.
        listener: Whom to report to.
    """

    def __init__(self, open_stream: Any, listener: Listener) -> None:
        self._open_stream = open_stream
        self._listener = listener
        self._outbox = AioOutbox(lambda number: listener.written(self, number))
        self._call: Any = None
        self._cancelled = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        # In an empty context: no deadline, cancel scope or span of whoever happens to start this.
        self._task = contextvars.Context().run(asyncio.get_running_loop().create_task, self._run())

    def send(self, data: bytes, number: int = 0) -> None:
        self._outbox.put(data, number)

    def finish(self) -> None:
        self._outbox.close()

    def cancel(self) -> None:
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    async def _run(self) -> None:
        listener = self._listener
        try:
            self._call = self._open_stream(aiter(self._outbox), timeout=None, wait_for_ready=False)
        except Exception as error:  # UsageError has no public name; nothing else is raised here
            listener.channel_closed(self, error)
            return
        try:
            await self._read()
        except _CallCancelledError:
            listener.cut_off(self, "the call was cancelled")
        except grpc.aio.AioRpcError as error:
            listener.ended(self, error.code(), error.details())
        except asyncio.CancelledError:
            listener.cut_off(self, "the stream was left")
            raise
        except Exception as error:
            _faults.record("heartbeat.stream_aio", error)
            listener.cut_off(self, f"internal fault: {error!r}")
        else:
            listener.ended(self, grpc.StatusCode.OK, None)
        finally:
            self._call.cancel()
            self._outbox.close()  # what feeds a call that has ended is not cancelled by grpc.aio

    async def _read(self) -> None:
        if self._cancelled:
            self._call.cancel()
        while (data := await _read(self._call)) is not grpc.aio.EOF:
            self._listener.received(self, data)


class _CallCancelledError(Exception):
    """The call was cancelled, by us or by the closing of its channel."""


async def _read(call: Any) -> Any:
    """Read a message. A cancelled call and a cancelled task both raise ``CancelledError`` in grpc.aio; tell them apart.

    Python 3.11 counts the requests to cancel a task. Before that the reading gets a task of its own, which is dearer.
    """
    if _TASKS_COUNT_CANCELS:
        try:
            return await call.read()
        except asyncio.CancelledError:
            task: Any = asyncio.current_task()
            if not call.done() or task.cancelling():
                raise
            raise _CallCancelledError from None
    reading = asyncio.ensure_future(call.read())
    try:
        await asyncio.wait((reading,))
    except asyncio.CancelledError:
        reading.cancel()
        raise
    if reading.cancelled():
        raise _CallCancelledError
    return reading.result()

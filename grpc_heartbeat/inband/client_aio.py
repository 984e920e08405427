"""In-band keepalive on the asyncio stack's channels: around the calls that this library has limited.

grpc.aio lets an application either give an iterator of requests or write them. Where it gives an iterator, a task here writes
what that gives, as grpc.aio's own does, because beats can only be written beside a writer that waits for them.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat import _faults
from grpc_heartbeat._types import (
    AioStreamStreamBase,
    AioStreamStreamCall,
    AioStreamUnaryBase,
    AioStreamUnaryCall,
    AioUnaryStreamBase,
    AioUnaryStreamCall,
)
from grpc_heartbeat.channel.loops_aio import running_loop
from grpc_heartbeat.core.inband import token_in
from grpc_heartbeat.inband.end import BEAT, End, InbandStatus, offer
from grpc_heartbeat.inband.loop_end import LoopEnd
from grpc_heartbeat.inband.messages import Inbound, Outbound, codecs

_log = logging.getLogger("grpc_heartbeat.inband")

_MIXED = "a call that was given an iterator of requests cannot be written to"


class ListeningEnd(End):
    """The client's end of a stream on which it has nothing to send."""

    sends = False

    def agree(self, metadata: Any) -> None:
        """Take in the answer of the server."""
        self.token = token_in(metadata)
        self.refused = self.token is None


class ClientEnd(LoopEnd):
    """The client's end of a stream on which it sends."""

    def __init__(self, interval: float, echoes: bool, call: Callable[[], Any]) -> None:
        super().__init__(interval, echoes)
        self._call = call

    def agree(self, metadata: Any) -> None:
        """Take in the answer of the server."""
        self.token = token_in(metadata)
        self.refused = self.token is None
        self._wake()

    def due(self, now: float) -> bytes | None:
        if self.token is None and not self.refused:
            call = self._call()
            metadata = None if call is None else _metadata_of(call)
            if metadata is not None:
                self.token = token_in(metadata)
                self.refused = self.token is None
        return super().due(now)

    async def write(self, data: bytes) -> None:
        call = self._call()
        if call is not None:
            await call.write(Outbound(data))


def _metadata_of(call: Any) -> Any:
    """Return the initial metadata if they have come, else ``None``. (``flight_aio.headers_came`` says how.)"""
    asking = call.initial_metadata()
    try:
        asking.send(None)
    except StopIteration as done:
        return done.value or ()
    except Exception:  # the call is over: nobody has agreed to anything
        return ()
    asking.close()
    return None


class _Call:
    """What the three kinds share: everything is asked of the call underneath.

    Attributes:
        inband: What is known of the other end.
    """

    def __init__(self, call: Any, end: Any) -> None:
        self._call = call
        self._end = end

    @property
    def inband(self) -> InbandStatus:
        status: InbandStatus = self._end.status()
        return status

    def cancelled(self) -> bool:
        return bool(self._call.cancelled())

    def done(self) -> bool:
        return bool(self._call.done())

    def cancel(self) -> bool:
        return bool(self._call.cancel())

    def time_remaining(self) -> float | None:
        seconds: float | None = self._call.time_remaining()
        return seconds

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        this, call = weakref.ref(self), self._call
        call.add_done_callback(lambda inner: callback(this() or inner))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        metadata: grpc.aio.Metadata = await self._call.initial_metadata()
        return metadata

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        metadata: grpc.aio.Metadata = await self._call.trailing_metadata()
        return metadata

    async def code(self) -> grpc.StatusCode:
        code: grpc.StatusCode = await self._call.code()
        return code

    async def details(self) -> str:
        details: str = await self._call.details()
        return details

    async def debug_error_string(self) -> str:
        text: str = await self._call.debug_error_string()
        return text

    async def wait_for_connection(self) -> None:
        await self._call.wait_for_connection()

    def __repr__(self) -> str:
        return repr(self._call)

    def __str__(self) -> str:
        return str(self._call)

    def __getattr__(self, name: str) -> Any:
        if name in {"_call", "_end"}:  # not there before __init__
            raise AttributeError(name)
        return getattr(self._call, name)


class _Responses(_Call):
    _next: Callable[[], Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        self._next = self._call.__aiter__().__anext__
        return self

    def __anext__(self) -> Any:
        if self._next is None:
            self.__aiter__()
        return self._receive(self._next)

    async def read(self) -> Any:
        return await self._receive(self._call.read)

    async def aclose(self) -> None:
        """Cancel the call: nobody reads on."""
        self.cancel()

    async def _receive(self, step: Any) -> Any:
        end = self._end
        while True:
            message = await step()
            if type(message) is not Inbound:
                if message is not grpc.aio.EOF:
                    end.heard()
                return message
            if end.token is None:
                end.agree(await self._call.initial_metadata())
            message = end.take(message)
            if message is not BEAT:
                return message


class _Requests(_Call):
    _iterates = False

    async def write(self, request: Any) -> None:
        if self._iterates:
            raise grpc.aio.UsageError(_MIXED)
        await write(self._call, self._end, request)

    async def done_writing(self) -> None:
        if self._iterates:
            raise grpc.aio.UsageError(_MIXED)
        await done_writing(self._call, self._end)


class InbandUnaryStreamCall(_Responses, AioUnaryStreamCall):
    """A unary-stream call."""


class InbandStreamUnaryCall(_Requests, AioStreamUnaryCall):
    """A stream-unary call."""

    def __await__(self) -> Generator[Any, None, Any]:
        response: Generator[Any, None, Any] = self._call.__await__()
        return response


class InbandStreamStreamCall(_Responses, _Requests, AioStreamStreamCall):
    """A stream-stream call."""


async def write(call: Any, end: LoopEnd, request: Any) -> None:
    """Write ``request`` when no beat is under way."""
    if end.task is not None:
        try:
            await end.settle()
        except asyncio.CancelledError:
            call.cancel()  # as grpc.aio does when a task is cancelled that writes
            raise
    end.sending = True
    try:
        await call.write(request)
    finally:
        end.sending = False
    end.sent()


async def done_writing(call: Any, end: LoopEnd) -> None:
    """End the stream of requests when no beat is under way."""
    end.stop()
    await end.settle()
    await call.done_writing()


async def _write_all(requests: Any, call: Callable[[], Any], end: LoopEnd) -> None:
    """Write what the application's iterator gives, as grpc.aio does: an exception of its cancels the call."""
    try:
        try:
            if isinstance(requests, AsyncIterable):
                async for request in requests:
                    await write(_there(call), end, request)
            else:
                for request in requests:
                    await write(_there(call), end, request)
            await done_writing(_there(call), end)
        except grpc.aio.AioRpcError as error:
            _log.debug("the call ended while its requests were written: %s", error)
    except _Gone:
        pass
    except BaseException as error:
        _log.debug("the iterator of requests raised %r; its call is cancelled", error)
        found = call()
        if found is not None:
            found.cancel()


class _Gone(Exception):  # noqa: N818 - never leaves this module
    """The application has dropped the call."""


def _there(call: Callable[[], Any]) -> Any:
    found = call()
    if found is None:
        raise _Gone
    return found


def listen(call: Any, interval: float) -> Any:
    """Return ``call``, a unary-stream one, without the server's beats. Never raises."""
    try:
        return InbandUnaryStreamCall(call, ListeningEnd(interval, echoes=False))
    except Exception as error:
        _faults.record("inband.call_aio", error)
        return call


def speak(call: Any, requests: Any, interval: float, *, responses: bool) -> Any:
    """Return ``call``, which was made without requests, with beats; write ``requests``, unless there are none."""
    if call.done():  # it was ended before it was sent
        return call
    # A call for responses that is dropped is cancelled by its own finalizer, so nothing here may hold it.
    ref: Callable[[], Any] = weakref.ref(call) if responses else lambda: call
    end = ClientEnd(interval, responses, ref)
    held = (InbandStreamStreamCall if responses else InbandStreamUnaryCall)(call, end)
    writer = None
    if requests is not None:
        held._iterates = True
        writer = asyncio.get_running_loop().create_task(_write_all(requests, ref, end))
    call.add_done_callback(lambda done: _over(done, end, writer))
    end.start(interval)
    return held


def _over(call: Any, end: LoopEnd, writer: asyncio.Task[None] | None) -> None:
    end.stop()
    if writer is not None and call.cancelled():
        writer.cancel()


class _Method:
    """A method of one kind, around the limited one.

    Args:
        inner: What makes the limited calls.
        interval: Its interval.
    """

    def __init__(self, inner: Any, interval: float) -> None:
        self._inner = inner
        self._interval = interval


class UnaryStream(_Method, AioUnaryStreamBase):
    """A unary-stream method: beats come, and none go."""

    def __call__(self, request: Any, *, metadata: Any = None, **how: Any) -> Any:
        return listen(self._inner(request, metadata=grpc.aio.Metadata(*offer(metadata)), **how), self._interval)


class _StreamingRequests(_Method):
    _responses = True

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        rest = (credentials, wait_for_ready, compression)
        if running_loop() is None:  # there is nothing to beat with
            return self._inner(request_iterator, timeout, metadata, *rest)
        call = self._inner(None, timeout, grpc.aio.Metadata(*offer(metadata)), *rest)
        return speak(call, request_iterator, self._interval, responses=self._responses)


class StreamStream(_StreamingRequests, AioStreamStreamBase):
    """A stream-stream method: beats go both ways."""


class StreamUnary(_StreamingRequests, AioStreamUnaryBase):
    """A stream-unary method: beats go, and none come."""

    _responses = False


class KeepAlive:
    """What a channel makes for one method.

    Args:
        interval: The method's interval.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval

    codecs = staticmethod(codecs)

    def unary_stream(self, limited: Any) -> UnaryStream:
        return UnaryStream(limited, self._interval)

    def stream_unary(self, limited: Any) -> StreamUnary:
        return StreamUnary(limited, self._interval)

    def stream_stream(self, limited: Any) -> StreamStream:
        return StreamStream(limited, self._interval)

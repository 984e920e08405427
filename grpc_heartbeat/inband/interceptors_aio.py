"""In-band keepalive on an asyncio channel behind the application's interceptors, which are not to see beats either."""

from __future__ import annotations

from typing import Any

import grpc.aio

from grpc_heartbeat.config import Timeouts
from grpc_heartbeat.inband.client_aio import listen, speak
from grpc_heartbeat.inband.end import offer
from grpc_heartbeat.inband.policy import InbandPolicy
from grpc_heartbeat.interceptors.client_aio import (
    AioDeadlineClientInterceptor,
    StreamStreamDeadline,
    StreamUnaryDeadline,
    UnaryStreamDeadline,
    UnaryUnaryDeadline,
)
from grpc_heartbeat.policy import TimeoutPolicy


class _Inband(AioDeadlineClientInterceptor):
    def __init__(self, timeouts: Timeouts | TimeoutPolicy | None, inband: InbandPolicy) -> None:
        super().__init__(timeouts)
        self._inband = inband

    def _watch(self, flight: Any, request: Any) -> Any:
        if request is None:  # requests are written, and the call is told of each
            return AioDeadlineClientInterceptor._watch(self, flight, request)
        return super()._watch(flight, request)

    def _interval(self, details: Any) -> float | None:
        method = details.method
        return self._inband.interval_of(method.decode() if isinstance(method, bytes) else method)


class UnaryStreamInband(_Inband, UnaryStreamDeadline):
    """For unary-stream calls."""

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        interval = self._interval(client_call_details)
        if interval is None:
            return await self._start(continuation, client_call_details, request)
        return listen(await self._start(continuation, _offering(client_call_details), request), interval)


class StreamUnaryInband(_Inband, StreamUnaryDeadline):
    """For stream-unary calls."""

    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        interval = self._interval(client_call_details)
        if interval is None:
            return await self._start(continuation, client_call_details, request_iterator)
        call = await self._start(continuation, _offering(client_call_details), None)
        return speak(call, request_iterator, interval, responses=False)


class StreamStreamInband(_Inband, StreamStreamDeadline):
    """For stream-stream calls."""

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        interval = self._interval(client_call_details)
        if interval is None:
            return await self._start(continuation, client_call_details, request_iterator)
        call = await self._start(continuation, _offering(client_call_details), None)
        return speak(call, request_iterator, interval, responses=True)


def _offering(details: Any) -> Any:
    return details._replace(metadata=grpc.aio.Metadata(*offer(details.metadata)))


def kept_alive(timeouts: TimeoutPolicy, inband: InbandPolicy) -> list[AioDeadlineClientInterceptor]:
    """Return the interceptors for the four kinds."""
    streams = [kind(timeouts, inband) for kind in (UnaryStreamInband, StreamUnaryInband, StreamStreamInband)]
    return [UnaryUnaryDeadline(timeouts), *streams]

"""Call objects of asyncio calls that ended before anything was sent: every way of using one raises the same error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat._types import AioStreamStreamCall, AioStreamUnaryCall, AioUnaryStreamCall, AioUnaryUnaryCall
from grpc_heartbeat.core.wording import Verdict
from grpc_heartbeat.errors import AioEndedCall


class _Ended:
    """What the four kinds share."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self.timeout = verdict.facts

    def _error(self) -> AioEndedCall:
        return AioEndedCall(self._verdict)

    def cancelled(self) -> bool:
        return self._verdict.status == "CANCELLED"

    def done(self) -> bool:
        return True

    def time_remaining(self) -> float | None:
        return 0.0

    def cancel(self) -> bool:
        return False

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata()

    async def code(self) -> grpc.StatusCode:
        return self._error().code()

    async def details(self) -> str:
        return self._verdict.details

    async def debug_error_string(self) -> str:
        return self._verdict.details

    async def wait_for_connection(self) -> None:
        raise self._error()


class _EndedResponse(_Ended):
    def __await__(self) -> Generator[Any, None, Any]:
        return self._fail().__await__()

    async def _fail(self) -> Any:
        raise self._error()


class _EndedResponses(_Ended):
    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        raise self._error()

    async def read(self) -> Any:
        raise self._error()


class _EndedRequests(_Ended):
    async def write(self, request: Any) -> None:
        raise self._error()

    async def done_writing(self) -> None:
        return None


class EndedUnaryUnaryCall(_EndedResponse, AioUnaryUnaryCall):
    """A unary-unary call that was never sent."""


class EndedUnaryStreamCall(_EndedResponses, AioUnaryStreamCall):
    """A unary-stream call that was never sent."""


class EndedStreamUnaryCall(_EndedResponse, _EndedRequests, AioStreamUnaryCall):
    """A stream-unary call that was never sent."""


class EndedStreamStreamCall(_EndedResponses, _EndedRequests, AioStreamStreamCall):
    """A stream-stream call that was never sent."""

"""Errors that this library raises, beside grpc's own.

::

    grpc.RpcError
    ├── EndedCall                 sync: also the grpc.Call and grpc.Future of the call
    └── grpc.aio.AioRpcError
        ├── AioEndedCall          asyncio: raised by a call that one of our limits ended, or kept from being sent
        └── AioFailedWrite        asyncio: raised by write() on a call that has failed; also an asyncio.InvalidStateError

Both say ``code()`` and ``details()`` as gRPC does, and ``.timeout`` holds the facts (``TimeoutFacts``): the layer, its limit,
the time that passed and where the limit came from. An error that grpcio raises itself because the total time-out was spent
gets the same attribute where the sync stack lets us see it; ``timeout_of(error)`` reads it from any error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat._types import FutureBase
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.core.wording import Verdict

__all__ = ["AioEndedCall", "AioFailedWrite", "EndedCall", "TimeoutFacts", "timeout_of"]


TIMEOUT_ATTRIBUTE = "timeout"
"""Under this name the facts are attached to the errors that grpcio makes."""


def status_of(verdict: Verdict) -> grpc.StatusCode:
    """Return the status code of ``verdict``."""
    return grpc.StatusCode[verdict.status]


def timeout_of(error: BaseException) -> TimeoutFacts | None:
    """Return the facts of the limit that ended a call early, or ``None`` when no limit of ours did."""
    facts = getattr(error, TIMEOUT_ATTRIBUTE, None)
    return facts if isinstance(facts, TimeoutFacts) else None


class EndedCall(grpc.RpcError, grpc.Call, FutureBase):
    """A synchronous call that ended before anything was sent.

    It stands for the error, for the call, for its future and for its (empty) response iterator, as grpcio's own
    rendezvous objects do.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.details)
        self._verdict = verdict
        self._code = status_of(verdict)
        self._details = verdict.details
        self.timeout = verdict.facts

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._verdict,)

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def debug_error_string(self) -> str:
        return self._details

    def initial_metadata(self) -> tuple[()]:
        return ()

    def trailing_metadata(self) -> tuple[()]:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float:
        return 0.0

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return self._code is grpc.StatusCode.CANCELLED

    def running(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> Any:
        raise self

    def exception(self, timeout: float | None = None) -> Exception:
        return self

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        try:
            raise self
        except grpc.RpcError as error:
            return error.__traceback__

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        fn(self)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        raise self

    def next(self) -> Any:
        """Raise the error, as ``next(call)`` does."""
        raise self


class AioEndedCall(grpc.aio.AioRpcError):
    """The error of an asyncio call that one of our limits or its scope ended, or kept from being sent.

    Where gRPC ended the call because a limit was spent, it has gRPC's metadata, too.
    """

    def __init__(
        self,
        verdict: Verdict,
        initial_metadata: grpc.aio.Metadata | None = None,
        trailing_metadata: grpc.aio.Metadata | None = None,
        debug_error_string: str | None = None,
    ) -> None:
        initial = grpc.aio.Metadata() if initial_metadata is None else initial_metadata
        trailing = grpc.aio.Metadata() if trailing_metadata is None else trailing_metadata
        debug = verdict.details if debug_error_string is None else debug_error_string
        super().__init__(status_of(verdict), initial, trailing, verdict.details, debug)
        self._verdict = verdict
        self.timeout = verdict.facts

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (
            self._verdict,
            self.initial_metadata(),
            self.trailing_metadata(),
            self.debug_error_string(),
        )


class AioFailedWrite(grpc.aio.AioRpcError, asyncio.InvalidStateError):
    """Raised by ``write()`` on an asyncio call that has failed: says what it failed with.

    grpc.aio raises a bare ``asyncio.InvalidStateError`` there, and code that catches it goes on to work.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        initial_metadata: grpc.aio.Metadata,
        trailing_metadata: grpc.aio.Metadata,
        details: str | None,
        debug_error_string: str | None,
        timeout: TimeoutFacts | None = None,
    ) -> None:
        super().__init__(code, initial_metadata, trailing_metadata, details, debug_error_string)
        self.timeout = timeout

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (
            self.code(),
            self.initial_metadata(),
            self.trailing_metadata(),
            self.details(),
            self.debug_error_string(),
            self.timeout,
        )

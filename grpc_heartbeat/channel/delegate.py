"""A call object of the sync stack around another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import grpc

from grpc_heartbeat._types import FutureBase


class DelegatingCall(grpc.RpcError, grpc.Call, FutureBase):
    """Is what grpcio's rendezvous objects are: call, future, response iterator and, when it fails, the error.

    Everything is asked of ``inner``; where that raises itself, this raises itself, so that ``except grpc.RpcError as error``
    and ``error is call`` hold for whoever has this object.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self._inner = inner

    def code(self) -> grpc.StatusCode:
        code: grpc.StatusCode = self._inner.code()
        return code

    def details(self) -> str:
        details: str = self._inner.details()
        return details

    def debug_error_string(self) -> str:
        text: str = self._inner.debug_error_string()
        return text

    def initial_metadata(self) -> Any:
        return self._inner.initial_metadata()

    def trailing_metadata(self) -> Any:
        return self._inner.trailing_metadata()

    def is_active(self) -> bool:
        active: bool = self._inner.is_active()
        return active

    def time_remaining(self) -> float:
        seconds: float = self._inner.time_remaining()
        return seconds

    def cancel(self) -> bool:
        cancelled: bool = self._inner.cancel()
        return cancelled

    def cancelled(self) -> bool:
        cancelled: bool = self._inner.cancelled()
        return cancelled

    def running(self) -> bool:
        running: bool = self._inner.running()
        return running

    def done(self) -> bool:
        done: bool = self._inner.done()
        return done

    def result(self, timeout: float | None = None) -> Any:
        try:
            return self._inner.result(timeout)
        except grpc.RpcError as error:
            self._raise(error)

    def exception(self, timeout: float | None = None) -> Any:
        error = self._inner.exception(timeout)
        return self if error is self._inner else error

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        error = self.exception(timeout)
        if error is None:
            return None
        try:
            raise error
        except Exception as raised:
            return raised.__traceback__

    def add_callback(self, callback: Callable[[], None]) -> bool:
        added: bool = self._inner.add_callback(callback)
        return added

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        self._inner.add_done_callback(lambda _: fn(self))

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._inner)
        except grpc.RpcError as error:
            self._raise(error)

    def next(self) -> Any:
        """Return the next response, as ``next(call)`` does."""
        return self.__next__()

    def _raise(self, error: grpc.RpcError) -> Any:
        """Raise ``error``, or this call where it is the inner one."""
        if error is self._inner:
            raise self from None
        raise error

    def __repr__(self) -> str:
        # Not put together from what can be asked: grpcio would wait for the debug string of a call that was cancelled here.
        return repr(self._inner).replace(type(self._inner).__name__, type(self).__name__, 1)

    def __str__(self) -> str:
        return repr(self)

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # not made yet, or being taken apart
            raise AttributeError(name)
        return getattr(self._inner, name)

"""The four kinds of methods on a sync channel: each call is planned, started by grpcio, and held by its scope.

What comes back are grpcio's own call objects. With no scope, no policy and no time-out, a blocking call costs one test more
than grpcio's.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import grpc

from grpc_heartbeat._current import current_scope
from grpc_heartbeat._grpcio import calling, interruptible
from grpc_heartbeat._types import StreamStreamBase, StreamUnaryBase, UnaryStreamBase, UnaryUnaryBase
from grpc_heartbeat.channel.metadata import with_budget
from grpc_heartbeat.channel.scoped import BlockedCall, annotate, hold
from grpc_heartbeat.core.deadline import BUDGET_KEY
from grpc_heartbeat.core.limits import Limits
from grpc_heartbeat.core.outgoing import plan, refuse
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.errors import EndedCall


class _MultiCallable:
    """What the four kinds share: the inner multicallable, the method's name and the policy.

    It keeps its channel alive, as grpcio's do: a program may hold a stub only.
    """

    def __init__(self, owner: grpc.Channel, inner: Any, method: str, limits: Limits) -> None:
        self._owner = owner
        self._inner = inner
        self._method = method
        self._limits = limits

    def _start(
        self,
        start: Callable[..., Any],
        request: Any,
        timeout: Any,
        metadata: Any,
        credentials: Any,
        wait: Any,
        compress: Any,
    ) -> Any:
        """Start a call that returns at once with its call object."""
        scope = current_scope.get()
        if scope is not None and scope.finished:
            scope = None
        limit, budget, allowed = plan(timeout, self._limits.total, scope, monotonic())
        if not allowed:
            return EndedCall(refuse(self._method, timeout, self._limits, scope, limit))
        if budget is not None:
            metadata = ((BUDGET_KEY, budget),) if metadata is None else with_budget(metadata, budget)
        call = start(request, limit, metadata, credentials, wait, compress)
        if scope is not None:
            hold(scope, call)
        return call


class _BlockingMultiCallable(_MultiCallable):
    """The two kinds with a single response, whose call may block the calling thread."""

    def __init__(self, owner: grpc.Channel, inner: Any, method: str, limits: Limits) -> None:
        super().__init__(owner, inner, method, limits)
        self._interruptible = interruptible(inner)

    def _block(
        self,
        start: Callable[..., Any],
        request: Any,
        timeout: Any,
        metadata: Any,
        credentials: Any,
        wait: Any,
        compress: Any,
    ) -> Any:
        """Run ``start``, which blocks until the response is there."""
        scope = current_scope.get()
        if scope is not None and scope.finished:
            scope = None
        started = monotonic()
        limit, budget, allowed = plan(timeout, self._limits.total, scope, started)
        if not allowed:
            raise EndedCall(refuse(self._method, timeout, self._limits, scope, limit))
        if budget is not None:
            metadata = ((BUDGET_KEY, budget),) if metadata is None else with_budget(metadata, budget)
        try:
            if scope is None:
                return start(request, limit, metadata, credentials, wait, compress)
            if not self._interruptible:
                start = self._on_future(scope, start)
            # What ``block_in`` and ``adopt`` do, without their frames: this is the path of every blocking call in a handler.
            if not scope.watched:
                scope.watch()
            call = BlockedCall()
            scope.members.add(call)
            if scope.reason is not None:
                call.scope_cancelled(scope)
            outer = calling.handle
            calling.handle = call
            try:
                return start(request, limit, metadata, credentials, wait, compress)
            finally:
                calling.handle = outer
                scope.members.discard(call)
        except grpc.RpcError as error:
            annotate(error, self._method, timeout, self._limits, scope, limit, monotonic() - started)
            raise

    def _on_future(self, scope: Scope, start: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``start`` made of public API alone: a future can be cancelled, at the price of a thread switch."""

        def block(*args: Any) -> Any:
            call = self._inner.future(*args)
            hold(scope, call)
            try:
                response = call.result()
            except grpc.FutureCancelledError:
                if isinstance(call, grpc.RpcError):
                    raise call from None
                raise
            return (response, call) if start == self._inner.with_call else response

        return block


class UnaryUnary(_BlockingMultiCallable, UnaryUnaryBase):
    """A unary-unary method."""

    def _inherit(self, scope: Scope, left: float, request: Any, credentials: Any, wait: Any, compress: Any) -> Any:
        """Do what ``_block`` does for the plainest call in a handler, which is also the most frequent one.

        ``left`` is what is left of the scope's deadline, and there is some.
        """
        if not scope.watched:
            scope.watch()
        call = BlockedCall()
        scope.members.add(call)
        if scope.reason is not None:
            call.scope_cancelled(scope)
        outer = calling.handle
        calling.handle = call
        try:
            return self._inner(request, left, ((BUDGET_KEY, str(int(left * 1e6))),), credentials, wait, compress)
        except grpc.RpcError as error:
            annotate(error, self._method, None, self._limits, scope, left, left - (scope.remaining(monotonic()) or 0.0))
            raise
        finally:
            calling.handle = outer
            scope.members.discard(call)

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        scope = current_scope.get()
        if timeout is None and self._limits.total is None:
            if scope is None:
                return self._inner(request, None, metadata, credentials, wait_for_ready, compression)
            if metadata is None and self._interruptible:
                left = (scope.deadline or 0.0) - monotonic()
                if left > 0 and scope.reason is None and not scope.finished:
                    return self._inherit(scope, left, request, credentials, wait_for_ready, compression)
        return self._block(self._inner, request, timeout, metadata, credentials, wait_for_ready, compression)

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._block(self._inner.with_call, request, timeout, metadata, credentials, wait_for_ready, compression)

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(self._inner.future, request, timeout, metadata, credentials, wait_for_ready, compression)


class StreamUnary(_BlockingMultiCallable, StreamUnaryBase):
    """A stream-unary method."""

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._block(self._inner, request_iterator, timeout, metadata, credentials, wait_for_ready, compression)

    def with_call(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._block(
            self._inner.with_call, request_iterator, timeout, metadata, credentials, wait_for_ready, compression
        )

    def future(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(
            self._inner.future, request_iterator, timeout, metadata, credentials, wait_for_ready, compression
        )


class UnaryStream(_MultiCallable, UnaryStreamBase):
    """A unary-stream method."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(self._inner, request, timeout, metadata, credentials, wait_for_ready, compression)


class StreamStream(_MultiCallable, StreamStreamBase):
    """A stream-stream method."""

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(self._inner, request_iterator, timeout, metadata, credentials, wait_for_ready, compression)

"""Client interceptors of the sync stack, for those who cannot change how the channel is made.

``grpc.intercept_channel(channel, *client_interceptors())``. They do what this library's own channel does, a little slower.
Put them last: interceptors run in order, and time spent in later ones is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

import grpc

from grpc_heartbeat._current import current_scope
from grpc_heartbeat._grpcio import interruptible, multicallable_of
from grpc_heartbeat.channel.metadata import with_budget
from grpc_heartbeat.channel.scoped import annotate, block_in, hold
from grpc_heartbeat.config import Timeouts
from grpc_heartbeat.core.outgoing import inheritable, plan, refuse
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.errors import EndedCall
from grpc_heartbeat.policy import TimeoutPolicy


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class CallDetails(_Details, grpc.ClientCallDetails):
    """A call's details, changed."""


class DeadlineClientInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Gives outbound calls the deadline and the cancellation of the inbound RPC in whose handler they are made."""

    def __init__(self, timeouts: Timeouts | TimeoutPolicy | None = None) -> None:
        self._timeouts = timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self._one_response(continuation, client_call_details, request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return self._one_response(continuation, client_call_details, request_iterator)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self._stream(continuation, client_call_details, request)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return self._stream(continuation, client_call_details, request_iterator)

    def _one_response(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        scope = inheritable(current_scope.get())
        started = monotonic()
        limits = self._timeouts.limits(details.method, streams=False)
        limit, budget, allowed = plan(details.timeout, limits.total, scope, started)
        if not allowed:
            return EndedCall(refuse(details.method, details.timeout, limits, scope, limit))
        changed = _changed(details, limit, budget)
        call = continuation(changed, request) if scope is None else _in_scope(scope, continuation, changed, request)
        if isinstance(call, grpc.RpcError):
            annotate(call, details.method, details.timeout, limits, scope, limit, monotonic() - started)
        return call

    def _stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        scope = inheritable(current_scope.get())
        limits = self._timeouts.limits(details.method, streams=True)
        limit, budget, allowed = plan(details.timeout, limits.total, scope, monotonic())
        if not allowed:
            return EndedCall(refuse(details.method, details.timeout, limits, scope, limit))
        call = continuation(_changed(details, limit, budget), request)
        if scope is not None:
            hold(scope, call)
        return call


def _in_scope(scope: Scope, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
    """Run the continuation of a call that either blocks here until its response is there, or returns a future."""
    interruptible(multicallable_of(continuation))
    call = block_in(scope, continuation, details, request)
    if isinstance(call, grpc.Future) and not call.done():
        hold(scope, call)
    return call


def _changed(details: Any, limit: float | None, budget: str | None) -> Any:
    if budget is None and limit == details.timeout:
        return details
    return CallDetails(
        details.method,
        limit,
        details.metadata if budget is None else with_budget(details.metadata, budget),
        details.credentials,
        getattr(details, "wait_for_ready", None),
        getattr(details, "compression", None),
    )

"""Client interceptors of the sync stack, for those who cannot change how the channel is made.

``grpc.intercept_channel(channel, *client_interceptors())``. They do what this library's own channel does, a little slower.
Put them last: interceptors run in order, and time spent in later ones is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import grpc

from grpc_heartbeat._current import current_overrides, current_scope
from grpc_heartbeat._grpcio import calling, interruptible, multicallable_of, usable
from grpc_heartbeat.channel.connection import NOWHERE, UnwatchedConnection
from grpc_heartbeat.channel.flight import Line
from grpc_heartbeat.channel.kinds import name_of
from grpc_heartbeat.channel.layers import Layers
from grpc_heartbeat.channel.limited import HeldFlight, hold
from grpc_heartbeat.channel.metadata import with_own_budget
from grpc_heartbeat.channel.refused import refused
from grpc_heartbeat.channel.requests import WatchedRequests
from grpc_heartbeat.channel.scoped import BlockedCall, BlockedFlight, annotate, block_in
from grpc_heartbeat.config import Timeouts
from grpc_heartbeat.core.limits import Part
from grpc_heartbeat.core.outgoing import inheritable, plan
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


def _without(kind: str) -> tuple[Part, ...]:
    """Return the parts that mean nothing for ``kind``, or cannot be seen: headers of unary calls, by public API alone."""
    unseen: tuple[Part, ...] = ("header",) if kind == "unary_unary" and not usable() else ()
    return (*_WITHOUT[kind], *unseen)


class DeadlineClientInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Gives outbound calls the deadline and the cancellation of the inbound RPC in whose handler they are made."""

    def __init__(self, timeouts: Timeouts | TimeoutPolicy | None = None) -> None:
        self._timeouts = timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts)
        self._layers: dict[tuple[str, str], Layers] = {}
        self._lines: WeakKeyDictionary[Any, Line] = WeakKeyDictionary()
        self._timeouts.watch(self)

    def policy_changed(self, policy: TimeoutPolicy) -> None:
        self._layers = {}

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self._one_response("unary_unary", continuation, client_call_details, request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return self._one_response("stream_unary", continuation, client_call_details, request_iterator)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self._stream("unary_stream", continuation, client_call_details, request)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return self._stream("stream_stream", continuation, client_call_details, request_iterator)

    def _layers_of(self, kind: str, method: str) -> Layers:
        overrides, known = current_overrides.get(), self._layers
        layers = known.get((kind, method)) if overrides is None else None
        if layers is None:
            limits = self._timeouts.limits(name_of(method), streams=kind.endswith("stream"))
            if overrides is not None:
                return Layers(limits.changed(overrides), _without(kind), fixed=False)
            layers = Layers(limits, _without(kind))
            if len(known) < _MOST_METHODS:
                known[kind, method] = layers
        return layers

    def _line(self, multicallable: Any) -> Line:
        line = self._lines.get(multicallable) if multicallable is not None else NOWHERE
        if line is None:
            self._lines[multicallable] = line = UnwatchedConnection(multicallable)
        return line

    def _one_response(self, kind: str, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        scope = inheritable(current_scope.get())
        layers = self._layers_of(kind, details.method)
        limits = layers.limits
        started = monotonic()
        limit, budget, allowed = plan(details.timeout, limits.total, scope, started)
        if not allowed:
            return EndedCall(refused(details.method, details.timeout, limits, scope, limit))
        changed = _changed(details, limit, budget)
        line: Line = NOWHERE
        flight = None
        splits = kind == "stream_unary"
        if scope is None and not layers.watched:
            call = continuation(changed, request)
        else:
            multicallable = multicallable_of(continuation)
            line = self._line(multicallable)
            blocked = BlockedCall()
            if layers.watched and interruptible(multicallable):
                blocked = flight = BlockedFlight(details.method, layers, started, line)
                flight.ready = line.ready()
                flight.split = calling.split = limits.header is not None
                if limits.write is not None:
                    request = WatchedRequests(request, flight.guard)
                flight.begin()
            elif limits.write is not None and not interruptible(multicallable):  # a future can still be ended
                flight = BlockedFlight(details.method, layers, started, line)
                flight.ready = line.ready()
                request = WatchedRequests(request, flight.guard)
            elif scope is not None:
                interruptible(multicallable)
            try:
                call = block_in(scope, blocked, continuation, changed, request)
            finally:
                splits = splits or not calling.split
                calling.split = False
                if flight is not None:
                    flight.done()
        if isinstance(call, grpc.Future) and not call.done():
            held = HeldFlight(details.method, layers, started, line, details.timeout, scope, limit)
            held.splits = splits
            if flight is not None:
                held.ready = flight.ready
                held.share(flight)
            return call if scope is None and limit is None and not layers.watched else hold(held, call)
        if isinstance(call, grpc.RpcError):
            elapsed = monotonic() - started
            annotate(call, line, flight, details.method, details.timeout, limits, scope, limit, elapsed)
        return call

    def _stream(self, kind: str, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        scope = inheritable(current_scope.get())
        layers = self._layers_of(kind, details.method)
        started = monotonic()
        limit, budget, allowed = plan(details.timeout, layers.limits.total, scope, started)
        if not allowed:
            return EndedCall(refused(details.method, details.timeout, layers.limits, scope, limit))
        changed = _changed(details, limit, budget)
        if scope is None and limit is None and not layers.watched:
            return continuation(changed, request)
        line: Line = self._line(multicallable_of(continuation)) if layers.watched else NOWHERE
        flight = HeldFlight(details.method, layers, started, line, details.timeout, scope, limit)
        flight.ready = line.ready()
        if layers.limits.write is not None:
            request = WatchedRequests(request, flight.guard)
        return hold(flight, continuation(changed, request))


_MOST_METHODS = 10_000
"""Methods whose limits are remembered; a program has fewer."""

_WITHOUT: dict[str, tuple[Part, ...]] = {
    "unary_unary": ("connect", "idle", "write"),
    "stream_unary": ("connect", "idle"),
    "unary_stream": ("connect", "write"),
    "stream_stream": ("connect",),
}
"""What is not limited, by kind: there is no channel whose connection could be watched, and some parts mean nothing there."""


def _changed(details: Any, limit: float | None, budget: str | None) -> Any:
    metadata = with_own_budget(details.metadata, budget, limit)
    if metadata is details.metadata and limit == details.timeout:
        return details
    return CallDetails(
        details.method,
        limit,
        metadata,
        details.credentials,
        getattr(details, "wait_for_ready", None),
        getattr(details, "compression", None),
    )

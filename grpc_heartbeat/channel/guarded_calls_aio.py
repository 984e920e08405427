"""The four kinds of methods on an asyncio channel with a breaker: each call looks at the switch, and runs where that points.

A call is made in a scope, which ends it when its connection is convicted: the connection's own, or one that is a child of the
caller's scope, too. Request iterators run in the caller's.
"""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any, Protocol

import grpc
import grpc.aio

from grpc_heartbeat._call_events import call_events, tell_ended
from grpc_heartbeat._current import current_overrides, current_scope
from grpc_heartbeat._types import AioStreamStreamBase, AioStreamUnaryBase, AioUnaryStreamBase, AioUnaryUnaryBase
from grpc_heartbeat.channel.breaker_face import ChannelBreaker
from grpc_heartbeat.channel.ended_aio import (
    EndedStreamStreamCall,
    EndedStreamUnaryCall,
    EndedUnaryStreamCall,
    EndedUnaryUnaryCall,
)
from grpc_heartbeat.channel.loops_aio import running_loop
from grpc_heartbeat.channel.switch import Passage, Switch, bind
from grpc_heartbeat.channel.waiting_aio import (
    WaitingStreamStreamCall,
    WaitingStreamUnaryCall,
    WaitingUnaryStreamCall,
    WaitingUnaryUnaryCall,
)
from grpc_heartbeat.core.connection_scope import JointScope
from grpc_heartbeat.core.outgoing import inheritable, own_limit
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.core.wording import Verdict
from grpc_heartbeat.policy import TimeoutPolicy


class Owner(Protocol):
    """The channel that a method belongs to."""

    breaker: ChannelBreaker
    switch: Switch[Any]
    _timeouts: TimeoutPolicy

    @property
    def connection(self) -> Any:
        """What is known of the present connection."""


class _Guarded:
    """What the four kinds share. It keeps its channel alive, as grpcio's do."""

    _kind = ""
    _streams = False
    _ended: Callable[[Verdict], Any]
    _waiting: Callable[..., Any]

    def __init__(self, owner: Owner, arguments: tuple[Any, ...]) -> None:
        self._owner = owner
        self._switch = owner.switch
        self._method: str = arguments[0]
        self._make = bind(self._kind, arguments)
        self._limits = owner._timeouts.limits(self._method, streams=self._streams)
        owner._timeouts.watch(self)
        self._bound: tuple[Passage[Any] | None, Any] = (None, None)
        self._inner_of(self._switch.current)  # bad arguments are told here

    def policy_changed(self, policy: TimeoutPolicy) -> None:
        self._limits = policy.limits(self._method, streams=self._streams)

    def _inner_of(self, passage: Passage[Any]) -> Any:
        bound = self._bound
        if bound[0] is not passage:
            self._bound = bound = (passage, self._make(passage.channel))
        return bound[1]

    def _enter(self, passage: Passage[Any], request: Any, timeout: Any, options: dict[str, Any]) -> Any:
        inner = self._inner_of(passage)
        outer = current_scope.get()
        joint = None if outer is None or outer.finished else JointScope(outer, passage.scope)
        token = current_scope.set(passage.scope if joint is None else joint)
        try:
            return inner(request, timeout=timeout, **options)
        finally:
            current_scope.reset(token)
            if joint is not None:
                joint.finish()

    def _start(self, request: Any, timeout: Any, **options: Any) -> Any:
        passage = self._switch.passage
        if passage is not None:
            return self._enter(passage, request, timeout, options)
        if not self._owner.breaker.waits or running_loop() is None:
            return self._ended(self._refused())
        limit = own_limit(timeout, self._limits.changed(current_overrides.get() or {}).total)
        context = contextvars.copy_context()

        def begin(left: float | None) -> Any:
            passage = self._switch.passage or self._switch.current
            return context.run(self._enter, passage, request, left, options)

        return self._waiting(self._switch, begin, self._waited, limit, inheritable(current_scope.get()))

    def _refused(self) -> Verdict:
        verdict = self._owner.breaker.refused(self._method, monotonic())
        if call_events:
            tell_ended(self._method, verdict, None, self._owner.connection)
        return verdict

    def _waited(self, limit: float, elapsed: float) -> Any:
        verdict = self._owner.breaker.waited(self._method, limit, elapsed, monotonic())
        if call_events:
            tell_ended(self._method, verdict, 0.0, self._owner.connection)
        return self._ended(verdict)


async def _requests_in(scope: Scope | None, requests: Any) -> AsyncIterator[Any]:
    """Iterate over ``requests`` in ``scope``. grpc.aio does so in a task of its own, whose context this is."""
    current_scope.set(scope)
    if hasattr(requests, "__aiter__"):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request


class _UnaryRequest(_Guarded):
    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(
            request,
            timeout,
            metadata=metadata,
            credentials=credentials,
            wait_for_ready=wait_for_ready,
            compression=compression,
        )


class GuardedUnaryUnary(_UnaryRequest, AioUnaryUnaryBase):
    """A unary-unary method."""

    _kind = "unary_unary"
    _ended = EndedUnaryUnaryCall
    _waiting = WaitingUnaryUnaryCall


class GuardedUnaryStream(_UnaryRequest, AioUnaryStreamBase):
    """A unary-stream method."""

    _kind = "unary_stream"
    _streams = True
    _ended = EndedUnaryStreamCall
    _waiting = WaitingUnaryStreamCall


class _StreamingRequests(_Guarded):
    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        if request_iterator is not None:
            request_iterator = _requests_in(current_scope.get(), request_iterator)
        return self._start(
            request_iterator,
            timeout,
            metadata=metadata,
            credentials=credentials,
            wait_for_ready=wait_for_ready,
            compression=compression,
        )


class GuardedStreamUnary(_StreamingRequests, AioStreamUnaryBase):
    """A stream-unary method."""

    _kind = "stream_unary"
    _ended = EndedStreamUnaryCall
    _waiting = WaitingStreamUnaryCall


class GuardedStreamStream(_StreamingRequests, AioStreamStreamBase):
    """A stream-stream method."""

    _kind = "stream_stream"
    _streams = True
    _ended = EndedStreamStreamCall
    _waiting = WaitingStreamStreamCall

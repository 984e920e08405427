"""The four kinds of methods on a sync channel with a breaker: each call looks at the switch, and runs where that points.

A call is made in a scope, which ends it when its connection is convicted: the connection's own, or one that is a child of the
caller's scope, too. Request iterators run in the caller's.
"""

from __future__ import annotations

import contextvars
import threading
from typing import Any, Protocol

import grpc

from grpc_heartbeat._call_events import call_events, tell_ended
from grpc_heartbeat._current import current_overrides, current_scope, restore
from grpc_heartbeat._timers import clock
from grpc_heartbeat._types import StreamStreamBase, StreamUnaryBase, UnaryStreamBase, UnaryUnaryBase
from grpc_heartbeat.channel.breaker_face import ChannelBreaker
from grpc_heartbeat.channel.switch import Passage, Switch, bind
from grpc_heartbeat.channel.waiting import WaitingCall
from grpc_heartbeat.core.connection_scope import JointScope
from grpc_heartbeat.core.outgoing import inheritable, own_limit
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.core.wording import Verdict
from grpc_heartbeat.errors import EndedCall
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
    _streaming_requests = False

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

    def _enter(self, passage: Passage[Any], way: str, request: Any, *args: Any) -> Any:
        """Make the call, by ``way`` of the inner multicallable, on the connection of ``passage``."""
        inner = self._inner_of(passage)
        outer = current_scope.get()
        joint = None if outer is None or outer.finished else JointScope(outer, passage.scope)
        if self._streaming_requests:
            request = _RequestsIn(outer, request)
        token = current_scope.set(passage.scope if joint is None else joint)
        try:
            return (getattr(inner, way) if way else inner)(request, *args)
        finally:
            current_scope.reset(token)
            if joint is not None:
                joint.finish()

    def _block(self, way: str, request: Any, timeout: Any, *args: Any) -> Any:
        """Make a call that blocks until the response is there."""
        passage = self._switch.passage
        if passage is None:
            passage, timeout = self._admitted(timeout)
        return self._enter(passage, way, request, timeout, *args)

    def _start(self, way: str, request: Any, timeout: Any, *args: Any) -> Any:
        """Make a call that returns at once with its call object."""
        passage = self._switch.passage
        if passage is not None:
            return self._enter(passage, way, request, timeout, *args)
        if not self._owner.breaker.waits:
            return EndedCall(self._refused())
        limit = own_limit(timeout, self._limits.changed(current_overrides.get() or {}).total)
        context = contextvars.copy_context()

        def begin(left: float | None) -> Any:
            passage = self._switch.passage or self._switch.current
            return context.run(self._enter, passage, way, request, left, *args)

        return WaitingCall(self._switch, begin, self._waited, limit, inheritable(current_scope.get()))

    def _admitted(self, timeout: Any) -> tuple[Passage[Any], float | None]:
        """Wait until calls are let through; return where, and what is left of the call's own budget.

        Raises:
            EndedCall: they are not, and it does not wait, or not any longer.
        """
        if not self._owner.breaker.waits:
            raise EndedCall(self._refused())
        limit = own_limit(timeout, self._limits.changed(current_overrides.get() or {}).total)
        scope = inheritable(current_scope.get())
        started = clock()
        with _Wakeful(self._switch, scope) as wakeful:
            while (passage := self._switch.passage) is None and not wakeful.called_off:
                elapsed = clock() - started
                left = None if limit is None else limit - elapsed
                if scope is not None and scope.deadline is not None:
                    inherited = scope.deadline - clock()
                    left = inherited if left is None else min(left, inherited)
                if left is not None and left <= 0:
                    raise EndedCall(self._waited(left + elapsed, elapsed))
                wakeful.wait(left)
        left = None if limit is None else max(limit - (clock() - started), _LEAST)
        return passage or self._switch.current, left

    def _refused(self) -> Verdict:
        verdict = self._owner.breaker.refused(self._method, clock())
        if call_events:
            tell_ended(self._method, verdict, None, self._owner.connection)
        return verdict

    def _waited(self, limit: float, elapsed: float) -> Verdict:
        verdict = self._owner.breaker.waited(self._method, limit, elapsed, clock())
        if call_events:
            tell_ended(self._method, verdict, 0.0, self._owner.connection)
        return verdict


_LEAST = 1e-6
"""Seconds that are left to a call that was let through at the last moment."""


class _Wakeful:
    """A thread that waits until calls are let through, or its scope is cancelled."""

    def __init__(self, switch: Switch[Any], scope: Scope | None) -> None:
        self._switch = switch
        self._scope = scope
        self._woken = threading.Event()
        self.called_off = False

    def wait(self, seconds: float | None) -> None:
        if self._switch.wait(self._wake):
            self._woken.wait(seconds)
            self._switch.leave(self._wake)
            self._woken.clear()

    def _wake(self) -> None:
        self._woken.set()

    def scope_cancelled(self, scope: Scope) -> None:
        self.called_off = True
        self._woken.set()

    def __enter__(self) -> _Wakeful:
        if self._scope is not None:
            self._scope.adopt(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._scope is not None:
            self._scope.release(self)


class _RequestsIn:
    """A request iterator whose steps run in ``scope``, wherever grpcio takes them."""

    def __init__(self, scope: Scope | None, requests: Any) -> None:
        self._scope = scope
        self._requests = requests

    def __iter__(self) -> _RequestsIn:
        return self

    def __next__(self) -> Any:
        token = current_scope.set(self._scope)
        try:
            return next(self._requests)
        finally:
            restore(token)


class _Blocking(_Guarded):
    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._block("", request, timeout, metadata, credentials, wait_for_ready, compression)

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._block("with_call", request, timeout, metadata, credentials, wait_for_ready, compression)

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start("future", request, timeout, metadata, credentials, wait_for_ready, compression)


class _Streaming(_Guarded):
    _streams = True

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start("", request, timeout, metadata, credentials, wait_for_ready, compression)


class GuardedUnaryUnary(_Blocking, UnaryUnaryBase):
    """A unary-unary method."""

    _kind = "unary_unary"


class GuardedUnaryStream(_Streaming, UnaryStreamBase):
    """A unary-stream method."""

    _kind = "unary_stream"


class GuardedStreamUnary(_Guarded, StreamUnaryBase):
    """A stream-unary method."""

    _kind = "stream_unary"
    _streaming_requests = True

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._block("", request_iterator, timeout, metadata, credentials, wait_for_ready, compression)

    def with_call(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._block("with_call", request_iterator, timeout, metadata, credentials, wait_for_ready, compression)

    def future(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start("future", request_iterator, timeout, metadata, credentials, wait_for_ready, compression)


class GuardedStreamStream(_Guarded, StreamStreamBase):
    """A stream-stream method."""

    _kind = "stream_stream"
    _streams = True
    _streaming_requests = True

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start("", request_iterator, timeout, metadata, credentials, wait_for_ready, compression)

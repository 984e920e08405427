"""In-band keepalive on the sync server: around handlers, outside of all interceptors."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._grpcio_beside import sender_of_context
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat._types import Behavior
from grpc_heartbeat.core.inband import TOKEN_BYTES, offered
from grpc_heartbeat.core.timers import Timer
from grpc_heartbeat.inband.beside import Beside
from grpc_heartbeat.inband.end import BEAT, UNKNOWN_FOR, End
from grpc_heartbeat.inband.greeting import greet, greets
from grpc_heartbeat.inband.messages import Inbound, deserializer, serializer
from grpc_heartbeat.inband.outlet import Pump
from grpc_heartbeat.inband.policy import InbandPolicy
from grpc_heartbeat.interceptors.admission import DEFAULT_ACCEPT_AFTER, ServerPolicy
from grpc_heartbeat.interceptors.handlers import (
    OWN_SERVICE,
    HandlerCache,
    behavior_of,
    keep_marks,
    with_behavior,
)
from grpc_heartbeat.interceptors.server import DeadlineServerInterceptor
from grpc_heartbeat.interceptors.speaking import speaks


class InbandServerInterceptor(DeadlineServerInterceptor):
    """Does what its base does, and keeps streams alive from inside where client and policy want it."""

    def __init__(
        self,
        inband: InbandPolicy,
        policy: ServerPolicy | None = None,
        accept_after: float | None = DEFAULT_ACCEPT_AFTER,
    ) -> None:
        super().__init__(policy, accept_after)
        self._inband = inband
        self._kept_alive = HandlerCache(self._keep_alive)

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        handler = super().intercept_service(continuation, handler_call_details)
        if handler is None or not offered(handler_call_details.invocation_metadata):
            return handler
        try:
            return self._kept_alive.get(handler_call_details.method, handler)
        except Exception as error:
            _faults.record("inband.wrap", error)
            return handler

    def _keep_alive(self, path: str, handler: Any) -> Any:
        interval = None if path.startswith(OWN_SERVICE) else self._inband.interval_of(path)
        behavior = behavior_of(handler)
        if interval is None or getattr(behavior, "experimental_non_blocking", False):
            return handler
        if not (handler.request_streaming or handler.response_streaming):
            return handler
        return kept_alive(handler, keep_marks(behavior, _around(behavior, handler, interval)))


def kept_alive(handler: Any, behavior: Behavior) -> Any:
    """Return a handler like ``handler`` that is served by ``behavior`` and whose streams may carry beats."""
    new = with_behavior(handler, behavior)
    codecs = {}
    if handler.request_streaming:
        codecs["request_deserializer"] = deserializer(handler.request_deserializer)
    if handler.response_streaming:
        codecs["response_serializer"] = serializer(handler.response_serializer)
    return new._replace(**codecs)


def new_token() -> bytes:
    """Return the token of a new stream."""
    return os.urandom(TOKEN_BYTES)


def _around(behavior: Behavior, handler: Any, interval: float) -> Behavior:
    takes, gives = handler.request_streaming, handler.response_streaming
    own_greeting = speaks(behavior)

    def handle(request: Any, context: Any) -> Any:
        end = ServerEnd(interval, takes)
        if takes:
            request = Requests(request, end)
        token = new_token()
        if not greets(context, token):
            error = TypeError(f"nothing can be added to the initial metadata of a {type(context).__name__}")
            _faults.record("inband.greet", error)
            return behavior(request, context)
        end.token = token
        if not gives:
            end.sends = False
            if not own_greeting:
                _Greeting(context, interval)
            return behavior(request, context)
        end.speaks_first = context if own_greeting else None
        responses = behavior(request, context)
        before = partial(greet, context, early=not own_greeting)
        send = sender_of_context(context)
        outlet: Beside | Pump
        if send is None:
            outlet = Pump(responses, end, contextvars.copy_context().run, before)
        else:
            outlet = Beside(iter(responses), end, before)
            outlet.begin(send, interval)
        if not context.add_callback(outlet.stop):
            outlet.stop()
        return outlet

    return handle


class ServerEnd(End):
    """The server's end of a stream.

    Attributes:
        speaks_first: The context of a handler that sends initial metadata itself. No beat may go before that.
    """

    speaks_first: Any = None

    def due(self, now: float) -> bytes | None:
        context = self.speaks_first
        if context is not None:
            if not context._inband_sent:
                return None
            self.speaks_first = None
        return super().due(now)

    def wakeup(self, now: float) -> float | None:
        return super().wakeup(now) if self.speaks_first is None else now + self.interval * UNKNOWN_FOR


class _Greeting(Timer):
    """Answers the client's offer after half the interval, if nobody has until then."""

    __slots__ = ("_context",)

    def __init__(self, context: Any, interval: float) -> None:
        self._context = context
        self.start(timers().lane(interval / 2), clock())
        if not context.add_callback(self.cancel):
            self.cancel()

    def cancel(self) -> None:
        self.when = None
        self._context = None

    def fire(self) -> None:
        context = self._context
        if context is not None:
            self._context = None
            greet(context, early=True)

    def describe(self) -> str:
        return "the answer to an offer of in-band keepalive"


class Requests(Iterator[Any]):
    """What the handler gets of the requests: no beats."""

    __slots__ = ("_end", "_requests")

    def __init__(self, requests: Any, end: End) -> None:
        self._requests = requests
        self._end = end

    def __next__(self) -> Any:
        end = self._end
        while True:
            try:
                message = next(self._requests)
            except BaseException:
                end.peer_done()
                raise
            if type(message) is not Inbound:
                end.heard()
                return message
            message = end.take(message)
            if message is not BEAT:
                return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._requests, name)

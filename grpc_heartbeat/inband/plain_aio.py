"""In-band keepalive for handlers of an asyncio server that are plain functions, which the server runs in its thread pool.

They are iterated by threads and have contexts that block, so what the sync stack does with public API fits them.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

from grpc_heartbeat._types import Behavior
from grpc_heartbeat.inband.end import without
from grpc_heartbeat.inband.greeting import Merged, lost
from grpc_heartbeat.inband.outlet import Pump
from grpc_heartbeat.inband.server import Requests, ServerEnd, new_token
from grpc_heartbeat.interceptors.speaking import speaks


def plain(behavior: Behavior, handler: Any, interval: float) -> Behavior:
    """Return ``behavior`` around the RPC whose task is the current one."""
    takes, gives = handler.request_streaming, handler.response_streaming
    own_greeting = speaks(behavior)
    task = asyncio.current_task()

    def handle(request: Any, context: Any) -> Any:
        end = ServerEnd(interval, takes)
        end.token = new_token()
        inband = PlainInbandContext(context, end.token, own_greeting)
        if takes:
            request = _GreetingRequests(request, end, inband)
        if not gives:
            end.sends = False
            return behavior(request, inband)
        if own_greeting:
            end.speaks_first = inband
        run = contextvars.copy_context().run
        pump = Pump(behavior(request, inband), end, run, inband._inband_greet)
        if task is not None:
            task.add_done_callback(lambda _: pump.stop())
        return pump

    return handle


class PlainInbandContext:
    """Stands before ``context``, which it hands everything else on to."""

    def __init__(self, context: Any, token: bytes, own_greeting: bool) -> None:
        self._context = context
        self._token = token
        self._own_greeting = own_greeting
        self._lock = threading.Lock()
        self._inband_sent = False
        self._early = False

    @property  # type: ignore[misc]  # mypy knows __class__ as an attribute; isinstance() asks for it
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # nobody stores it
        return type(self._context)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> Any:
        metadata = self._context.invocation_metadata()
        return metadata if metadata is None else tuple(without(metadata))

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        with self._lock:
            if not self._early:
                self._context.send_initial_metadata(Merged(initial_metadata, self._token))
                self._inband_sent = True
                return
        if _says_something(initial_metadata):
            self._early = False  # a second time is the handler's own mistake
            lost()

    def _inband_greet(self) -> None:
        """Send initial metadata if nobody has. In a thread of the pool."""
        with self._lock:
            if self._inband_sent:
                return
            try:
                self._context.send_initial_metadata(Merged((), self._token))
            except Exception:  # the RPC is over
                return
            self._inband_sent = True
            self._early = not self._own_greeting


def _says_something(metadata: Any) -> bool:
    try:
        return any(True for _ in metadata or ())
    except RuntimeError:  # the early accepting's, called off
        return False


class _GreetingRequests(Requests):
    """Answers the client's offer when the handler asks for a request: it may have to wait for it."""

    __slots__ = ("_context",)

    def __init__(self, requests: Any, end: ServerEnd, context: PlainInbandContext) -> None:
        super().__init__(requests, end)
        self._context: PlainInbandContext | None = context

    def __next__(self) -> Any:
        context, self._context = self._context, None
        if context is not None and not context._own_greeting:
            context._inband_greet()
        return super().__next__()

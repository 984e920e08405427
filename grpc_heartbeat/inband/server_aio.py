"""In-band keepalive on the asyncio server: around handlers, outside of all interceptors.

The handler gets a context that stands before grpcio's, as the early accepting's does: it leaves beats out of what is read, lets
a beat that is under way be taken before anything else is sent, and adds our entry to the initial metadata.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat import _faults
from grpc_heartbeat._types import Behavior
from grpc_heartbeat.core.inband import offered
from grpc_heartbeat.inband.end import BEAT, without
from grpc_heartbeat.inband.greeting import Merged, lost, says_something
from grpc_heartbeat.inband.loop_end import LoopEnd
from grpc_heartbeat.inband.messages import Inbound, Outbound
from grpc_heartbeat.inband.plain_aio import one_response, stepped
from grpc_heartbeat.inband.policy import InbandPolicy
from grpc_heartbeat.inband.server import kept_alive, new_token
from grpc_heartbeat.interceptors.admission import DEFAULT_ACCEPT_AFTER, ServerPolicy
from grpc_heartbeat.interceptors.handlers import OWN_SERVICE, HandlerCache, behavior_of, keep_marks
from grpc_heartbeat.interceptors.server_aio import AioDeadlineServerInterceptor
from grpc_heartbeat.interceptors.speaking import speaks


class AioInbandServerInterceptor(AioDeadlineServerInterceptor):
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

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await super().intercept_service(continuation, handler_call_details)
        if handler is None or not offered(handler_call_details.invocation_metadata):
            return handler
        try:
            method = handler_call_details.method
            if not _by_the_loop(behavior_of(handler)):  # made anew for each RPC
                return self._keep_alive(method, handler)
            return self._kept_alive.get(method, handler)
        except Exception as error:
            _faults.record("inband.wrap_aio", error)
            return handler

    def _keep_alive(self, path: str, handler: Any) -> Any:
        interval = None if path.startswith(OWN_SERVICE) else self._inband.interval_of(path)
        if interval is None or not (handler.request_streaming or handler.response_streaming):
            return handler
        behavior = behavior_of(handler)
        if inspect.isasyncgenfunction(behavior):
            around: Behavior = _generator(behavior, handler, interval, speaks(behavior))
        elif inspect.iscoroutinefunction(behavior):
            around = _coroutine(behavior, handler, interval)
        elif handler.response_streaming:
            around = _generator(stepped(behavior, handler.request_streaming), handler, interval, speaks(behavior))
        else:
            around = one_response(behavior, interval)
        return kept_alive(handler, keep_marks(behavior, around))


def _by_the_loop(behavior: Behavior) -> bool:
    return inspect.isasyncgenfunction(behavior) or inspect.iscoroutinefunction(behavior)


class ServerEnd(LoopEnd):
    """The server's end of a stream, and its answer to the client's offer.

    Args:
        context: grpcio's context.
        interval: The interval for this method.
        handler: The method's handler.
        own_greeting: Whether the handler sends initial metadata itself. Nothing may be sent before that.
    """

    greeted = False
    """Whether initial metadata were sent."""
    early = False
    """Whether that was before the handler could have sent its own."""

    def __init__(self, context: Any, interval: float, handler: Any, own_greeting: bool) -> None:
        super().__init__(interval, handler.request_streaming)
        self.context = context
        self.token = self.own_token = new_token()
        self._beats = handler.response_streaming
        self._own_greeting = own_greeting
        context.add_done_callback(self._over)
        self.start(interval / 2)

    def due(self, now: float) -> bytes | None:
        if not self.greeted:
            if not self._own_greeting:
                self.run(self._greet_early())
            return None
        return super().due(now) if self._beats else None

    def wakeup(self, now: float) -> float | None:
        if not self.greeted:
            return now + self.interval / 2
        return super().wakeup(now) if self._beats else None

    async def write(self, data: bytes) -> None:
        await self.context.write(Outbound(data))

    async def greet(self, metadata: Any = ()) -> None:
        """Send initial metadata with our entry."""
        await self.context.send_initial_metadata(Merged(metadata, self.own_token))
        self.greeted = True

    async def _greet_early(self) -> None:
        try:
            await self.greet()
            self.early = True
        except Exception:  # the RPC is over
            self.stop()
        finally:
            self.task = None

    async def before_message(self) -> None:
        """Make way for a message of the handler."""
        if self.task is not None:
            await self.settle()
        self.sending = True
        if not self.greeted:
            await self.greet()

    def after_message(self) -> None:
        """Note that the message was sent."""
        self.sending = False
        self.sent()

    def _over(self, _: Any) -> None:
        self.stop()


class InbandContext:
    """Stands before ``context``, which it hands everything else on to."""

    def __init__(self, context: Any, end: ServerEnd) -> None:
        self._context = context
        self._end = end

    @property  # type: ignore[misc]  # mypy knows __class__ as an attribute; isinstance() asks for it
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # nobody stores it
        return type(self._context)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._context, name)
        if callable(value):
            self.__dict__[name] = value  # found at once from now on
        return value

    def invocation_metadata(self) -> Any:
        metadata = self._context.invocation_metadata()
        return metadata if metadata is None else tuple(without(metadata))

    async def read(self) -> Any:
        end = self._end
        while True:
            message = await self._context.read()
            if message is grpc.aio.EOF:
                end.peer_done()
            elif type(message) is Inbound:
                message = end.take(message)
                if message is BEAT:
                    continue
            else:
                end.heard()
            return message

    async def write(self, message: Any) -> None:
        end = self._end
        await end.before_message()
        try:
            await self._context.write(message)
        finally:
            end.after_message()

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        end = self._end
        await end.settle()
        if end.early:
            if says_something(initial_metadata):
                end.early = False  # a second time is the handler's own mistake
                lost()
            return
        end.sending = True
        try:
            await end.greet(initial_metadata)
        finally:
            end.sending = False

    async def abort(self, code: grpc.StatusCode, *args: Any, **kwargs: Any) -> Any:
        self._end.stop()
        await self._end.settle()
        return await self._context.abort(code, *args, **kwargs)

    async def abort_with_status(self, status: Any) -> Any:
        self._end.stop()
        await self._end.settle()
        return await self._context.abort_with_status(status)

    def add_done_callback(self, callback: Any) -> None:
        self._context.add_done_callback(lambda _: callback(self))


class Requests(AsyncIterator[Any]):
    """What the handler gets of the requests: no beats."""

    _next: Callable[[], Any] | None = None

    def __init__(self, requests: Any, end: ServerEnd) -> None:
        self._requests = requests
        self._end = end

    def __aiter__(self) -> Any:
        self._next = self._requests.__aiter__().__anext__
        return self

    async def __anext__(self) -> Any:
        step = self._next or self.__aiter__()._next
        end = self._end
        while True:
            try:
                message = await step()
            except StopAsyncIteration:
                end.peer_done()
                raise
            if type(message) is not Inbound:
                end.heard()
                return message
            message = end.take(message)
            if message is not BEAT:
                return message


def _coroutine(behavior: Behavior, handler: Any, interval: float) -> Behavior:
    takes = handler.request_streaming
    own_greeting = speaks(behavior)

    async def handle(request: Any, context: Any) -> Any:
        end = ServerEnd(context, interval, handler, own_greeting)
        try:
            return await behavior(Requests(request, end) if takes else request, InbandContext(context, end))
        finally:
            end.stop()
            await end.settle()

    return handle


def _generator(behavior: Behavior, handler: Any, interval: float, own_greeting: bool) -> Behavior:
    takes = handler.request_streaming

    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        end = ServerEnd(context, interval, handler, own_greeting)
        responses = behavior(Requests(request, end) if takes else request, InbandContext(context, end))
        try:
            async for response in responses:
                await end.before_message()
                yield response
                end.after_message()
        finally:
            end.stop()
            await end.settle()

    return handle

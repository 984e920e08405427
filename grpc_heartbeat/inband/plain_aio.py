"""In-band keepalive for handlers of an asyncio server that are plain functions.

The server runs these in its thread pool and gives them contexts that block. Of those with one response, only the requests
and the context are wrapped here. Those with a stream of responses cannot stay what they are: grpc.aio would take beats
from them only together with their own messages, through a queue that keeps the thread for ever when the RPC ends at the wrong
moment. So they are made into asynchronous generators, each stepped in a thread of its own, and beats go beside them as
beside others.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from grpc_heartbeat._types import Behavior
from grpc_heartbeat.inband.end import without
from grpc_heartbeat.inband.greeting import Merged, lost, says_something
from grpc_heartbeat.inband.server import Requests, ServerEnd, new_token
from grpc_heartbeat.interceptors.speaking import speaks

if TYPE_CHECKING:
    import grpc

_OVER: Any = object()


def one_response(behavior: Behavior, interval: float) -> Behavior:
    """Return ``behavior``, which takes a stream of requests, with requests and context of ours."""
    own_greeting = speaks(behavior)

    def handle(requests: Any, context: Any) -> Any:
        end = ServerEnd(interval, echoes=False)
        end.sends = False
        end.token = new_token()
        inband = PlainContext(context, end.token)
        if own_greeting:
            return behavior(Requests(requests, end), inband)
        return behavior(_GreetingRequests(requests, end, inband), inband)

    return handle


def stepped(behavior: Behavior, takes: bool) -> Behavior:
    """Return the plain generator function ``behavior`` as an asynchronous one.

    Args:
        behavior: The handler's.
        takes: Whether it takes a stream of requests.
    """

    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        if takes:
            request = _BlockingRequests(request, loop)
        responses = behavior(request, BlockingContext(context, loop))
        thread = ThreadPoolExecutor(1, thread_name_prefix="grpc-heartbeat-handler")
        try:
            while (response := await loop.run_in_executor(thread, _step, responses)) is not _OVER:
                yield response
        finally:
            thread.shutdown(wait=False)

    return handle


def _step(responses: Any) -> Any:
    return next(responses, _OVER)


class _BlockingRequests(Iterator[Any]):
    def __init__(self, requests: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._next = requests.__aiter__().__anext__
        self._loop = loop

    def __next__(self) -> Any:
        request = asyncio.run_coroutine_threadsafe(self._read(), self._loop).result()
        if request is _OVER:
            raise StopIteration
        return request

    async def _read(self) -> Any:
        try:
            return await self._next()
        except StopAsyncIteration:  # cannot pass through a future
            return _OVER


class _StandIn:
    def __init__(self, context: Any) -> None:
        self._context = context

    @property  # type: ignore[misc]  # mypy knows __class__ as an attribute; isinstance() asks for it
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # nobody stores it
        return type(self._context)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class BlockingContext(_StandIn):
    """The context of an asyncio handler for code that runs in a thread: what grpc.aio gives to plain functions."""

    def __init__(self, context: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(context)
        self._loop = loop

    def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> Any:
        return self._wait(self._context.abort(code, details, trailing_metadata))

    def abort_with_status(self, status: Any) -> Any:
        return self._wait(self._context.abort_with_status(status))

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        self._wait(self._context.send_initial_metadata(initial_metadata))

    def add_callback(self, callback: Any) -> None:
        self._context.add_done_callback(lambda _: callback())

    def _wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


class PlainContext(_StandIn):
    """Adds our entry to the initial metadata of a context that blocks."""

    def __init__(self, context: Any, token: bytes) -> None:
        super().__init__(context)
        self._token = token
        self._lock = threading.Lock()
        self._sent = False
        self._early = False

    def invocation_metadata(self) -> Any:
        metadata = self._context.invocation_metadata()
        return metadata if metadata is None else tuple(without(metadata))

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        with self._lock:
            if not self._early:
                self._context.send_initial_metadata(Merged(initial_metadata, self._token))
                self._sent = True
                return
        if says_something(initial_metadata):
            self._early = False  # a second time is the handler's own mistake
            lost()

    def _greet(self) -> None:
        """Send initial metadata if nobody has. In a thread of the pool."""
        with self._lock:
            if self._sent:
                return
            try:
                self._context.send_initial_metadata(Merged((), self._token))
            except Exception:  # the RPC is over
                return
            self._sent = self._early = True


class _GreetingRequests(Requests):
    """Answers the client's offer when the handler asks for a request: it may have to wait for it."""

    __slots__ = ("_context",)

    def __init__(self, requests: Any, end: ServerEnd, context: PlainContext) -> None:
        super().__init__(requests, end)
        self._context: PlainContext | None = context

    def __next__(self) -> Any:
        context, self._context = self._context, None
        if context is not None:
            context._greet()
        return super().__next__()

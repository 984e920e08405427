"""Accepting RPCs early on the asyncio stack: their initial metadata is sent while their handler still runs.

The loop's timer does that, in a task of its own beside the handler's. While such a sending is under way, grpc.aio takes the
initial metadata for unsent, so a response, an abort or an error of the handler's would send them once more, and gRPC would
refuse the batch as a whole: the RPC would end without its status. Nothing public says whether a sending is under way, and
grpcio's contexts can be neither changed nor derived from. So handlers that may be accepted early get a context that stands
before grpcio's: whatever sends waits for our sending first, and everything else is handed on. ``isinstance`` takes it for the
one behind it. A handler that names ``send_initial_metadata`` gets grpcio's own (``interceptors.speaking``).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any, Protocol

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat.core.accept import AcceptQueue, Candidate
from grpc_heartbeat.core.server_events import RpcAccepted
from grpc_heartbeat.interceptors.method import Method
from grpc_heartbeat.interceptors.speaking import heard, lost


class Accepted(Candidate, Protocol):
    """An RPC that a ``LoopDriver`` accepts."""

    def accept(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send its initial metadata. Called on the loop."""


class LoopDriver:
    """Accepts the RPCs of one server that have run for ``after`` seconds on ``loop``."""

    def __init__(self, after: float, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._alarm = loop_timers(loop).alarm(self.wake)
        self.queue: AcceptQueue[Accepted] = AcceptQueue(after, self._set_alarm)

    def describe(self) -> str:
        """Return what the alarm is for."""
        return f"RPCs to be accepted after {self.queue.after:g} s"

    def wake(self) -> None:
        """Accept what is due."""
        for context in self.queue.due(monotonic()):
            try:
                context.accept(self.loop)
            except Exception as error:
                _faults.record("server.accept_aio", error)

    def _set_alarm(self, when: float) -> None:
        self._alarm.arm(self.loop.time() + (when - monotonic()))  # the loop's clock may be another


class EarlyAccept:
    """The early accepting of a server's RPCs after one delay, on whatever loop the server runs."""

    def __init__(self, after: float) -> None:
        self._after = after
        self._driver: LoopDriver | None = None

    def watch(self, rpc: Accepted, loop: asyncio.AbstractEventLoop) -> None:
        """Accept the RPC when its time comes, if it is pending then. From any thread."""
        driver = self._driver
        if driver is None or driver.loop is not loop:
            driver = self._driver = LoopDriver(self._after, loop)
        queue = driver.queue  # what its ``add`` does, without its frame
        queue.entries.append(rpc)
        if not queue.attended:
            queue.attend(rpc)


class RpcEnd(Protocol):
    """What is known on the loop about an RPC whose handler is a plain function."""

    over: bool
    sending: threading.Lock
    """Held while something is sent that the handler did not send."""


class _StandIn:
    """Stands before ``context``, which it hands everything on to."""

    pending = True
    _accepted = False

    def __init__(self, context: Any, method: Method, began: float) -> None:
        self._context = context
        self._method = method
        self.began = began

    @property  # type: ignore[misc]  # mypy knows __class__ as an attribute; isinstance() asks for it
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # nobody stores it
        return type(self._context)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._context, name)
        if callable(value):
            self.__dict__[name] = value  # found at once from now on
        return value

    def set_compression(self, compression: Any) -> None:
        try:
            self._context.set_compression(compression)
        except RuntimeError:
            if not self._accepted:
                raise
            lost(self._method, "set the compression")

    def _told(self) -> None:
        self._accepted = True
        self._method.server.tell(RpcAccepted(monotonic(), self._method.path))


class AcceptingContext(_StandIn):
    """For handlers that are coroutines or asynchronous generators."""

    sending: asyncio.Task[None] | None = None

    def accept(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send initial metadata in a task of its own."""
        self.pending = False
        self.sending = loop.create_task(self._send())

    async def _send(self) -> None:
        try:
            await self._context.send_initial_metadata(())
        except (
            Exception
        ):  # the handler was first, by a helper that got hold of grpcio's own context, or the RPC is over
            return
        self._told()

    async def settle(self) -> None:
        """Return when no sending of ours is under way, nor will be."""
        self.pending = False
        if self.sending is not None:
            await asyncio.wait({self.sending})
            self.sending = None

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        heard(self._method)
        await self.settle()
        if self._accepted:
            self._accepted = False  # a second time is the handler's own mistake
            lost(self._method, "send initial metadata")
            return
        await self._context.send_initial_metadata(initial_metadata)

    async def write(self, message: Any) -> None:
        await self.settle()
        self.__dict__["write"] = self._context.write
        await self._context.write(message)

    async def abort(self, code: grpc.StatusCode, *args: Any, **kwargs: Any) -> Any:
        await self.settle()
        return await self._context.abort(code, *args, **kwargs)

    async def abort_with_status(self, status: Any) -> Any:
        await self.settle()
        return await self._context.abort_with_status(status)

    def add_done_callback(self, callback: Any) -> None:
        self._context.add_done_callback(lambda _: callback(self))


class PlainAcceptingContext(_StandIn):
    """For plain functions, which run in a thread. Their contexts block, so ours is sent by a thread too."""

    def __init__(self, context: Any, method: Method, began: float, end: RpcEnd) -> None:
        super().__init__(context, method, began)
        self._end = end

    def accept(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send initial metadata in one of the loop's default threads."""
        loop.run_in_executor(None, self._send)

    def _send(self) -> None:
        with self._end.sending:
            if not self.pending:
                return
            self.pending = False
            try:
                self._context.send_initial_metadata(_UnlessOver(self._end))
            except Exception:  # the handler was first, or the RPC is over
                return
        self._told()

    def settle(self) -> None:
        """Return when no sending of ours is under way, nor will be."""
        with self._end.sending:
            self.pending = False

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        heard(self._method)
        self.settle()
        if self._accepted:
            self._accepted = False  # a second time is the handler's own mistake
            lost(self._method, "send initial metadata")
            return
        self._context.send_initial_metadata(initial_metadata)

    def abort(self, code: grpc.StatusCode, *args: Any, **kwargs: Any) -> Any:
        self.settle()
        return self._context.abort(code, *args, **kwargs)


class _UnlessOver:
    """Empty metadata. grpc.aio reads it on the loop just before it sends: the last moment to see that the RPC has ended."""

    def __init__(self, end: RpcEnd) -> None:
        self._end = end

    def __iter__(self) -> Iterator[Any]:
        if self._end.over:
            raise RuntimeError("the RPC has ended")
        return iter(())

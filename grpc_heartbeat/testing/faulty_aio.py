"""Faults on the asyncio stack. The end of an RPC cancels its task, and with that whatever waits in it.

Nothing tells a handler that is a plain function, so that is wrapped anew for each RPC, in the RPC's own task: the end of the
task ends the waiting in the thread, without an exception, which nobody would take. Each wrapper is of the same kind as what it
wraps, because grpc.aio looks at that.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat._types import Behavior
from grpc_heartbeat.interceptors.handlers import HandlerCache, behavior_of, keep_marks, with_behavior
from grpc_heartbeat.testing.fault_plan import Fault, FaultPlan, Strikes


class AioFaultServerInterceptor(grpc.aio.ServerInterceptor):
    """Injects the faults of a plan. Calls are counted in the order in which they arrive here."""

    def __init__(self, plan: FaultPlan) -> None:
        self._strikes = Strikes(plan)
        self._handlers = HandlerCache(self._wrap)

    def injected(self) -> dict[str, int]:
        """Return how many calls of each method were struck, by names without a leading slash."""
        return self._strikes.injected()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or (fault := self._strikes.next(method)) is None:
            return handler
        behavior = behavior_of(handler)
        if inspect.iscoroutinefunction(behavior) or inspect.isasyncgenfunction(behavior):
            return self._handlers.get(method, handler)
        wrap = _plain_stream if handler.response_streaming else _plain_response
        return with_behavior(handler, keep_marks(behavior, wrap(behavior, PlainRpc(fault, method))))

    def _wrap(self, method: str, handler: Any) -> Any:
        fault = self._strikes.plan.fault(method)
        assert fault is not None
        behavior = behavior_of(handler)
        if inspect.isasyncgenfunction(behavior):
            wrapper = _generator(behavior, fault, method)
        else:
            wrapper = _coroutine(behavior, fault, method, writes=handler.response_streaming)
        return with_behavior(handler, keep_marks(behavior, wrapper))


async def _before(fault: Fault, method: str, context: Any) -> None:
    """Do what comes before the handler. Raises where the handler is not to run."""
    if fault.never_answer:
        await asyncio.get_running_loop().create_future()
    await asyncio.sleep(fault.delay)
    if fault.code is not None:
        await context.abort(fault.code, fault.said(method))


def _coroutine(behavior: Behavior, fault: Fault, method: str, *, writes: bool) -> Behavior:
    async def handle(request: Any, context: Any) -> Any:
        await _before(fault, method, context)
        if not fault.message_delay:
            return await behavior(request, context)
        if writes:
            return await behavior(request, SlowContext(context, fault.message_delay))
        response = await behavior(request, context)
        await asyncio.sleep(fault.message_delay)
        return response

    return handle


def _generator(behavior: Behavior, fault: Fault, method: str) -> Behavior:
    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        await _before(fault, method, context)
        async with aclosing(behavior(request, context)) as responses:
            async for response in responses:
                await asyncio.sleep(fault.message_delay)
                yield response

    return handle


class SlowContext:
    """Stands before ``context`` and waits before each message that is written; everything else is handed on."""

    def __init__(self, context: Any, message_delay: float) -> None:
        self._context = context
        self._message_delay = message_delay

    @property  # type: ignore[misc]  # mypy knows __class__ as an attribute; isinstance() asks for it
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # nobody stores it
        return type(self._context)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, message: Any) -> None:
        await asyncio.sleep(self._message_delay)
        await self._context.write(message)


class PlainRpc:
    """One RPC that is struck, whose handler runs in a thread. Made in the RPC's task."""

    def __init__(self, fault: Fault, method: str) -> None:
        self._fault = fault
        self._method = method
        self._over = threading.Event()
        task = asyncio.current_task()
        if task is not None:
            task.add_done_callback(lambda _: self._over.set())

    def before(self, context: Any) -> bool:
        """Do what comes before the handler; return whether it is to run."""
        fault = self._fault
        if self._over_after(None if fault.never_answer else fault.delay):
            return False
        if fault.code is None:
            return True
        context.abort(fault.code, fault.said(self._method))  # in grpcio 1.66 this returns
        return False

    def before_message(self) -> bool:
        """Do what comes before a response message; return whether it is to be sent."""
        return not self._over_after(self._fault.message_delay)

    def _over_after(self, seconds: float | None) -> bool:
        """Wait, and return whether the RPC ended meanwhile; ``None`` waits for just that."""
        return seconds != 0 and self._over.wait(seconds)


def _plain_response(behavior: Behavior, rpc: PlainRpc) -> Behavior:
    def handle(request: Any, context: Any) -> Any:
        if not rpc.before(context):
            return None
        response = behavior(request, context)
        rpc.before_message()
        return response

    return handle


def _plain_stream(behavior: Behavior, rpc: PlainRpc) -> Behavior:
    def handle(request: Any, context: Any) -> Iterator[Any]:
        """Its steps run in the pool; a handler's call itself would run on the loop."""
        if rpc.before(context):
            for response in behavior(request, context):
                if not rpc.before_message():
                    return
                yield response

    return handle

"""Faults on the sync stack. A delay waits for an event that the end of the RPC sets, so no worker is kept beyond that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from grpc_heartbeat._types import Behavior
from grpc_heartbeat.interceptors.handlers import HandlerCache, behavior_of, keep_marks, with_behavior
from grpc_heartbeat.testing.fault_plan import Fault, FaultPlan, Strikes


class FaultServerInterceptor(grpc.ServerInterceptor):
    """Injects the faults of a plan. Calls are counted in the order in which gRPC hands them out."""

    def __init__(self, plan: FaultPlan) -> None:
        self._strikes = Strikes(plan)
        self._handlers = HandlerCache(self._wrap)

    def injected(self) -> dict[str, int]:
        """Return how many calls of each method were struck, by names without a leading slash."""
        return self._strikes.injected()

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or self._strikes.next(method) is None:
            return handler
        return self._handlers.get(method, handler)

    def _wrap(self, method: str, handler: Any) -> Any:
        fault = self._strikes.plan.fault(method)
        assert fault is not None
        behavior = behavior_of(handler)
        if getattr(behavior, "experimental_non_blocking", False):
            wrap = _non_blocking
        else:
            wrap = _response_stream if handler.response_streaming else _one_response
        return with_behavior(handler, keep_marks(behavior, wrap(behavior, fault, method)))


class Rpc:
    """One RPC that is struck.

    Attributes:
        over: Set when it has ended.
    """

    def __init__(self, fault: Fault, method: str, context: Any) -> None:
        self._fault = fault
        self._method = method
        self._context = context
        self.over = threading.Event()
        if not context.add_callback(self.over.set):
            self.over.set()

    def before(self) -> None:
        """Do what comes before the handler. Raises where the handler is not to run."""
        fault = self._fault
        self.wait(None if fault.never_answer else fault.delay)
        if fault.code is not None:
            self._context.abort(fault.code, fault.said(self._method))

    def before_message(self) -> None:
        """Do what comes before a response message. Raises where it is not to be sent."""
        self.wait(self._fault.message_delay)

    def wait(self, seconds: float | None) -> None:
        """Wait; raises if the RPC ends meanwhile. ``None`` waits for just that."""
        if seconds != 0 and self.over.wait(seconds):  # nobody hears of the status any more
            self._context.abort(grpc.StatusCode.CANCELLED, self._fault.said(self._method))


def _one_response(behavior: Behavior, fault: Fault, method: str) -> Behavior:
    def handle(request: Any, context: Any) -> Any:
        rpc = Rpc(fault, method, context)
        rpc.before()
        response = behavior(request, context)
        rpc.before_message()
        return response

    return handle


def _response_stream(behavior: Behavior, fault: Fault, method: str) -> Behavior:
    def handle(request: Any, context: Any) -> Any:
        rpc = Rpc(fault, method, context)
        rpc.before()
        responses = behavior(request, context)
        return SlowResponses(responses, rpc) if fault.message_delay else responses

    return handle


def _non_blocking(behavior: Behavior, fault: Fault, method: str) -> Behavior:
    """What never answers returns at once and leaves the RPC open: it has no worker to keep."""

    def handle(request: Any, context: Any, send_response: Any) -> Any:
        if fault.never_answer:
            return None
        rpc = Rpc(fault, method, context)
        rpc.before()
        if not fault.message_delay:
            return behavior(request, context, send_response)

        def send_late(response: Any) -> None:
            if response is not None:  # which ends the stream
                rpc.over.wait(fault.message_delay)
            send_response(response)

        return behavior(request, context, send_late)

    return handle


class SlowResponses:
    """Waits before it hands on each of ``responses``."""

    def __init__(self, responses: Any, rpc: Rpc) -> None:
        self._responses = responses
        self._rpc = rpc

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        response = next(self._responses)
        self._rpc.before_message()
        return response

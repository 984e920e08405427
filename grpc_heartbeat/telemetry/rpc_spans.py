"""Spans of business RPCs: what they are called, what they say, and that each ends exactly once.

Names and attributes are those of ``opentelemetry-instrumentation-grpc``, so that dashboards made for it go on to work; beside
them stand facts about the deadline (``deadline_facts``).

    span name               the method's full name, "/package.Service/Method"
    rpc.system              "grpc"
    rpc.service, rpc.method the two parts of the name
    rpc.grpc.status_code    the status with which the RPC ended, as a number
    grpc_heartbeat.deadline.limit, .remaining_at_entry, .remaining_at_exit, .layer, .source, .elapsed

An error status is set as the semantic conventions want it: on clients for every status but OK, on servers only for those that
are the server's own fault.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

import grpc
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from grpc_heartbeat import _faults
from grpc_heartbeat.core.deadline import UNLIMITED_ABOVE
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.telemetry.deadline_facts import NAMESPACE

SCOPE = "grpc_heartbeat.rpc"

UNTRACED = ("/grpc_heartbeat.v1.", "/grpc.health.v1.", "/opentelemetry.proto.collector.")
"""Methods that are left alone: heartbeats have spans of their own, and an exporter that traced itself would never end."""

_SERVER_FAULTS = frozenset(
    (
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
)
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
_ending = threading.Lock()


def untraced(method: str) -> bool:
    """Return whether RPCs of ``method`` get no span."""
    return method.startswith(UNTRACED)


class RpcSpan:
    """A span and its one end. Thread-safe.

    Args:
        tracer: Makes it.
        method: The full name of the RPC's method.
        kind: CLIENT or SERVER.
        left: Seconds of the RPC's budget, if it has one: the huge number that the sync stack has for none is none.
        parent: The context in which it starts. Default: the current one.
    """

    def __init__(
        self, tracer: trace.Tracer, method: str, kind: SpanKind, left: float | None, parent: Context | None = None
    ) -> None:
        service, _, name = method.lstrip("/").rpartition("/")
        attributes: dict[str, Any] = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        if left is not None:
            if left <= UNLIMITED_ABOVE:
                attributes[NAMESPACE + "remaining_at_entry"] = left
            else:
                left = None
        self._server = kind is SpanKind.SERVER
        self._deadline = None if left is None else monotonic() + left
        self._ended = False
        self.span: Span = tracer.start_span(method, parent, kind, attributes)

    def end(self, code: Any, details: str | None = None, facts: TimeoutFacts | None = None) -> None:
        """End the span with the status ``code`` (gRPC's or its number; ``None`` is OK). Later ends do nothing. Never raises."""
        with _ending:
            if self._ended:
                return
            self._ended = True
        try:
            span = self.span
            if span.is_recording():
                self._tell(span, status_code(code), details or "", facts)
            span.end()
        except Exception as error:
            _faults.record("telemetry.rpc_spans.end", error)

    def _tell(self, span: Span, code: grpc.StatusCode, details: str, facts: TimeoutFacts | None) -> None:
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if self._deadline is not None:
            span.set_attribute(NAMESPACE + "remaining_at_exit", self._deadline - monotonic())
        if facts is not None:
            for name in ("layer", "limit", "source", "elapsed"):
                value = getattr(facts, name)
                if value is not None:
                    span.set_attribute(NAMESPACE + name, value)
        if code in _SERVER_FAULTS if self._server else code is not grpc.StatusCode.OK:
            span.set_status(Status(StatusCode.ERROR, f"{code.name}: {details}" if details else code.name))


class Current:
    """Makes a span current for a block, and does nothing else to it: ``trace.use_span`` takes three times as long."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token: Any = None

    def __enter__(self) -> None:
        self._token = context.attach(trace.set_span_in_context(self._span))

    def __exit__(self, *_: object) -> None:
        context.detach(self._token)


def status_code(code: Any) -> grpc.StatusCode:
    """Return the status code that ``code``, gRPC's own or its number, stands for; ``None`` stands for OK."""
    if isinstance(code, grpc.StatusCode):
        return code
    if code is None:
        return grpc.StatusCode.OK
    return _BY_NUMBER.get(code, grpc.StatusCode.UNKNOWN)

"""A node's OpenTelemetry: real OTLP export, and the official gRPC instrumentation for the shop's own calls.

Heartbeats make their own spans, so the instrumentation leaves them out, and health with them. The exporter's channel is an
ordinary one that nothing instruments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation import grpc as instrumentation_module
from opentelemetry.instrumentation.grpc import filters, grpcext
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, Status, StatusCode

from grpc_heartbeat.config import Identity

instrumentation: Any = instrumentation_module  # its functions have no types

EXPORT_DELAY_MILLIS = 200
FLUSH_MILLIS = 5_000

SHOP_ONLY: Any = filters.negate(
    filters.any_of(filters.service_name("grpc_heartbeat.v1.Heartbeat"), filters.health_check())
)


class _Ended(SpanProcessor):
    """Counts the spans that ended and are to be exported."""

    count = 0

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        self.count += context is not None and context.trace_flags.sampled

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True  # older SDKs inherit None, and take that for a failure that ends the provider's flush here


class _Delivered(SpanExporter):
    """Counts the spans that ``inner`` says it delivered: the provider's flush succeeds even when its exports fail."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.count += len(spans)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class Tracing:
    """Becomes the process's tracing when made. The exporter reads the standard ``OTEL_EXPORTER_OTLP_…`` variables."""

    def __init__(self, identity: Identity) -> None:
        self._provider = TracerProvider(resource=resource(identity))
        self._ended, self._delivered = _Ended(), _Delivered(OTLPSpanExporter())
        self._provider.add_span_processor(self._ended)
        batches = BatchSpanProcessor(self._delivered, schedule_delay_millis=EXPORT_DELAY_MILLIS)
        self._provider.add_span_processor(batches)
        trace.set_tracer_provider(self._provider)

    def flush(self) -> dict[str, int]:
        """Export what there is; return how many spans ended and how many of them the receiver took."""
        self._provider.force_flush(FLUSH_MILLIS)
        return {"ended": self._ended.count, "delivered": self._delivered.count}


def resource(identity: Identity) -> Resource:
    """Return who the process is, as its spans and metrics say it."""
    return Resource.create(
        {
            "service.name": identity.service,
            "service.instance.id": identity.instance,
            "cloud.availability_zone": identity.zone,
        }
    )


def server_interceptor() -> Any:
    """Return the official interceptor of the sync stack."""
    return instrumentation.server_interceptor(filter_=SHOP_ONLY)


def aio_server_interceptor() -> Any:
    """Return the official interceptor of the asyncio stack."""
    return instrumentation.aio_server_interceptor(filter_=SHOP_ONLY)


def traced_channel(target: str) -> grpc.Channel:
    """Return an ordinary sync channel with the official instrumentation."""
    intercept: Any = grpcext.intercept_channel
    interceptor = instrumentation.client_interceptor(filter_=SHOP_ONLY)
    channel: grpc.Channel = intercept(grpc.insecure_channel(target), interceptor)
    return channel


def aio_client_interceptors(tracer_provider: trace.TracerProvider | None = None) -> list[grpc.aio.ClientInterceptor]:
    """Return the official interceptors of the asyncio stack, with what they lack."""
    official = instrumentation.aio_client_interceptors(tracer_provider, SHOP_ONLY, request_hook=_remember)
    return [EndCancelledSpans(), *official]


_call_span: ContextVar[Span | None] = ContextVar("call_span", default=None)


def _remember(span: Span, _request: Any) -> None:
    _call_span.set(span)


class EndCancelledSpans(grpc.aio.UnaryUnaryClientInterceptor):
    """Ends the span of a cancelled call, which the instrumentation leaves open: the spans below it would be orphans.

    It stands before the instrumentation, whose request hook runs in the same task and so tells it the span.
    """

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        try:
            return await continuation(client_call_details, request)
        except asyncio.CancelledError:
            span = _call_span.get()
            if span is not None and span.is_recording():
                span.set_attribute("rpc.grpc.status_code", grpc.StatusCode.CANCELLED.value[0])
                span.set_status(Status(StatusCode.ERROR, "the call was cancelled"))
                span.end()
            raise

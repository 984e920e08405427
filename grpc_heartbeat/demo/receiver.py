"""A small OTLP/gRPC receiver: the service to which every OpenTelemetry exporter sends its spans, here kept in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from grpc_heartbeat.demo.traces import Attribute, SpanRecord

_KINDS = {
    trace_pb2.Span.SPAN_KIND_CLIENT: "client",
    trace_pb2.Span.SPAN_KIND_SERVER: "server",
    trace_pb2.Span.SPAN_KIND_PRODUCER: "producer",
    trace_pb2.Span.SPAN_KIND_CONSUMER: "consumer",
}


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """``opentelemetry.proto.collector.trace.v1.TraceService`` on a loopback port, from ``with`` to its end.

    Attributes:
        endpoint: The URL for ``OTEL_EXPORTER_OTLP_ENDPOINT``.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self._lock = threading.Lock()
        self._spans: dict[tuple[str, str], SpanRecord] = {}
        self._pool = ThreadPoolExecutor(2, "otlp-receiver")
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call, unused-ignore]

    def Export(  # noqa: N802 - as the .proto names it
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: Any,
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Take a batch. A batch that is sent again, because its answer got lost, counts once."""
        with self._lock:
            for span in _spans(request.resource_spans):
                self._spans[span.trace_id, span.span_id] = span
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self) -> list[SpanRecord]:
        """Return what has arrived so far."""
        with self._lock:
            return list(self._spans.values())

    def __enter__(self) -> Receiver:
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.endpoint = f"http://127.0.0.1:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(0).wait()
        self._pool.shutdown()


def _spans(resources: Iterable[trace_pb2.ResourceSpans]) -> Iterable[SpanRecord]:
    for resource_spans in resources:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _record(span, resource)


def _record(span: trace_pb2.Span, resource: dict[str, Attribute]) -> SpanRecord:
    return SpanRecord(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=_KINDS.get(span.kind, "internal"),
        service=str(resource.get("service.name", "")),
        zone=str(resource.get("cloud.availability_zone", "")),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        attributes=_attributes(span.attributes),
    )


def _attributes(pairs: Iterable[Any]) -> dict[str, Attribute]:
    """Return the attributes that are plain values; the demo looks at no others."""
    plain = ("string_value", "int_value", "double_value", "bool_value")
    values = ((pair.key, pair.value.WhichOneof("value"), pair.value) for pair in pairs)
    return {key: getattr(value, which) for key, which, value in values if which in plain}

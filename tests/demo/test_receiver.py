"""The receiver understands what the real exporter sends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode

from grpc_heartbeat.demo.receiver import Receiver
from grpc_heartbeat.demo.traces import grow


@contextmanager
def exporting(receiver: Receiver) -> Iterator[TracerProvider]:
    resource = Resource.create({"service.name": "orders", "cloud.availability_zone": "eu-1"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=receiver.endpoint)))
    try:
        yield provider
    finally:
        provider.shutdown()


def test_spans_arrive_with_their_parents_kinds_labels_and_errors() -> None:
    with Receiver() as receiver:
        with exporting(receiver) as provider:
            tracer = provider.get_tracer("test")
            with tracer.start_as_current_span(
                "call", kind=SpanKind.CLIENT, attributes={"n": 7, "s": "x", "list": [1]}
            ) as call:
                with tracer.start_as_current_span("work"):
                    pass
                call.set_status(Status(StatusCode.ERROR))
        (trace,) = grow(receiver.spans())
    call_record, work = trace.spans()
    assert (call_record.name, call_record.kind, call_record.failed) == ("call", "client", True)
    assert (work.kind, work.failed, work.parent_id) == ("internal", False, call_record.span_id)
    assert (work.service, work.zone) == ("orders", "eu-1")
    assert call_record.attributes == {"n": 7, "s": "x"}
    assert call_record.start <= work.start <= work.end <= call_record.end


def test_a_batch_that_is_sent_again_counts_once() -> None:
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("test").start_span("once").end()
    with Receiver() as receiver:
        exporter = OTLPSpanExporter(endpoint=receiver.endpoint)
        exporter.export(memory.get_finished_spans())
        exporter.export(memory.get_finished_spans())
        exporter.shutdown()
        assert [known.name for known in receiver.spans()] == ["once"]

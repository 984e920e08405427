"""Variants with telemetry turned on: this library's metrics, its tracing, and OpenTelemetry's with the same processor.

Metrics listen to a whole process. So they are turned on for the calls only that they are measured with: on clients by the scope
that a call is made in, which is entered before the clock starts, on servers by a call before it.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def provider() -> Any:
    """Return a tracer provider that hands spans to a batch processor, whose exporter throws them away."""
    sdk = importlib.import_module("opentelemetry.sdk.trace")
    export = importlib.import_module("opentelemetry.sdk.trace.export")

    class Nowhere(export.SpanExporter):  # type: ignore[name-defined,misc]  # loaded when it is there
        def export(self, spans: Sequence[Any]) -> Any:
            return export.SpanExportResult.SUCCESS

    tracers = sdk.TracerProvider()
    tracers.add_span_processor(export.BatchSpanProcessor(Nowhere()))
    return tracers


@functools.cache
def _metrics() -> Any:
    sdk = importlib.import_module("opentelemetry.sdk.metrics")
    reader = importlib.import_module("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
    made = importlib.import_module("grpc_heartbeat.telemetry.metrics").Metrics
    return made(sdk.MeterProvider([reader]))


_on = False


def measure(on: bool) -> None:
    """Turn this library's metrics on or off; their provider has a reader in memory."""
    global _on
    if on is not _on:
        _on = on
        (_metrics().start if on else _metrics().stop)()


@contextmanager
def measured() -> Iterator[None]:
    """Turn metrics on for a block."""
    measure(True)
    try:
        yield
    finally:
        measure(False)


def traced(channel: Any) -> Any:
    """Return ``channel`` with this library's tracing around it."""
    return importlib.import_module("grpc_heartbeat.telemetry").trace_channel(channel, tracer_provider=provider())


def client_interceptors(stack: str) -> list[Any]:
    """Return this library's tracing interceptors for channels of ``stack``."""
    ours = importlib.import_module("grpc_heartbeat.telemetry")
    make = ours.client_interceptors if stack == "sync" else ours.aio_client_interceptors
    return list(make(tracer_provider=provider()))


def server_interceptors(stack: str) -> list[Any]:
    """Return this library's tracing interceptors for servers of ``stack``."""
    ours = importlib.import_module("grpc_heartbeat.telemetry")
    make = ours.server_interceptors if stack == "sync" else ours.aio_server_interceptors
    return list(make(tracer_provider=provider()))

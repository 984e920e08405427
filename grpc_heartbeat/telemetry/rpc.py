"""Interceptors that trace business RPCs, for both stacks."""

from __future__ import annotations

from typing import Any

import grpc.aio

from grpc_heartbeat.telemetry.rpc_client import TracingClientInterceptor
from grpc_heartbeat.telemetry.rpc_client_aio import (
    StreamStreamTracing,
    StreamUnaryTracing,
    UnaryStreamTracing,
    UnaryUnaryTracing,
)
from grpc_heartbeat.telemetry.rpc_server import TracingServerInterceptor
from grpc_heartbeat.telemetry.rpc_server_aio import AioTracingServerInterceptor


def client_interceptors(*, tracer_provider: Any = None) -> list[TracingClientInterceptor]:
    """Return interceptors for ``grpc.intercept_channel`` that make a span for each call.

    Use them in place of ``opentelemetry-instrumentation-grpc``: attributes and names are the same, call objects stay gRPC's
    own, and each span ends once, however its call does. Put them around our channel or before our client interceptors.

    Args:
        tracer_provider: OpenTelemetry's. Default: the global one.
    """
    return [TracingClientInterceptor(tracer_provider)]


def server_interceptors(*, tracer_provider: Any = None) -> list[TracingServerInterceptor]:
    """Return interceptors for ``grpc.server`` that make a span for each RPC.

    Put them before ``grpc_heartbeat.server_interceptors()``, so that facts about the deadline find the span, and its time
    includes theirs. ``tracer_provider`` is OpenTelemetry's. Default: the global one.
    """
    return [TracingServerInterceptor(tracer_provider)]


def aio_client_interceptors(*, tracer_provider: Any = None) -> list[grpc.aio.ClientInterceptor]:
    """Return the interceptors of ``client_interceptors`` for ``grpc.aio`` channels, one per RPC kind."""
    kinds = (UnaryUnaryTracing, UnaryStreamTracing, StreamUnaryTracing, StreamStreamTracing)
    return [kind(tracer_provider) for kind in kinds]


def aio_server_interceptors(*, tracer_provider: Any = None) -> list[AioTracingServerInterceptor]:
    """Return the interceptors of ``server_interceptors`` for ``grpc.aio.server``."""
    return [AioTracingServerInterceptor(tracer_provider)]

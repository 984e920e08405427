"""Interceptors that trace business RPCs, for both stacks."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat.telemetry.channel import TracedChannel
from grpc_heartbeat.telemetry.channel_aio import AioTracedChannel
from grpc_heartbeat.telemetry.rpc_client import TracingClientInterceptor
from grpc_heartbeat.telemetry.rpc_client_aio import (
    StreamStreamTracing,
    StreamUnaryTracing,
    UnaryStreamTracing,
    UnaryUnaryTracing,
)
from grpc_heartbeat.telemetry.rpc_server import TracingServerInterceptor
from grpc_heartbeat.telemetry.rpc_server_aio import AioTracingServerInterceptor


def trace_channel(channel: Any, *, tracer_provider: Any = None) -> Any:
    """Return ``channel``, of either stack, with a span for each call that is made on what is returned.

    The spans are those of ``client_interceptors``. An interceptor costs a call as much as a span does, and this is none. Put it
    around everything else, so that the span includes the time of other interceptors. What else ``channel`` has, such as
    ``heartbeat``, the returned one has too, and closing it closes ``channel``.

    Args:
        channel: A ``grpc.Channel`` or a ``grpc.aio.Channel``.
        tracer_provider: OpenTelemetry's. Default: the global one.

    Raises:
        TypeError: ``channel`` is something else.
    """
    if isinstance(channel, grpc.Channel):
        return TracedChannel(channel, tracer_provider)
    if isinstance(channel, grpc.aio.Channel):
        return AioTracedChannel(channel, tracer_provider)
    raise TypeError(f"channel must be a grpc.Channel or a grpc.aio.Channel, not {type(channel).__name__} ({channel!r})")


def client_interceptors(*, tracer_provider: Any = None) -> list[TracingClientInterceptor]:
    """Return interceptors for ``grpc.intercept_channel`` that make a span for each call; ``trace_channel`` does it for less.

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

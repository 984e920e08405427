"""Channels with tracing around them, by interceptors or without."""

from __future__ import annotations

from typing import Any

import grpc

from grpc_heartbeat import telemetry


def traced(channel: Any, how: str, spans: Any) -> Any:
    """Return ``channel`` with tracing around it."""
    if how == "channel":
        return telemetry.trace_channel(channel, tracer_provider=spans.provider)
    return grpc.intercept_channel(channel, *telemetry.client_interceptors(tracer_provider=spans.provider))


def aio_traced(make: Any, target: str, how: str, spans: Any) -> Any:
    """Return a channel that ``make`` has made, with tracing around it."""
    if how == "channel":
        return telemetry.trace_channel(make(target), tracer_provider=spans.provider)
    return make(target, interceptors=telemetry.aio_client_interceptors(tracer_provider=spans.provider))

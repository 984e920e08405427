"""A node's metrics for Prometheus. The director names the first node's port; the others follow in the order of the chain."""

from __future__ import annotations

import os

from grpc_heartbeat.demo.topology import CHAIN, Place

BASE_PORT = "GRPC_HEARTBEAT_DEMO_METRICS_PORT"
"""The environment variable that holds the first node's port; without it nothing is measured."""


def environment(port: int) -> dict[str, str]:
    """Return what tells the nodes to measure; nothing for port 0."""
    return {BASE_PORT: str(port)} if port else {}


def serve(place: Place) -> None:
    """Measure this process, and answer scrapes on a thread of its own."""
    base = os.environ.get(BASE_PORT, "")
    if not base:
        return
    from opentelemetry import metrics
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import start_http_server

    from grpc_heartbeat import telemetry
    from grpc_heartbeat.demo.tracing import resource

    provider = MeterProvider([PrometheusMetricReader()], resource(place.identity()))
    metrics.set_meter_provider(provider)
    telemetry.instrument(meter_provider=provider)
    start_http_server(int(base) + CHAIN.index(place), addr="127.0.0.1")

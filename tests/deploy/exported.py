"""What this library's metrics are called in Prometheus: asked of the exporter, by making one value of each instrument."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.samples import Sample

from grpc_heartbeat.telemetry.metrics import Metrics

_OTHERS = ("python", "process", "target")
"""What begins the names of metrics that the exporter and its library add."""


class _Provider(MeterProvider):
    """Hands out a meter that gives every instrument a value as soon as it is made."""

    def get_meter(self, *arguments: Any, **more: Any) -> Any:
        return _Meter(super().get_meter(*arguments, **more))


class _Meter:
    def __init__(self, meter: Any) -> None:
        self._meter = meter

    @property
    def create_histogram(self) -> Any:
        @functools.wraps(self._meter.create_histogram)  # the library looks at the arguments that it takes
        def create(*arguments: Any, **more: Any) -> Any:
            histogram = self._meter.create_histogram(*arguments, **more)
            histogram.record(1)
            return histogram

        return create

    def create_observable_gauge(self, name: str, callbacks: Any, unit: str = "", description: str = "") -> Any:
        return self._meter.create_observable_gauge(name, [_one], unit, description)

    def create_observable_counter(self, name: str, callbacks: Any, unit: str = "", description: str = "") -> Any:
        return self._meter.create_observable_counter(name, [_one], unit, description)


def _one(_: CallbackOptions) -> list[Observation]:
    return [Observation(1)]


@contextmanager
def everything() -> Iterator[None]:
    """Let Prometheus' registry hold a value of everything that the library measures."""
    provider = _Provider(metric_readers=[PrometheusMetricReader()], shutdown_on_exit=False)
    try:
        Metrics(provider)
        yield
    finally:
        provider.shutdown()


def page() -> bytes:
    """Return what a scrape would be answered with."""
    with everything():
        return generate_latest(REGISTRY)


def samples() -> list[Sample]:
    """Return a sample of everything that the library registers."""
    with everything():
        families = list(REGISTRY.collect())
    return [sample for family in families if not family.name.startswith(_OTHERS) for sample in family.samples]


def names() -> set[str]:
    """Return the names that expressions may use."""
    return {sample.name for sample in samples()}

"""Reads metrics: as an SDK's reader collects them, and as Prometheus scrapes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader


class Meters:
    """A provider with a reader in memory."""

    def __init__(self, *readers: Any, **options: Any) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader, *readers], **options)

    def metrics(self) -> dict[str, Any]:
        """Return all metrics by name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str, **labels: str) -> list[Any]:
        """Return the points of ``name`` that have all ``labels``."""
        metric = self.metrics().get(name)
        points = [] if metric is None else metric.data.data_points
        return [point for point in points if labels.items() <= dict(point.attributes).items()]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the values, or of the counts, of those points."""
        points = self.points(name, **labels)
        return float(sum(point.value if hasattr(point, "value") else point.count for point in points))

    def close(self) -> None:
        self.provider.shutdown()


def labels_of(points: list[Any]) -> Iterator[Mapping[str, str]]:
    """Yield the labels of each point."""
    for point in points:
        yield dict(point.attributes)

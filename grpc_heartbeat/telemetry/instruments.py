"""How metrics are made: histograms with bounds for seconds, counters that cost a store, gauges that are looked at when read.

OpenTelemetry's counters and histograms take some 10 µs for each value. What happens with every beat or RPC is therefore counted
here (``Tally``), and OpenTelemetry asks for the sums when somebody reads the metrics.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import NonRecordingSpan, SpanContext

Labels: TypeAlias = "dict[str, str]"
Values: TypeAlias = "Callable[[], Iterable[tuple[Labels, float]]]"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of the buckets of all histograms. OpenTelemetry's own are made for milliseconds."""


class Instruments:
    """Makes instruments by ``meter``. Nothing is observed unless ``running``: instruments cannot be taken back."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._meter = meter
        self.running = False

    def histogram(self, name: str, description: str) -> Any:
        """Return a histogram of seconds."""
        if "explicit_bucket_boundaries_advisory" in inspect.signature(self._meter.create_histogram).parameters:
            return self._meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=SECONDS)
        return self._meter.create_histogram(
            name, "s", description
        )  # before 1.30: the application's views set the buckets

    def counter(self, name: str, unit: str, description: str, values: Values) -> None:
        """Make a counter of which ``values`` are the sums."""
        self._meter.create_observable_counter(name, [self._observed(values)], unit, description)

    def gauge(self, name: str, unit: str, description: str, values: Values) -> None:
        """Make a gauge of ``values``."""
        self._meter.create_observable_gauge(name, [self._observed(values)], unit, description)

    def _observed(self, values: Values) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            if self.running:
                for labels, value in values():
                    yield Observation(value, labels)

        return observe


def context_of(span: Any) -> Context | None:
    """Return the context in which to record a value that belongs to ``span``, a ``SpanContext``: exemplars link to it."""
    if isinstance(span, SpanContext) and span.is_valid:
        return trace.set_span_in_context(NonRecordingSpan(span), Context())
    return None


class Tally:
    """The sums of one counter by the values of its labels, whose names are ``names``. Thread-safe."""

    __slots__ = ("_lock", "_names", "_sums")

    def __init__(self, *names: str) -> None:
        self._names = names
        self._sums: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def add(self, *labels: str, amount: float = 1) -> None:
        """Add ``amount`` to the sum of these labels."""
        with self._lock:
            self._sums[labels] = self._sums.get(labels, 0) + amount

    def values(self) -> Iterator[tuple[Labels, float]]:
        """Yield each sum with its labels."""
        with self._lock:
            sums = list(self._sums.items())
        for labels, amount in sums:
            yield dict(zip(self._names, labels, strict=True)), amount

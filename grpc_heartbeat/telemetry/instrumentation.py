"""Turns metrics, and the deadline facts of spans, on and off."""

from __future__ import annotations

from typing import Any


class Instrumentation:
    """What ``instrument`` has turned on, until ``close``. Also a context manager."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts
        for part in parts:
            part.start()

    def close(self) -> None:
        """Turn it off again. Idempotent."""
        parts, self._parts = self._parts, ()
        for part in parts:
            part.stop()

    def __enter__(self) -> Instrumentation:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def instrument(*, meter_provider: Any = None, metrics: bool = True, spans: bool = True) -> Instrumentation:
    """Measure the heartbeats, deadlines and timers of this process, and say in spans what became of deadlines.

    Off by default. It covers every channel, heartbeat and server interceptor of ours, those made before included.

    Args:
        meter_provider: OpenTelemetry's. Default: the global one.
        metrics: Make metrics (docs/metrics.md). Default: yes.
        spans: Add facts about deadlines to spans that are current (``deadline_facts``). Default: yes.

    Raises:
        ValueError: there is nothing to turn on.
    """
    if not metrics and not spans:
        raise ValueError("instrument(metrics=False, spans=False) has nothing to turn on")
    parts: list[Any] = []
    if metrics:
        from grpc_heartbeat.telemetry.metrics import metrics_of

        parts.append(metrics_of(meter_provider))
    if spans:
        from grpc_heartbeat.telemetry.deadline_facts import DeadlineFacts

        parts.append(DeadlineFacts())
    return Instrumentation(*parts)

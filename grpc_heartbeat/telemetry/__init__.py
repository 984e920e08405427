"""Observers that turn events into telemetry. Nothing outside this package imports opentelemetry.

All but the spans of heartbeats is off until it is asked for: ``instrument()`` turns metrics and facts about deadlines in spans on,
a ``TimeoutLog`` writes one record per call that ended early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_heartbeat._lazy import loader

__all__ = [
    "Instrumentation",
    "JsonLinesSink",
    "LoggingSink",
    "OpenTelemetrySink",
    "TimeoutLog",
    "instrument",
]

if TYPE_CHECKING:
    from grpc_heartbeat.telemetry.instrumentation import Instrumentation, instrument
    from grpc_heartbeat.telemetry.timeout_log import TimeoutLog
    from grpc_heartbeat.telemetry.timeout_sinks import JsonLinesSink, LoggingSink, OpenTelemetrySink
else:
    __getattr__ = loader(
        __name__,
        {
            "Instrumentation": "grpc_heartbeat.telemetry.instrumentation",
            "JsonLinesSink": "grpc_heartbeat.telemetry.timeout_sinks",
            "LoggingSink": "grpc_heartbeat.telemetry.timeout_sinks",
            "OpenTelemetrySink": "grpc_heartbeat.telemetry.timeout_sinks",
            "TimeoutLog": "grpc_heartbeat.telemetry.timeout_log",
            "instrument": "grpc_heartbeat.telemetry.instrumentation",
        },
    )

"""Observers that turn events into telemetry. Nothing outside this package imports opentelemetry.

All but the spans of heartbeats is off until it is asked for: ``instrument()`` turns metrics on, and facts about deadlines in
spans; a ``TimeoutLog`` writes one record per call that ended early; ``sample_beats`` traces fewer beats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_heartbeat._lazy import loader

__all__ = [
    "BeatSampler",
    "Instrumentation",
    "JsonLinesSink",
    "LoggingSink",
    "OpenTelemetrySink",
    "TimeoutLog",
    "aio_client_interceptors",
    "aio_server_interceptors",
    "client_interceptors",
    "instrument",
    "sample_beats",
    "server_interceptors",
    "trace_channel",
]

if TYPE_CHECKING:
    from grpc_heartbeat.core.sampling import BeatSampler
    from grpc_heartbeat.telemetry.beats import sample_beats
    from grpc_heartbeat.telemetry.instrumentation import Instrumentation, instrument
    from grpc_heartbeat.telemetry.rpc import (
        aio_client_interceptors,
        aio_server_interceptors,
        client_interceptors,
        server_interceptors,
        trace_channel,
    )
    from grpc_heartbeat.telemetry.timeout_log import TimeoutLog
    from grpc_heartbeat.telemetry.timeout_sinks import JsonLinesSink, LoggingSink, OpenTelemetrySink
else:
    __getattr__ = loader(
        __name__,
        {
            "BeatSampler": "grpc_heartbeat.core.sampling",
            "Instrumentation": "grpc_heartbeat.telemetry.instrumentation",
            "JsonLinesSink": "grpc_heartbeat.telemetry.timeout_sinks",
            "LoggingSink": "grpc_heartbeat.telemetry.timeout_sinks",
            "OpenTelemetrySink": "grpc_heartbeat.telemetry.timeout_sinks",
            "TimeoutLog": "grpc_heartbeat.telemetry.timeout_log",
            "aio_client_interceptors": "grpc_heartbeat.telemetry.rpc",
            "aio_server_interceptors": "grpc_heartbeat.telemetry.rpc",
            "client_interceptors": "grpc_heartbeat.telemetry.rpc",
            "instrument": "grpc_heartbeat.telemetry.instrumentation",
            "sample_beats": "grpc_heartbeat.telemetry.beats",
            "server_interceptors": "grpc_heartbeat.telemetry.rpc",
            "trace_channel": "grpc_heartbeat.telemetry.rpc",
        },
    )

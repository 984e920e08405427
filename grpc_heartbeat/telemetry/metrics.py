"""Metrics of heartbeats, deadlines, pools and timers, by OpenTelemetry's API.

Theory of operation. The observers of this process (``_call_events.py``) hear where things happen, and note what they hear as
cheaply as they can: sums, a line per heartbeat, values that are kept. What has a value at any time is looked at when somebody
reads the metrics. Only the round trips of beats are recorded one by one.

Label values that strangers choose are bounded (``core/labels.py``). ``health_check_duration_seconds`` has that name in OTLP and
in Prometheus: the exporter adds the unit to names that do not end in it. docs/metrics.md lists all of them.
"""

from __future__ import annotations

from typing import Any

from opentelemetry import metrics

from grpc_heartbeat._call_events import beat_events, call_events, rpc_events, rpc_starts
from grpc_heartbeat.telemetry.beat_metrics import BeatMetrics
from grpc_heartbeat.telemetry.instruments import Instruments
from grpc_heartbeat.telemetry.pool_metrics import PoolMetrics
from grpc_heartbeat.telemetry.process_metrics import ProcessMetrics
from grpc_heartbeat.telemetry.rpc_metrics import RpcMetrics


class Metrics:
    """The instruments, and what feeds them from ``start`` to ``stop``.

    Args:
        meter_provider: Default: the global one.
    """

    def __init__(self, meter_provider: Any = None) -> None:
        self._instruments = Instruments(metrics.get_meter("grpc_heartbeat", meter_provider=meter_provider))
        self._beats = BeatMetrics(self._instruments)
        self._rpcs = RpcMetrics(self._instruments)
        self._process = ProcessMetrics(self._instruments)
        PoolMetrics(self._instruments)

    def start(self) -> None:
        """Begin to listen."""
        self._instruments.running = True
        call_events.add(self._rpcs.hear_call)
        rpc_starts.add(self._rpcs.hear_start)
        rpc_events.add(self._rpcs.hear_rpc)
        beat_events.add(self._beats.hear)
        self._process.start()

    def stop(self) -> None:
        """Stop to listen. Instruments cannot be taken back: they keep what they have."""
        self._instruments.running = False
        call_events.remove(self._rpcs.hear_call)
        rpc_starts.remove(self._rpcs.hear_start)
        rpc_events.remove(self._rpcs.hear_rpc)
        beat_events.remove(self._beats.hear)
        self._process.stop()

"""Metrics of heartbeats, deadlines, pools and timers, by OpenTelemetry's API.

Theory of operation. The observers of this process (``_call_events.py``) hear where things happen, and note what they hear as
cheaply as they can: sums, a line per heartbeat, values that are kept. What has a value at any time is looked at when somebody
reads the metrics. Only the round trips of beats are recorded one by one.

Label values that strangers choose are bounded (``core/labels.py``). ``health_check_duration_seconds`` has that name in OTLP and
in Prometheus: the exporter adds the unit to names that do not end in it. docs/metrics.md lists all of them.

A meter has each instrument once, with the callback that it was made with, and ignores another of that name. So there is one set
of instruments for each provider; it is fed while anybody wants it, and goes on with its sums when somebody does again.
"""

from __future__ import annotations

import threading
import weakref
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
        self._users = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Listen, until :meth:`stop` is called as often as this."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._listen()

    def stop(self) -> None:
        """Undo one :meth:`start`, if there is one. Instruments cannot be taken back: they keep what they have."""
        with self._lock:
            if self._users:
                self._users -= 1
                if not self._users:
                    self._leave()

    def _listen(self) -> None:
        self._instruments.running = True
        call_events.add(self._rpcs.hear_call)
        rpc_starts.add(self._rpcs.hear_start)
        rpc_events.add(self._rpcs.hear_rpc)
        beat_events.add(self._beats.hear)
        self._process.start()

    def _leave(self) -> None:
        self._instruments.running = False
        call_events.remove(self._rpcs.hear_call)
        rpc_starts.remove(self._rpcs.hear_start)
        rpc_events.remove(self._rpcs.hear_rpc)
        beat_events.remove(self._beats.hear)
        self._beats.forget()
        self._process.stop()


_made: weakref.WeakKeyDictionary[Any, Metrics] = weakref.WeakKeyDictionary()
_global: Metrics | None = None
_making = threading.Lock()


def metrics_of(meter_provider: Any = None) -> Metrics:
    """Return what measures for ``meter_provider``, by default for the global one, also if that is set later."""
    global _global
    with _making:
        if meter_provider is None:
            _global = _global or Metrics()
            return _global
        found = _made.get(meter_provider)
        if found is None:
            found = _made[meter_provider] = Metrics(meter_provider)
        return found

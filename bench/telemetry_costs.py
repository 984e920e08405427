"""What telemetry adds to a beat, an RPC and a call that timed out: CPU time, without the beats and calls themselves.

Everything runs in turn within each round, on one thread, and a figure is the median over the rounds. Both ends of a beat are
in it: the client's span, or the decision to make none, and the server's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, thread_time

from bench import telemetry as variants
from bench.figure import Figure
from grpc_heartbeat import telemetry
from grpc_heartbeat._call_events import beat_events, call_events, rpc_starts
from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.call_events import CallEndedEarly
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.core.frames import Ack, Beat, ServingStatus
from grpc_heartbeat.core.heartbeat_events import BeatAcked, BeatSent
from grpc_heartbeat.core.heartbeat_news import HeartbeatEvent
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from grpc_heartbeat.telemetry.beats import BeatTracing
from grpc_heartbeat.telemetry.server_beats import ServerBeats
from grpc_heartbeat.telemetry.timeout_sinks import Record

SECTION = "telemetry"
BEATS_PER_SECOND = 5_000
BATCH = 200
US = "µs"

_CLIENT, _SERVER = Identity("client", "zone-a", "1"), Identity("orders", "zone-b", "2")
_ACK = Ack(1, ServingStatus.SERVING)


def costs(times: int) -> list[Figure]:
    """Take the figures, ``times`` rounds of each."""
    acts: dict[str, Callable[[], float]] = {
        "a beat, each traced": _beats(None),
        "a beat, one in a hundred traced": _beats(telemetry.BeatSampler(100)),
        "a beat, measured": _measured_beats(),
        "an RPC, measured": _measured_rpcs(),
        "a time-out, logged": _logged(),
    }
    found: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(times):
        for name, act in acts.items():
            found[name].append(act() / BATCH * 1e6)
    typical = {name: statistics.median(values) for name, values in found.items()}
    share = typical["a beat, one in a hundred traced"] * BEATS_PER_SECOND / 1e6 * 100
    return [
        *(Figure(SECTION, name, value, US, times * BATCH) for name, value in typical.items()),
        Figure(SECTION, f"{BEATS_PER_SECOND} beats a second, sampled, of a core", share, "%", times * BATCH, most=10.0),
    ]


@contextmanager
def _clocked(spent: list[float]) -> Iterator[None]:
    began = thread_time()
    yield
    spent.append(thread_time() - began)


def _beats(sampler: telemetry.BeatSampler | None) -> Callable[[], float]:
    provider = variants.provider()
    tracing, server = BeatTracing(_CLIENT, "liveness", provider), ServerBeats(_SERVER, provider)
    telemetry.sample_beats(sampler)
    stream = tracing.stream()
    telemetry.sample_beats(None)
    acked = [BeatAcked(1.0, sequence, 0.001, _ACK) for sequence in range(BATCH)]

    def act() -> float:
        spent: list[float] = []
        with _clocked(spent):
            for event in acked:
                context = stream.start(event.sequence)
                server.answered(
                    Beat(event.sequence, trace_context=context), _CLIENT, time.time_ns()
                )  # wall clock: dated
                stream.observe(event)
        return spent[0]

    return act


def _listening(emit: Callable[[], None]) -> Callable[[], float]:
    """Return what measures ``emit`` while metrics are on."""

    def act() -> float:
        spent: list[float] = []
        with variants.measured(), _clocked(spent):
            for _ in range(BATCH):
                emit()
        return spent[0]

    return act


def _measured_beats() -> Callable[[], float]:
    snapshot = HeartbeatSnapshot("up", 0.0, peer=_SERVER)

    def news(event: Event) -> HeartbeatEvent:
        return HeartbeatEvent(event.at, 1, "target", "liveness", _CLIENT, lambda: snapshot, event)

    sent, acked = news(BeatSent(1.0, 1)), news(BeatAcked(1.0, 1, 0.001, _ACK))

    def emit() -> None:
        beat_events.emit(sent)
        beat_events.emit(acked)

    return _listening(emit)


def _measured_rpcs() -> Callable[[], float]:
    return _listening(lambda: rpc_starts.tell("/shop.Orders/Place", monotonic(), 5.0, 0.001))


class _Nowhere:
    def write(self, records: list[Record]) -> None:
        """Forget them."""

    def close(self) -> None:
        """Nothing is held."""


def _logged() -> Callable[[], float]:
    facts = TimeoutFacts("header", 0.5, 0.51, "policy:default", "READY")
    event = CallEndedEarly(1.0, "/shop.Orders/Place", "DEADLINE_EXCEEDED", "late", facts, 1.5, "orders:443")

    def act() -> float:
        spent: list[float] = []
        with telemetry.TimeoutLog(_Nowhere()), _clocked(spent):
            for _ in range(BATCH):
                call_events.emit(event)
        return spent[0]

    return act

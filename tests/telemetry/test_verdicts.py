"""What became of the judgement of a peer and of a breaker is told, in spans and in metrics, on both stacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from grpc_heartbeat import BreakerPolicy, telemetry
from grpc_heartbeat._call_events import beat_events
from grpc_heartbeat.core.breaker import BreakerClosed, BreakerOpened, BreakerProbing
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Ack, ServingStatus
from grpc_heartbeat.core.heartbeat_events import BeatAcked, HeartbeatClosed, StreamFailed
from grpc_heartbeat.core.heartbeat_news import HeartbeatEvent
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from grpc_heartbeat.core.verdicts import JudgementSuspended, Side, Verdict, VerdictChanged
from grpc_heartbeat.telemetry.beat_context import BEAT_SPAN, OPEN_SPAN
from grpc_heartbeat.telemetry.beats import BeatTracing, ClientBeats
from grpc_heartbeat.telemetry.heartbeat_table import BREAKERS, HIGHEST, SIDES, VERDICTS
from grpc_heartbeat.telemetry.verdict_spans import BREAKER_SPAN, VERDICT_SPAN
from tests.heartbeat import ends
from tests.heartbeat.ends import CLIENT, SERVER, Spans
from tests.heartbeat.relay import Relay
from tests.peers import LoopThread, wait_until
from tests.telemetry.scrape import Meters

LABELS = {"service": "orders", "zone": "zone-b", "type": "liveness"}
ACK = Ack(1, ServingStatus.SERVING)
BREAKER = BreakerPolicy(open_min=0.05, open_max=0.2)


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.provider.shutdown()


@pytest.fixture
def meters() -> Iterator[Meters]:
    meters = Meters()
    with telemetry.instrument(meter_provider=meters.provider):
        yield meters
    meters.close()


def named(spans: Spans, name: str, kind: SpanKind = SpanKind.INTERNAL) -> list[Any]:
    return [span for span in spans.ended if span.name == name and span.kind is kind]


@pytest.mark.parametrize("stack", ends.CLIENTS)
def test_a_silence_is_told_from_its_beginning_to_its_end(
    stack: str, loop: LoopThread, spans: Spans, meters: Meters
) -> None:
    server = ends.SyncServer(loop)
    with Relay(server.target) as relay:
        client = ends.CLIENTS[stack](
            loop, relay.target, ends.IMPATIENT, tracer_provider=spans.provider, breaker=BREAKER
        )
        client.wait("up")
        wait_until(lambda: meters.value("grpc_heartbeat.verdicts", verdict="up", **LABELS) == 1)
        assert meters.value("grpc_heartbeat.verdicts", **LABELS) == 1
        assert meters.value("grpc_heartbeat.sides", side="echo", state="alive", **LABELS) == 1
        assert meters.value("grpc_heartbeat.breakers", **LABELS) == 0
        relay.freeze()
        client.wait_for(BreakerOpened)
        wait_until(lambda: meters.value("grpc_heartbeat.breaker.openings", kind="first", **LABELS) == 1)
        wait_until(lambda: meters.value("grpc_heartbeat.breakers", **LABELS) == 1)
        assert meters.value("grpc_heartbeat.sides", side="echo", state="alive", **LABELS) == 0
        convicted = [meters.value("grpc_heartbeat.verdicts", verdict=each, **LABELS) for each in ("down", "stuck")]
        assert sum(convicted) == 1
        relay.thaw()
        client.wait_for(BreakerClosed)
        client.wait("up")
        wait_until(lambda: meters.value("grpc_heartbeat.breakers", **LABELS) == 0)
        assert meters.value("grpc_heartbeat.verdict.changes", verdict="up", **LABELS) >= 2
        client.close()
    server.close()
    wait_until(lambda: spans.started == len(spans.ended))
    _verdicts_are_told(client, spans)
    _the_breaker_is_told(client, spans)
    _the_reconnect_is_told(spans)


def _verdicts_are_told(client: ends.Client, spans: Spans) -> None:
    told = named(spans, VERDICT_SPAN)
    changes = client.of(VerdictChanged)
    said = [span.attributes.get("heartbeat.verdict") for span in told if "heartbeat.verdict" in span.attributes]
    assert said == [change.after.value for change in changes]
    for span in told:
        assert span.parent is None
        assert span.attributes["service.name"] == CLIENT.service
        assert span.attributes["heartbeat.type"] == "liveness"
        convicts = span.attributes.get("heartbeat.verdict") in ("down", "stuck")
        assert (span.status.status_code is StatusCode.ERROR) == convicts
        assert convicts == ("error.type" in span.attributes)
    convictions = [span for span in told if "error.type" in span.attributes]
    openings, beats = named(spans, OPEN_SPAN, SpanKind.CLIENT), named(spans, BEAT_SPAN, SpanKind.CLIENT)
    for span in convictions:
        assert span.attributes["upstream.zone"] == SERVER.zone
        assert span.attributes["heartbeat.why"]
        opening, beat = (link.context.span_id for link in span.links)
        assert opening in {each.context.span_id for each in openings}
        assert beat in {each.context.span_id for each in beats}
    assert convictions


def _the_breaker_is_told(client: ends.Client, spans: Spans) -> None:
    told = named(spans, BREAKER_SPAN)
    states = {BreakerOpened: "open", BreakerProbing: "half-open", BreakerClosed: "closed"}
    events = [states[type(event)] for event in client.events if type(event) in states]
    assert [span.attributes["heartbeat.breaker"] for span in told] == events
    first = told[0]
    assert (first.status.status_code, first.attributes["error.type"]) == (StatusCode.ERROR, "breaker_open")
    assert first.attributes["heartbeat.breaker.pause"] > 0
    assert all(span.status.is_unset for span in told if span.attributes["heartbeat.breaker"] != "open")
    last = told[-1]
    assert last.attributes["heartbeat.breaker.open_for"] > 0


def _the_reconnect_is_told(spans: Spans) -> None:
    first, *later = named(spans, OPEN_SPAN, SpanKind.CLIENT)
    assert not first.events
    assert later
    for span in later:
        (event,) = span.events
        assert event.name == "heartbeat.reconnect"
        assert event.attributes["heartbeat.why"]
        assert span.links[0].context.span_id in {each.context.span_id for each in (first, *later)}
    assert later[0].links[0].context.span_id == first.context.span_id
    assert later[0].events[0].attributes["heartbeat.cause"] in ("silent", "lost", "left")


def test_changes_are_told_whatever_a_sampler_says_and_the_next_answer_with_them(spans: Spans) -> None:
    telemetry.sample_beats(telemetry.BeatSampler(1_000))
    try:
        tracing = BeatTracing(CLIENT, "liveness", spans.provider)
        stream = tracing.stream()
        _ack(tracing, stream, 1, 3)
        tracing.observe(VerdictChanged(1.0, Verdict.UP, Verdict.OVERLOADED, "the queue is long"), stream)
        _ack(tracing, stream, 4, 3)
    finally:
        telemetry.sample_beats(None)
    assert [(span.name, span.attributes.get("heartbeat.sequence")) for span in spans.ended] == [
        (BEAT_SPAN, 1),
        (VERDICT_SPAN, None),
        (BEAT_SPAN, 4),
    ]


def _ack(tracing: BeatTracing, stream: ClientBeats, first: int, count: int) -> None:
    for sequence in range(first, first + count):
        stream.start(sequence)
        tracing.observe(BeatAcked(1.0, sequence, 0.001, ACK), stream)


def test_a_suspended_judgement_is_told(spans: Spans) -> None:
    tracing = BeatTracing(CLIENT, "liveness", spans.provider)
    tracing.observe(JudgementSuspended(1.0, 0.7, "garbage collection"), None)
    (span,) = spans.ended
    assert span.name == VERDICT_SPAN
    assert span.attributes["heartbeat.suspended"] == 0.7
    assert "garbage collection" in span.attributes["heartbeat.why"]
    assert span.status.is_unset
    assert span.links == ()


class Silent:
    """A heartbeat whose peer is suspicious, as much as ``phi`` says."""

    def __init__(self, phi: float) -> None:
        self._snapshot = HeartbeatSnapshot("late", 0.0, peer=SERVER, verdict=Verdict.LATE, write=Side.ALIVE, phi=phi)

    def look(self) -> HeartbeatSnapshot:
        return self._snapshot

    def tell(self, event: Event) -> None:
        beat_events.emit(HeartbeatEvent(event.at, id(self), "target", "liveness", CLIENT, self.look, event))


def test_suspicion_is_the_highest_and_bounded(meters: Meters) -> None:
    heartbeats = [Silent(phi) for phi in (0.5, 3.25)]
    for heartbeat in heartbeats:
        heartbeat.tell(JudgementSuspended(1.0, 0.5, "late tick"))
    assert meters.value("grpc_heartbeat.phi", **LABELS) == 3.25
    assert meters.value("grpc_heartbeat.verdicts", verdict="late", **LABELS) == 2
    assert meters.value("grpc_heartbeat.judgements_suspended", cause="late tick", **LABELS) == 2
    heartbeats.append(Silent(float("inf")))
    heartbeats[-1].tell(StreamFailed(1.0, "silent", "silent", True))
    assert meters.value("grpc_heartbeat.phi", **LABELS) == HIGHEST
    for heartbeat in heartbeats:
        heartbeat.tell(HeartbeatClosed(2.0, "closed"))
    assert meters.points("grpc_heartbeat.phi") == []


def test_zeros_are_shown_and_no_other_values(meters: Meters) -> None:
    heartbeat = Silent(0.0)
    heartbeat.tell(BreakerProbing(1.0, 2))
    for name, label, values in (("verdicts", "verdict", VERDICTS), ("breakers", "state", BREAKERS)):
        points = meters.points(f"grpc_heartbeat.{name}", **LABELS)
        assert sorted(dict(point.attributes)[label] for point in points) == sorted(values)
        assert sum(point.value for point in points) == 1
    sides = meters.points("grpc_heartbeat.sides", **LABELS)
    assert {(dict(point.attributes)["side"], dict(point.attributes)["state"]) for point in sides} == set(SIDES)
    assert sum(point.value for point in sides) == 2
    heartbeat.tell(HeartbeatClosed(2.0, "closed"))


def test_a_heartbeat_that_is_gone_is_forgotten(meters: Meters) -> None:
    heartbeat = Silent(1.0)
    heartbeat.tell(BreakerProbing(1.0, 2))
    assert meters.points("grpc_heartbeat.verdicts")
    del heartbeat
    assert meters.points("grpc_heartbeat.verdicts") == []

"""Spans and metrics of probers: those of heartbeats, labelled with what is known."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc.aio
import pytest
from opentelemetry.trace import SpanKind, StatusCode

import grpc_heartbeat as hb
from grpc_heartbeat import Identity, events, telemetry
from grpc_heartbeat.core.verdicts import Verdict
from grpc_heartbeat.telemetry.beat_context import PING_SPAN
from tests.heartbeat.ends import Spans
from tests.peers import OPTIONS
from tests.strategies.h2_server import serving
from tests.strategies.heard import FAST, probing
from tests.telemetry.scrape import Meters

OWN = Identity("asker", "zone-a", "host:1")
UPSTREAM = Identity("orders", "zone-b", "")
LABELS = {"service": "orders", "zone": "zone-b", "type": "liveness"}


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


def named(spans: Spans, name: str) -> list[Any]:
    return [span for span in spans.ended if span.name == name]


async def test_each_probe_is_a_span_with_the_labels_of_heartbeats(spans: Spans) -> None:
    about: dict[str, Any] = {"identity": OWN, "upstream": UPSTREAM, "tracer_provider": spans.provider}
    async with serving() as server, probing("http2-ping", server.target, **about) as heard:
        await heard.first(events.BeatAcked, 3)
    assert spans.started == len(spans.ended)
    beats = named(spans, "http2-ping beat")
    assert len(beats) == len(heard.all(events.BeatSent))
    (opening,) = named(spans, "http2-ping open")
    for number, span in enumerate(beats, start=1):
        assert span.kind is SpanKind.CLIENT
        assert span.parent is None
        assert dict(span.attributes) | {"heartbeat.outcome": ""} == {
            "service.name": "asker",
            "service.instance.id": "host:1",
            "cloud.availability_zone": "zone-a",
            "service.peer.name": "orders",
            "heartbeat.peer.zone": "zone-b",
            "upstream.zone": "zone-b",
            "heartbeat.type": "liveness",
            "heartbeat.strategy": "http2-ping",
            "heartbeat.sequence": number,
            "heartbeat.outcome": "",
        }
        assert [link.context.span_id for link in span.links] == [opening.context.span_id]
    assert {span.attributes["heartbeat.outcome"] for span in beats[:3]} == {"acked"}
    verdicts = named(spans, "http2-ping verdict")
    assert [span.attributes["heartbeat.verdict"] for span in verdicts] == ["up"]
    assert "grpc_heartbeat" not in " ".join(span.name for span in spans.ended)


async def test_missed_probes_are_errors_and_count(spans: Spans, meters: Meters) -> None:
    about: dict[str, Any] = {"identity": OWN, "upstream": UPSTREAM, "tracer_provider": spans.provider}
    async with serving() as server, probing("http2-ping", server.target, FAST, **about) as heard:
        await heard.first(events.BeatAcked)
        assert meters.value("grpc_heartbeat.levels", level="strategy", **LABELS) == 1
        server.swallow = True
        await heard.verdict(Verdict.DOWN)
        assert meters.value("grpc_heartbeat.verdicts", verdict="down", **LABELS) == 1
        missed = len(heard.all(events.BeatMissed))
        assert meters.value("health_check_duration_seconds", status="missed", **LABELS) == missed
        assert meters.value("health_check_duration_seconds", status="unknown", **LABELS) == len(
            heard.all(events.BeatAcked)
        )
    errors = [span for span in named(spans, "http2-ping beat") if span.status.status_code is StatusCode.ERROR]
    assert len(errors) == len(heard.all(events.BeatMissed))
    assert {span.attributes["error.type"] for span in errors} == {"heartbeat_missed"}
    assert meters.value("grpc_heartbeat.verdicts", **LABELS) == 0


async def test_who_uses_no_strategy_sees_no_series_of_them(meters: Meters) -> None:
    channel = hb.aio.insecure_channel("127.0.0.1:1", heartbeat=FAST)
    opening = asyncio.Event()
    assert channel.heartbeat is not None
    channel.heartbeat.observers.add(lambda event: opening.set())
    channel.unary_unary("/a/b")
    await asyncio.wait_for(opening.wait(), 10)
    levels = {dict(point.attributes)["level"] for point in meters.points("grpc_heartbeat.levels")}
    await channel.close()
    assert levels == {"heartbeat", "watch", "check", "transport"}


async def test_a_ping_over_grpc_has_a_span_on_each_side_of_one_trace(spans: Spans) -> None:
    server = grpc.aio.server(options=OPTIONS)
    board = hb.aio.add_to_server(server, identity=UPSTREAM, tracer_provider=spans.provider)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with probing("grpc", target, identity=OWN, tracer_provider=spans.provider) as heard:
        await heard.first(events.BeatAcked, 3)
    await server.stop(None)
    board.close()
    clients = {span.context.span_id: span for span in named(spans, "grpc beat")}
    answered = [span for span in named(spans, PING_SPAN) if span.kind is SpanKind.SERVER]
    assert len(answered) >= 3
    for span in answered:
        assert span.parent.span_id in clients
        assert span.context.trace_id == clients[span.parent.span_id].context.trace_id
    assert clients[answered[-1].parent.span_id].attributes["upstream.zone"] == "zone-b"

"""Each beat is a client span and a server span of one trace, whatever the stacks."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from grpc_heartbeat.core import frames, tracecontext
from grpc_heartbeat.core.heartbeat_events import BeatAbandoned, BeatAcked, BeatMissed, StreamOpening
from grpc_heartbeat.heartbeat import codec
from grpc_heartbeat.heartbeat.client import SyncHeartbeat
from grpc_heartbeat.telemetry.beat_context import BEAT_SPAN, OPEN_SPAN
from grpc_heartbeat.telemetry.beats import BeatTracing
from grpc_heartbeat.telemetry.server_beats import ServerBeats
from tests.heartbeat.ends import CLIENT, IMPATIENT, QUICK, SERVER, Client, Server, Spans
from tests.heartbeat.relay import Relay
from tests.peers import wait_until

Serve = Callable[..., Server]
Beat = Callable[..., Client]


@pytest.fixture
def spans() -> Spans:
    return Spans()


def beats(spans: Spans, kind: SpanKind) -> dict[int, Any]:
    found = [span for span in spans.ended if span.name == BEAT_SPAN and span.kind is kind]
    by_id = {span.context.span_id if kind is SpanKind.CLIENT else span.parent.span_id: span for span in found}
    assert len(by_id) == len(found)
    return by_id


def test_every_beat_is_one_trace_of_two_spans(serve: Serve, beat: Beat, spans: Spans) -> None:
    client = beat(serve(tracer_provider=spans.provider).target, tracer_provider=spans.provider)
    acks = len(client.wait_for(BeatAcked, 4))
    client.close()
    wait_until(lambda: len(beats(spans, SpanKind.SERVER)) >= acks)
    clients, servers = beats(spans, SpanKind.CLIENT), beats(spans, SpanKind.SERVER)
    acked = {span_id: span for span_id, span in clients.items() if span.attributes["heartbeat.outcome"] == "acked"}
    assert len(acked) >= 4
    assert set(acked) <= set(servers)
    assert len({span.context.trace_id for span in clients.values()}) == len(clients)
    for span_id, asked in acked.items():
        answered = servers[span_id]
        assert answered.context.trace_id == asked.context.trace_id
        assert answered.parent.is_remote
        assert asked.parent is None
        assert answered.attributes["heartbeat.sequence"] == asked.attributes["heartbeat.sequence"]


def test_both_spans_carry_the_labels_of_both_ends(serve: Serve, beat: Beat, spans: Spans) -> None:
    client = beat(serve(tracer_provider=spans.provider).target, tracer_provider=spans.provider)
    client.wait_for(BeatAcked, 2)
    client.close()
    common = {
        "heartbeat.type": "liveness",
        "upstream.zone": SERVER.zone,
        "rpc.system.name": "grpc",
        "rpc.method": "grpc_heartbeat.v1.Heartbeat/Keepalive",
    }
    for kind, own, peer in ((SpanKind.CLIENT, CLIENT, SERVER), (SpanKind.SERVER, SERVER, CLIENT)):
        for span in beats(spans, kind).values():
            expected = {
                **common,
                "service.name": own.service,
                "service.instance.id": own.instance,
                "cloud.availability_zone": own.zone,
                "service.peer.name": peer.service,
                "heartbeat.peer.zone": peer.zone,
            }
            assert expected.items() <= dict(span.attributes).items()


def test_beats_are_linked_to_the_opening_of_their_stream(serve: Serve, beat: Beat, spans: Spans) -> None:
    client = beat(serve().target, tracer_provider=spans.provider)
    client.wait_for(BeatAcked, 2)
    client.close()
    (opening,) = [span for span in spans.ended if span.name == OPEN_SPAN]
    for span in beats(spans, SpanKind.CLIENT).values():
        assert [link.context.span_id for link in span.links] == [opening.context.span_id]


def test_nothing_is_left_open_after_closing(serve: Serve, beat: Beat, spans: Spans) -> None:
    for _ in range(3):
        client = beat(serve(tracer_provider=spans.provider).target, tracer_provider=spans.provider)
        client.wait_for(BeatAcked)
        client.close()
    wait_until(lambda: spans.started == len(spans.ended))


def test_a_missed_beat_is_an_error_and_one_cut_off_is_not(serve: Serve, beat: Beat, spans: Spans) -> None:
    with Relay(serve().target) as relay:
        client = beat(relay.target, IMPATIENT, tracer_provider=spans.provider)
        client.wait("up")
        relay.freeze()
        client.wait("down")
        relay.thaw()
        client.close()
    assert spans.started == len(spans.ended)
    found = beats(spans, SpanKind.CLIENT).values()
    missed = [span for span in found if span.attributes["heartbeat.outcome"] == "missed"]
    assert len(missed) == len(client.of(BeatMissed))
    for span in missed:
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "heartbeat_missed"
        assert [event.name for event in span.events] == ["heartbeat.missed"]
    assert all(span.status.is_unset for span in found if span not in missed)


def test_spans_ignore_the_context_of_whoever_starts_the_heartbeat(serve: Serve, spans: Spans) -> None:
    outer = spans.provider.get_tracer("test").start_span("business")
    with trace.use_span(outer), grpc.insecure_channel(serve().target) as channel:
        heartbeat = SyncHeartbeat(channel, QUICK, CLIENT, tracer_provider=spans.provider)
        heartbeat.start()
        wait_until(lambda: heartbeat.snapshot().acked >= 1)
        heartbeat.close()
    outer.end()
    assert all(span.parent is None for span in spans.ended)


def test_without_a_provider_no_context_is_sent(serve: Serve, beat: Beat, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    decode = codec.decode

    def listen(data: bytes) -> Any:
        sent.append(decode(data))
        return sent[-1]

    monkeypatch.setattr(codec, "decode", listen)
    client = beat(serve().target, tracer_provider=trace.NoOpTracerProvider())
    client.wait_for(BeatAcked, 2)
    client.close()
    contexts = [frame.trace_context for frame in sent if hasattr(frame, "trace_context")]
    assert contexts
    assert not any(contexts)


def test_a_failed_opening_is_an_error_span(beat: Beat, spans: Spans) -> None:
    client = beat("127.0.0.1:1", tracer_provider=spans.provider)
    client.wait("down")
    client.close()
    opening = spans.ended[0]
    assert (opening.name, opening.status.status_code) == (OPEN_SPAN, StatusCode.ERROR)
    assert opening.attributes["error.type"] == "lost"
    assert spans.started == len(spans.ended)


def test_closing_before_the_peer_has_answered_ends_the_opening(beat: Beat, spans: Spans) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts in the kernel, never answers
        client = beat(f"127.0.0.1:{mute.getsockname()[1]}", tracer_provider=spans.provider)
        client.wait_for(StreamOpening)
        client.close()
    assert spans.started == len(spans.ended) == 1


@pytest.mark.parametrize("end", ["abandoned", "dropped"])
def test_a_beat_that_is_cut_off_ends_once_without_error(end: str, spans: Spans) -> None:
    outer = spans.provider.get_tracer("test").start_span("business")
    stream = BeatTracing(CLIENT, "readiness", spans.provider).stream()
    with trace.use_span(outer):
        context = tracecontext.decode(stream.start(7))
    for _ in range(2):
        if end == "abandoned":
            stream.observe(BeatAbandoned(1.0, 7, "gone"))
        else:
            stream.drop(7)
    (span,) = spans.ended
    assert context is not None
    assert (context.trace_id, context.span_id) == (span.context.trace_id, span.context.span_id)
    assert span.parent is None
    assert span.status.is_unset
    assert span.attributes["heartbeat.outcome"] == "abandoned"
    assert span.attributes["heartbeat.type"] == "readiness"


@pytest.mark.parametrize("sequence", [2**63, 2**64 - 1])
def test_a_strangers_sequence_fits_into_an_attribute(sequence: int, spans: Spans) -> None:
    ServerBeats(SERVER, spans.provider).answered(frames.Beat(sequence), None, 1)
    (span,) = spans.ended
    assert span.attributes["heartbeat.sequence"] == 2**63 - 1


@pytest.mark.internal_faults
def test_a_broken_span_processor_does_not_stop_the_beats(
    serve: Serve, beat: Beat, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(spans.provider._active_span_processor, "on_end", explode)
    client = beat(serve().target, tracer_provider=spans.provider)
    client.wait_for(BeatAcked, 3)

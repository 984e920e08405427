"""Beats that a sampler leaves out cost nothing and leave no span, unless they turn out to matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter, time_ns
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode

from grpc_heartbeat import telemetry
from grpc_heartbeat.core import tracecontext
from grpc_heartbeat.core.frames import Ack, Beat, ServingStatus
from grpc_heartbeat.core.heartbeat_events import BeatAbandoned, BeatAcked, BeatMissed
from grpc_heartbeat.telemetry.beat_context import BEAT_SPAN
from grpc_heartbeat.telemetry.beats import BeatTracing, ClientBeats
from grpc_heartbeat.telemetry.server_beats import ServerBeats
from tests.heartbeat import ends
from tests.heartbeat.ends import CLIENT, SERVER, Spans
from tests.peers import LoopThread, wait_until


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
def every() -> Iterator[Callable[[int], None]]:
    yield lambda number: telemetry.sample_beats(telemetry.BeatSampler(number))
    telemetry.sample_beats(None)


def acked(sequence: int, rtt: float = 0.001, status: ServingStatus = ServingStatus.SERVING) -> BeatAcked:
    return BeatAcked(1.0, sequence, rtt, Ack(sequence, status))


def ack_many(stream: ClientBeats, first: int, count: int) -> None:
    for sequence in range(first, first + count):
        stream.start(sequence)
        stream.observe(acked(sequence))


def traced(spans: Spans) -> list[int]:
    return [span.attributes["heartbeat.sequence"] for span in spans.ended if span.name == BEAT_SPAN]


def test_every_nth_and_the_first_answer_are_traced(spans: Spans, every: Callable[[int], None]) -> None:
    every(10)
    stream = BeatTracing(CLIENT, "liveness", spans.provider).stream()
    ack_many(stream, 1, 40)
    assert traced(spans) == [1, 11, 21, 31]
    assert spans.started == 4


def test_counting_goes_on_from_stream_to_stream_and_each_streams_first_answer_is_traced(
    spans: Spans, every: Callable[[int], None]
) -> None:
    every(10)
    tracing = BeatTracing(CLIENT, "liveness", spans.provider)
    for _ in range(3):
        ack_many(tracing.stream(), 1, 4)
    assert traced(spans) == [1, 1, 1, 3]  # the third stream's third beat is the eleventh


def test_a_miss_and_the_recovery_after_it_are_recorded_afterwards(spans: Spans, every: Callable[[int], None]) -> None:
    every(1000)
    stream = BeatTracing(CLIENT, "liveness", spans.provider).stream()
    ack_many(stream, 1, 2)
    before = time_ns()
    context = stream.start(3)
    sent = time_ns()
    stream.observe(BeatMissed(2.0, 3, 1, "not echoed"))
    ack_many(stream, 4, 3)
    assert traced(spans) == [1, 3, 4]
    missed = spans.ended[1]
    assert missed.status.status_code is StatusCode.ERROR
    assert missed.attributes["heartbeat.recorded"] == "afterwards"
    assert "heartbeat.recorded" not in spans.ended[0].attributes
    assert before <= missed.start_time <= sent <= missed.end_time
    assert tracecontext.unsampled(context)
    assert stream.ended is None


def test_a_change_of_status_and_a_slow_answer_are_recorded(spans: Spans, every: Callable[[int], None]) -> None:
    every(1000)
    stream = BeatTracing(CLIENT, "liveness", spans.provider).stream()
    ack_many(stream, 1, 60)
    for event in (acked(61, rtt=0.1), acked(62), acked(63, status=ServingStatus.NOT_SERVING), acked(64)):
        stream.start(event.sequence)
        stream.observe(event)
    assert traced(spans) == [1, 61, 63, 64]


def test_abandoned_and_dropped_beats_leave_nothing(spans: Spans, every: Callable[[int], None]) -> None:
    every(2)
    stream = BeatTracing(CLIENT, "liveness", spans.provider).stream()
    for sequence in range(1, 5):
        stream.start(sequence)
        if sequence <= 2:
            stream.drop(sequence)
        else:
            stream.observe(BeatAbandoned(1.0, sequence, "gone"))
    assert traced(spans) == [1, 3]
    assert spans.started == 2


def test_the_server_makes_no_span_of_a_beat_that_is_not_traced(spans: Spans) -> None:
    server = ServerBeats(SERVER, spans.provider)
    for flags, count in ((0, 0), (1, 1)):
        context = tracecontext.encode(tracecontext.TraceContext(1, 2, flags))
        server.answered(Beat(1, trace_context=context), CLIENT, time_ns())
        assert spans.started == count


@pytest.mark.parametrize("stack", [ends.SyncClient, ends.AioClient])
def test_real_beats_leave_pairs_of_spans_for_those_chosen(
    stack: Callable[..., Any], loop: LoopThread, spans: Spans, every: Callable[[int], None]
) -> None:
    every(5)
    server = ends.SyncServer(loop, tracer_provider=spans.provider)
    client = stack(loop, server.target, tracer_provider=spans.provider)
    client.wait_for(BeatAcked, 12)
    client.close()
    server.close()
    wait_until(lambda: spans.started == len(spans.ended))
    chosen = {span.context.span_id for span in spans.ended if span.name == BEAT_SPAN and span.kind is SpanKind.CLIENT}
    server_spans = [span for span in spans.ended if span.kind is SpanKind.SERVER]
    sequences = {span.attributes["heartbeat.sequence"] for span in server_spans}
    assert {1, 6} <= sequences
    assert all(sequence % 5 == 1 for sequence in sequences)
    assert {span.parent.span_id for span in server_spans} <= chosen


def test_only_samplers_are_taken() -> None:
    wrong: Any = 10
    with pytest.raises(TypeError, match="must be a BeatSampler"):
        telemetry.sample_beats(wrong)


def test_beats_that_are_left_out_cost_a_fraction_of_those_traced(every: Callable[[int], None]) -> None:
    provider = TracerProvider(shutdown_on_exit=False)

    def cost() -> float:
        stream = BeatTracing(CLIENT, "liveness", provider).stream()
        best = float("inf")
        for turn in range(5):
            began = perf_counter()
            ack_many(stream, turn * 1000, 1000)
            best = min(best, perf_counter() - began)
        return best

    full = cost()
    every(100)
    sampled = cost()
    assert sampled < full / 2, f"{sampled * 1000:.1f} µs instead of {full * 1000:.1f} µs a beat"
    provider.shutdown()

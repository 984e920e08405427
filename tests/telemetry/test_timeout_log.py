"""The log of calls that ended early: what is in a record, where it goes, and what it costs."""

from __future__ import annotations

import json
import logging
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.trace import TracerProvider

import grpc_heartbeat
from grpc_heartbeat import Identity, deadline
from grpc_heartbeat._call_events import call_events
from grpc_heartbeat.core.call_events import CallEndedEarly
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.telemetry.timeout_log import JsonLinesSink, LoggingSink, OpenTelemetrySink, TimeoutLog
from tests.peers import PATIENCE, SyncServer, path, wait_until

FACTS = TimeoutFacts("header", 0.5, 0.51, "policy:default", "READY")
EVENT = CallEndedEarly(1.0, "/shop.Orders/Place", "DEADLINE_EXCEEDED", "late", FACTS, 1.5, "orders:443")


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.closed = 0

    def write(self, records: list[Any]) -> None:
        self.records += records

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def tracer() -> Iterator[trace.Tracer]:
    provider = TracerProvider()
    yield provider.get_tracer("test")
    provider.shutdown()


def test_a_record_says_what_ended_how_and_whose_it_was(tracer: trace.Tracer) -> None:
    kept = Kept()
    who = Identity("checkout", "zone-a", "c-1")
    with TimeoutLog(kept, identity=who, load=lambda: {"in_flight": 7}), tracer.start_as_current_span("buy") as span:
        call_events.emit(EVENT)
    (record,) = kept.records
    assert record.pop("time_unix_nano") > 1.7e18
    context = span.get_span_context()
    assert record == {
        "method": "/shop.Orders/Place",
        "status": "DEADLINE_EXCEEDED",
        "layer": "header",
        "limit": 0.5,
        "elapsed": 0.51,
        "remaining": 1.5,
        "source": "policy:default",
        "connectivity": "READY",
        "last_error": None,
        "peer": "orders:443",
        "service": "checkout",
        "zone": "zone-a",
        "load": {"in_flight": 7},
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "trace_flags": int(context.trace_flags),
    }
    assert kept.closed == 1
    assert not call_events


def test_a_real_call_is_logged_with_the_span_of_its_caller(tracer: trace.Tracer) -> None:
    def hold(_: bytes, context: Any) -> bytes:
        over = threading.Event()
        if context.add_callback(over.set):
            over.wait(PATIENCE)
        return b""

    kept = Kept()
    server = SyncServer({"UnaryUnary": hold})
    with TimeoutLog(kept), grpc_heartbeat.insecure_channel(server.target, name="slow") as channel:
        with tracer.start_as_current_span("buy") as span:
            future = channel.unary_unary(path("UnaryUnary")).future(b"", timeout=0.2)
        wait_until(lambda: kept.records)
        assert future.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    server.close()
    (record,) = kept.records
    assert (record["layer"], record["source"], record["peer"]) == ("total", "explicit", "slow")
    assert record["trace_id"] == f"{span.get_span_context().trace_id:032x}"


def test_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "timeouts.jsonl"
    with TimeoutLog(JsonLinesSink(file)):
        call_events.emit(EVENT)
        call_events.emit(EVENT)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["layer"] for line in lines] == ["header", "header"]
    with TimeoutLog(JsonLinesSink(file)):
        call_events.emit(EVENT)
    assert len(file.read_text().splitlines()) == 3


def test_logging(caplog: pytest.LogCaptureFixture) -> None:
    with TimeoutLog(LoggingSink()), caplog.at_level(logging.WARNING, "grpc_heartbeat.timeouts"):
        call_events.emit(EVENT)
        wait_until(lambda: caplog.records)
    (record,) = caplog.records
    expected = "/shop.Orders/Place ended early: header time-out, DEADLINE_EXCEEDED after 0.510 s (policy:default)"
    assert record.getMessage() == expected
    assert record.__dict__["timeout"]["limit"] == 0.5


@pytest.mark.parametrize("traced", [True, False])
def test_opentelemetry_logs(traced: bool, tracer: trace.Tracer) -> None:
    exporter_type = getattr(log_export, "InMemoryLogRecordExporter", None) or log_export.InMemoryLogExporter
    exporter = exporter_type()
    provider = LoggerProvider()
    provider.add_log_record_processor(log_export.SimpleLogRecordProcessor(exporter))
    span = tracer.start_span("buy") if traced else trace.INVALID_SPAN
    with TimeoutLog(OpenTelemetrySink(provider), load=lambda: {"in_flight": 7}), trace.use_span(span):
        call_events.emit(EVENT)
    (data,) = exporter.get_finished_logs()
    provider.shutdown()
    record: Any = data.log_record
    assert record.body == "/shop.Orders/Place ended early by its header time-out"
    assert record.severity_text == "WARN"
    assert record.timestamp > 1.7e18
    attributes = dict(record.attributes)
    assert attributes["event.name"] == "grpc_heartbeat.timeout"
    assert attributes["grpc_heartbeat.timeout.limit"] == 0.5
    assert attributes["grpc_heartbeat.timeout.load"] == '{"in_flight": 7}'
    assert not [name for name in attributes if name.endswith(("trace_id", "span_id", "trace_flags"))]
    resource = getattr(data, "resource", None) or record.resource
    assert resource.attributes["telemetry.sdk.name"] == "opentelemetry"
    context = span.get_span_context()
    assert (record.trace_id or 0, record.span_id or 0) == (context.trace_id, context.span_id)


def test_drops_are_counted() -> None:
    kept = Kept()
    with TimeoutLog(kept, capacity=10, per_second=0.001) as log:
        for _ in range(50):
            call_events.emit(EVENT)
        assert log.accepted + sum(log.dropped.values()) == 50
    assert len(kept.records) == log.accepted == 10
    assert sum(log.dropped.values()) == 40


@pytest.mark.internal_faults
def test_a_sink_that_raises_is_dropped_and_the_others_go_on() -> None:
    class Broken(Kept):
        def write(self, records: list[Any]) -> None:
            raise OSError("disk full")

    broken, kept = Broken(), Kept()
    with TimeoutLog(broken, kept):
        call_events.emit(EVENT)
        wait_until(lambda: kept.records)
        call_events.emit(EVENT)
        wait_until(lambda: len(kept.records) == 2)
    assert (broken.closed, kept.closed) == (0, 1)


@pytest.mark.internal_faults
def test_a_load_that_cannot_be_said_costs_no_record(tmp_path: Path) -> None:
    answers: list[Any] = [ZeroDivisionError(), {"disk": Path("full")}, {"in_flight": 7}]

    def load() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with TimeoutLog(JsonLinesSink(tmp_path / "log"), load=load):
        for _ in range(3):
            call_events.emit(EVENT)
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [record.get("load") for record in records] == [None, {"disk": "full"}, {"in_flight": 7}]


def test_starting_and_closing_twice_is_harmless() -> None:
    kept = Kept()
    log = TimeoutLog(kept)
    assert log.start().start() is log
    assert len(call_events) == 1
    log.close()
    log.close()
    assert kept.closed == 1
    never = TimeoutLog(unused := Kept())
    never.close()
    assert unused.closed == 1


@pytest.mark.parametrize("bad", [{"capacity": 0}, {"per_second": 0.0}, {"per_second": -1}])
def test_bad_bounds_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        TimeoutLog(Kept(), **bad)
    with pytest.raises(ValueError, match="needs a sink"):
        TimeoutLog()


def test_two_thousand_a_second_are_written_and_none_is_dropped(tmp_path: Path) -> None:
    """120,000 a minute, from several threads at a time; what is offered beyond that is counted."""
    threads, each = 4, 1_000
    with TimeoutLog(JsonLinesSink(tmp_path / "log")) as log:

        def offer() -> None:
            began = monotonic()
            for number in range(each):
                call_events.emit(EVENT)
                ahead = began + number * threads / 2_000 - monotonic()
                if ahead > 0:
                    time.sleep(ahead)  # sleep: the pace is the subject

        senders = [threading.Thread(target=offer) for _ in range(threads)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert log.dropped == {"full": 0, "over_rate": 0}
        assert log.accepted == threads * each
        for _ in range(20_000):
            call_events.emit(EVENT)
        assert log.accepted + sum(log.dropped.values()) == threads * each + 20_000
        assert sum(log.dropped.values()) > 0
        accepted = log.accepted
    assert len((tmp_path / "log").read_text().splitlines()) == accepted


def test_calls_that_end_early_are_hardly_slower_with_the_log(tmp_path: Path) -> None:
    """Those that may not start are the fastest there are, so that nothing hides what the log adds."""
    bare: list[float] = []
    logged: list[float] = []
    with grpc_heartbeat.insecure_channel("127.0.0.1:1") as channel, deadline.limit(0.0):
        call = channel.unary_unary(path("UnaryUnary"))

        def batch(times: list[float]) -> None:
            for _ in range(20):
                began = perf_counter()
                with pytest.raises(grpc.RpcError):
                    call(b"")
                times.append(perf_counter() - began)

        for _ in range(30):
            batch(bare)
            with TimeoutLog(JsonLinesSink(tmp_path / "log")):
                batch(logged)
    typical, more = statistics.median(bare), statistics.median(logged) - statistics.median(bare)
    assert more < 3 * typical, f"{typical * 1e6:.0f} µs, and {more * 1e6:.0f} µs more with the log"

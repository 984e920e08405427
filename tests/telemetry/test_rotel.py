"""The demo's spans, as a collector that others wrote has received them over OTLP/gRPC."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from grpc_heartbeat._call_events import call_events
from grpc_heartbeat.core.call_events import CallEndedEarly
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.telemetry import OpenTelemetrySink, TimeoutLog
from grpc_heartbeat.telemetry.verdict_spans import VERDICT_SPAN
from tests.peers import wait_until
from tests.programs import free_ports, program
from tests.telemetry.dump import Span, by_trace, orphans, spans

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(120)]

BEAT = "grpc_heartbeat.v1.Heartbeat/Keepalive beat"


@contextmanager
def collector(what: str, log: Path) -> Iterator[str]:
    """Run a collector that writes the ``what`` that it receives to ``log``; yields where it takes them."""
    program_ = program("rotel-agent", "PyPI: rotel")
    grpc_port, http_port = free_ports(2)
    command = [program_, "start", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}"]
    command += ["--otlp-http-endpoint", f"127.0.0.1:{http_port}", "--exporter", "blackhole"]
    command += ["--debug-log", what, "--debug-log-verbosity", "detailed"]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _wait_for(grpc_port)
            yield f"http://127.0.0.1:{grpc_port}"
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> list[Span]:
    """What the collector received while the demo ran."""
    log = tmp_path_factory.mktemp("rotel") / "log"
    with collector("traces", log) as endpoint:
        environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        demo = [sys.executable, "-m", "grpc_heartbeat.cli", "demo"]
        ended = subprocess.run(demo, env=environment, capture_output=True, text=True, timeout=90, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    return spans(_read(log))


def _wait_for(port: int) -> None:
    give_up = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < give_up, "the collector does not listen"
            time.sleep(0.02)  # sleep: another process starts to listen, and says so to nobody
        else:
            return


def _read(log: Path) -> str:
    return log.read_text(errors="replace")


def _beats(received: list[Span], kind: str) -> list[Span]:
    return [span for span in received if span.name == BEAT and span.kind == kind]


def test_every_span_has_its_parent_in_its_trace(received: list[Span]) -> None:
    assert len(received) > 50
    lost = [span for trace in by_trace(received).values() for span in orphans(trace)]
    assert lost == []


def test_every_answered_beat_is_one_client_span_and_one_server_span_of_one_trace(received: list[Span]) -> None:
    traces = by_trace(received)
    answered = [span for span in _beats(received, "client") if span.attributes.get("heartbeat.outcome") == "acked"]
    assert len(answered) > 20
    for span in answered:
        trace = traces[span.trace_id]
        assert sorted(other.kind for other in trace) == ["client", "server"]
        (server,) = (other for other in trace if other.kind == "server")
        assert server.parent_id == span.span_id


def test_every_span_of_a_beat_is_labelled_with_service_type_and_zones(received: list[Span]) -> None:
    for kind in ("client", "server"):
        beats = _beats(received, kind)
        assert beats
        for span in beats:
            assert span.attributes["service.name"] == span.resource["service.name"]
            assert span.attributes["heartbeat.type"] in ("liveness", "readiness")
            assert span.attributes["cloud.availability_zone"]
            assert span.attributes["upstream.zone"].startswith("eu-west-1")
            assert span.attributes["service.peer.name"]


def test_both_ends_of_every_span_are_there_and_in_order(received: list[Span]) -> None:
    for span in received:
        assert 0 < int(span.fields["Start time"]) <= int(span.fields["End time"])
    assert len({(span.trace_id, span.span_id) for span in received}) == len(received)


def test_the_exporter_is_not_traced(received: list[Span]) -> None:
    assert not [span for span in received if "opentelemetry" in span.attributes.get("rpc.method", "") + span.name]
    assert {span.resource["service.name"] for span in received} == {"client", "gateway", "orders", "stock"}


def test_what_was_thought_of_the_frozen_peer_is_told_to_its_end(received: list[Span]) -> None:
    told = [span for span in received if span.name == VERDICT_SPAN and span.attributes.get("service.name") == "orders"]
    told.sort(key=lambda span: int(span.fields["Start time"]))
    verdicts = [span.attributes.get("heartbeat.verdict") for span in told]
    first = verdicts.index("up")  # before, the peer had not started yet
    told, verdicts = told[first:], verdicts[first:]
    convicted = verdicts.index("down") if "down" in verdicts else verdicts.index("stuck")
    assert "up" in verdicts[convicted:]
    for span in told:
        assert span.parent_id == ""
        assert span.attributes["upstream.zone"] == "eu-west-1c"
        assert span.attributes["heartbeat.type"] in ("liveness", "readiness")
        failed = "ERROR" in span.fields["Status code"].upper()
        assert failed == (span.attributes.get("heartbeat.verdict") in ("down", "stuck"))


def test_records_of_early_ends_arrive_as_otlp_logs(tmp_path: Path) -> None:
    facts = TimeoutFacts("header", 0.5, 0.51, "policy:default", "READY")
    event = CallEndedEarly(1.0, "/shop.Orders/Place", "DEADLINE_EXCEEDED", "late", facts, 1.5, "orders:443")
    log = tmp_path / "log"
    tracers = TracerProvider(shutdown_on_exit=False)
    with collector("logs", log) as endpoint:
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=endpoint, insecure=True)))
        with TimeoutLog(OpenTelemetrySink(provider)), tracers.get_tracer("test").start_as_current_span("buy") as span:
            for _ in range(3):
                call_events.emit(event)
        provider.shutdown()
        wait_until(lambda: _read(log).count("LogRecord #") >= 3)
    tracers.shutdown()
    received = _read(log)
    assert received.count("LogRecord #") == 3
    for said in (
        "event.name: Str(grpc_heartbeat.timeout)",
        "grpc_heartbeat.timeout.method: Str(/shop.Orders/Place)",
        "grpc_heartbeat.timeout.layer: Str(header)",
        "grpc_heartbeat.timeout.limit: Double(0.5)",
        f"{span.get_span_context().trace_id:032x}",
    ):
        assert received.count(said) == 3, said

"""The demo's spans as a Jaeger shows them (``JAEGER_URL=http://localhost:16686``), and the checker of them by itself.

``jaeger_answer.json`` has the form of Jaeger's answers: a stream's opening, a beat with its echo, a missed beat, a request.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import command_environment, command_line
from tests.telemetry.jaeger import ask, problems, records, warnings

SERVICES = ("client", "gateway", "orders", "stock")
OPEN, ACKED, MISSED, REQUEST = range(4)


@pytest.fixture
def answer() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(Path(__file__).with_name("jaeger_answer.json").read_text("utf-8"))
    return read


def _found(answer: dict[str, Any]) -> str:
    return "\n".join(problems(records(answer), warnings(answer)))


def _tag(span: dict[str, Any], key: str) -> dict[str, Any]:
    tag: dict[str, Any] = next(tag for tag in span["tags"] if tag["key"] == key)
    return tag


def test_nothing_is_wrong_with_what_is_right(answer: dict[str, Any]) -> None:
    assert _found(answer) == ""


def test_a_span_is_read_as_jaeger_shows_it(answer: dict[str, Any]) -> None:
    client, server = (span for span in records(answer) if span.trace_id == "1a" * 16)
    assert (client.kind, client.service, client.zone, client.parent_id) == ("client", "orders", "eu-west-1b", "")
    assert (server.kind, server.service, server.zone, server.parent_id) == (
        "server",
        "stock",
        "eu-west-1c",
        client.span_id,
    )
    assert (client.start, client.end) == (1_790_000_000_005_000_000, 1_790_000_000_006_800_000)
    assert client.attributes["heartbeat.sequence"] == 1
    assert not client.failed


def test_a_link_within_the_trace_is_a_parent_when_there_is_no_other(answer: dict[str, Any]) -> None:
    server = answer["data"][ACKED]["spans"][1]
    link = {**server["references"][0], "refType": "FOLLOWS_FROM", "spanID": "00000000000000ff"}
    server["references"].insert(0, link)
    assert records(answer)[2].parent_id == "00000000000000a1"
    del server["references"][1]
    assert records(answer)[2].parent_id == "00000000000000ff"


def test_an_orphan_is_found(answer: dict[str, Any]) -> None:
    del answer["data"][ACKED]["spans"][0]
    assert "none is an orphan" in _found(answer)


def test_an_answered_beat_without_its_server_is_found(answer: dict[str, Any]) -> None:
    del answer["data"][ACKED]["spans"][1]
    assert "a client's and a server's span of one trace" in _found(answer)


@pytest.mark.parametrize("label", ["service.name", "heartbeat.type", "upstream.zone"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_missing_label_is_found(answer: dict[str, Any], label: str, side: int) -> None:
    _tag(answer["data"][ACKED]["spans"][side], label)["key"] = "another"
    assert "on every span of a beat" in _found(answer)


def test_a_miss_that_is_no_error_is_found(answer: dict[str, Any]) -> None:
    span = answer["data"][MISSED]["spans"][0]
    _tag(span, "otel.status_code")["value"] = "OK"
    _tag(span, "error")["value"] = False
    assert "marked as an error" in _found(answer)


def test_a_span_of_the_exporter_is_found(answer: dict[str, Any]) -> None:
    answer["data"][REQUEST]["spans"][0]["operationName"] = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    assert "the exporter's" in _found(answer)


def test_a_span_that_ends_before_it_starts_is_found(answer: dict[str, Any]) -> None:
    answer["data"][OPEN]["spans"][0]["duration"] = -1
    assert "ends before it starts" in _found(answer)


def test_what_jaeger_warns_of_is_told_but_for_clocks(answer: dict[str, Any]) -> None:
    answer["data"][REQUEST]["spans"][1]["warnings"] += ["invalid parent span IDs=eee; skipping clock skew adjustment"]
    answer["data"][REQUEST]["warnings"] = ["duplicate span IDs"]
    assert warnings(answer) == ["duplicate span IDs", "invalid parent span IDs=eee; skipping clock skew adjustment"]
    assert "Jaeger warns: duplicate" in _found(answer)


class _StandIn(HTTPServer):
    """Answers what it is given, and remembers what it was asked."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _StandIn)
        self.server.asked.append(self.path)
        body = json.dumps(self.server.answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


@pytest.fixture
def stand_in(answer: dict[str, Any]) -> Iterator[_StandIn]:
    with _StandIn(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_each_service_is_asked_for_and_a_trace_counts_once(stand_in: _StandIn, answer: dict[str, Any]) -> None:
    got = ask(f"http://127.0.0.1:{stand_in.server_port}/", ("orders", "stock"), 1_790_000_000.5)
    assert got["data"] == answer["data"]
    queries = [urllib.parse.parse_qs(urllib.parse.urlsplit(path).query) for path in stand_in.asked]
    assert [query["service"] for query in queries] == [["orders"], ["stock"]]
    assert {query["start"][0] for query in queries} == {"1790000000500000"}
    assert all(path.startswith("/api/traces?") for path in stand_in.asked)


def test_an_error_of_jaeger_is_told(stand_in: _StandIn) -> None:
    stand_in.answer["errors"] = [{"code": 500, "msg": "storage is down"}]
    with pytest.raises(AssertionError, match="storage is down"):
        ask(f"http://127.0.0.1:{stand_in.server_port}", ("orders",), 0.0)


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_demo_in_jaeger() -> None:
    """Set ``JAEGER_URL``; spans go to port 4317 of its host unless ``JAEGER_OTLP`` names another endpoint."""
    url = os.environ.get("JAEGER_URL", "")
    if not url:
        pytest.skip(
            "needs a Jaeger: set JAEGER_URL, for example to http://localhost:16686 (docs/tracing.md starts one)"
        )
    otlp = os.environ.get("JAEGER_OTLP") or f"http://{urllib.parse.urlsplit(url).hostname}:4317"
    began = time.time()
    environment = command_environment() | {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp}
    demo = subprocess.run(
        command_line("demo", "--json"), env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert demo.returncode == 0, demo.stdout[-2000:] + demo.stderr
    sent = json.loads(demo.stdout)["traces"]["delivered"]
    give_up = time.monotonic() + 20
    while len(records(answer := ask(url, SERVICES, began))) < sent and time.monotonic() < give_up:
        time.sleep(0.2)  # sleep: Jaeger stores what it has taken a moment later, and tells nobody
    assert len(records(answer)) == sent
    assert problems(records(answer), warnings(answer)) == []

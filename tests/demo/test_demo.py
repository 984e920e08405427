"""The real command: processes, sockets, signals, OTLP. It checks itself; these tests check that it found what it must."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from grpc_heartbeat.demo.receiver import Receiver
from grpc_heartbeat.demo.traces import BEAT, LABELS, grow
from tests.cli.conftest import command_environment, command_line

LIMIT = 55.0
WIDTH = 100


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = command_line("demo", *arguments)
    made = command_environment() | environment
    return subprocess.run(command, capture_output=True, text=True, env=made, timeout=LIMIT, stdin=subprocess.DEVNULL)


@pytest.mark.slow
def test_the_facts() -> None:
    done = run("--json", "--freeze", "2.5")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    facts = json.loads(done.stdout)
    assert facts["ok"]
    assert all(check["ok"] for check in facts["checks"])
    assert len(facts["checks"]) == 15
    _check_flow(facts["flow"])
    _check_cancel(facts["cancel"])
    _check_freeze(facts["freeze"])
    _check_traces(facts["traces"])


def _check_flow(flow: dict[str, Any]) -> None:
    assert [service for service, _ in flow["hops"]] == ["gateway", "orders", "stock"]
    left = [8.0, *(remaining for _, remaining in flow["hops"])]
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == len(left)
    assert all(0 < link["rtt_min"] <= link["rtt_avg"] for link in flow["links"])


def _check_cancel(cancel: dict[str, Any]) -> None:
    assert {ending["service"] for ending in cancel["endings"]} == {"gateway", "orders", "stock"}
    assert all(0 < ending["after"] < 1 for ending in cancel["endings"])


def _check_freeze(freeze: dict[str, Any]) -> None:
    endings = {ending["service"]: ending for ending in freeze["endings"]}
    assert endings["client"]["limit"]["source"] == "explicit"
    assert endings["orders"]["how"] == "DEADLINE_EXCEEDED"
    assert endings["orders"]["limit"]["source"] == "inherited:/shop.Orders/Place"
    assert endings["orders"]["limit"]["limit"] < 1.5
    states = [change["state"] for change in freeze["states"]]
    assert states[:2] == ["late", "down"]
    assert states[-1] == "up"
    assert freeze["misses"] >= 3
    assert freeze["lasted"] >= 2.5
    assert freeze["up_after_thaw"] < 10


def _check_traces(traces: dict[str, Any]) -> None:
    assert traces["ended"] == traces["delivered"] == traces["received"] == len(traces["spans"])
    known = {(span["trace_id"], span["span_id"]) for span in traces["spans"]}
    assert all(not span["parent_id"] or (span["trace_id"], span["parent_id"]) in known for span in traces["spans"])
    assert traces["orphans"] == 0
    beats = [span for span in traces["spans"] if span["name"] == BEAT]
    assert {span["service"] for span in beats} == {"client", "gateway", "orders", "stock"}
    assert all(span["attributes"].get(label) for span in beats for label in LABELS)
    assert any(
        span["failed"] and span["attributes"]["heartbeat.outcome"] == "missed"
        for span in beats
        if span["kind"] == "client"
    )


@pytest.mark.slow
def test_spans_go_to_the_collector_that_the_environment_names() -> None:
    with Receiver() as collector:
        done = run(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
        spans = collector.spans()
    assert done.returncode == 0, done.stdout + done.stderr
    assert collector.endpoint in done.stdout
    assert "All 11 checks passed" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= WIDTH
    assert {span.service for span in spans} == {"client", "gateway", "orders", "stock"}
    assert not any(trace.orphans for trace in grow(spans))


def test_the_missing_extra_is_named() -> None:
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry.exporter"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from grpc_heartbeat.cli import main
sys.exit(main(["demo"]))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=command_environment(), timeout=LIMIT)
    assert done.returncode == 2
    assert "grpc-heartbeat[otlp]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seconds", ["1", "nan", "soon"])
def test_a_freeze_that_shows_nothing_is_refused(seconds: str) -> None:
    done = run("--freeze", seconds)
    assert done.returncode == 2
    assert "--freeze" in done.stderr

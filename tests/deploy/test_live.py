"""The demo's processes, scraped by a real Prometheus: the metric of beats, the rules, an alert that fires and resolves."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from grpc_heartbeat.demo import acts, metrics
from grpc_heartbeat.demo.acts import Cast
from grpc_heartbeat.demo.children import children
from grpc_heartbeat.demo.director import node_environment
from grpc_heartbeat.demo.receiver import Receiver
from grpc_heartbeat.demo.topology import CHAIN, LINKS, PLACES
from tests.cli.conftest import command_environment, command_line
from tests.deploy.files import dashboards, expressions
from tests.deploy.prometheus import Prometheus, becomes, prometheus
from tests.programs import program

NAMES = tuple(place.service for place in CHAIN)


def adjacent_ports(count: int) -> list[int]:
    """Return ports in a row that were free a moment ago."""
    for base in range(20_000, 30_000, count):
        try:
            for port in range(base, base + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return list(range(base, base + count))
    raise AssertionError("no ports are free")


@pytest.fixture
def ports() -> list[int]:
    program("prometheus", "Debian: prometheus")
    return adjacent_ports(len(CHAIN))


@pytest.fixture
def cast(ports: list[int]) -> Iterator[Cast]:
    with Receiver() as receiver:
        environment = node_environment(os.environ, receiver.endpoint) | metrics.environment(ports[0])
        with children(PLACES, environment) as cast:
            acts.connect(cast)
            yield cast


@pytest.fixture
def server(ports: list[int], cast: Cast, tmp_path: Path) -> Iterator[Prometheus]:
    with prometheus(tmp_path, ports) as server:
        yield server


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_beats_are_counted_and_a_frozen_process_is_alerted(server: Prometheus, cast: Cast, ports: list[int]) -> None:
    instances = {name: f"127.0.0.1:{port}" for name, port in zip(NAMES, ports, strict=True)}
    _beats_are_there(server, instances)
    _rules_evaluate(server)
    _the_dashboard_is_answered(server)
    cast["stock"].freeze()
    becomes(lambda: server.firing("HeartbeatPeerDown"), "the alert fires")
    (down,) = server.firing("HeartbeatPeerDown")
    assert (down["service"], down["zone"], down["instance"]) == ("stock", PLACES["stock"].zone, instances["orders"])
    becomes(lambda: server.firing("HeartbeatProcessSilent"), "the process is missed by Prometheus itself")
    assert [alert["instance"] for alert in server.firing("HeartbeatProcessSilent")] == [instances["stock"]]
    missed = server.query('health_check_duration_seconds_count{service="stock", status="missed"}')
    assert [sample["metric"]["instance"] for sample in missed] == [instances["orders"]]
    cast["stock"].thaw()
    becomes(lambda: not server.firing("HeartbeatPeerDown"), "the alert resolves")
    becomes(lambda: not server.firing("HeartbeatProcessSilent"), "Prometheus sees the process again")


def _beats_are_there(server: Prometheus, instances: dict[str, str]) -> None:
    expected = {(instances[source.service], target.service, "liveness", target.zone) for source, target in LINKS}

    def served() -> bool:
        samples = server.query('health_check_duration_seconds_count{status="serving"} > 3')
        labels = [sample["metric"] for sample in samples]
        return {(each["instance"], each["service"], each["type"], each["zone"]) for each in labels} == expected

    becomes(served, "every link's beats are there, with service, type, zone and status")


def _rules_evaluate(server: Prometheus) -> None:
    def healthy() -> bool:
        rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
        assert not [rule["lastError"] for rule in rules if rule.get("lastError")]
        return all(rule["health"] == "ok" for rule in rules)

    becomes(healthy, "every rule was evaluated")
    ratio = becomes(lambda: server.query("service_type_zone:health_check_missed:ratio_rate1m"), "a share is recorded")
    assert {sample["metric"]["service"] for sample in ratio} <= set(NAMES)
    p99 = "service_type_zone:health_check_duration_seconds:p99_rate5m > 0"
    becomes(lambda: len(server.query(p99)) == len(LINKS), "every link has a quantile of its round trips")


def _the_dashboard_is_answered(server: Prometheus) -> None:
    for dashboard in dashboards().values():
        answers = [server.query(expression) for expression in expressions(dashboard)]
        assert sum(map(bool, answers)) > len(answers) / 2  # nothing has failed, timed out or been refused yet


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_demo_passes_while_it_is_measured() -> None:
    base = adjacent_ports(len(CHAIN))[0]
    command = command_line("demo", "--json", "--freeze", "2", "--metrics-port", str(base))
    done = subprocess.run(command, capture_output=True, text=True, env=command_environment(), timeout=90)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert json.loads(done.stdout)["ok"]


@pytest.mark.parametrize("port", ["0", "65533", "x", "-1"])
def test_a_port_that_leaves_no_room_is_refused(port: str) -> None:
    command = command_line("demo", f"--metrics-port={port}")
    done = subprocess.run(command, capture_output=True, text=True, env=command_environment(), timeout=55)
    assert done.returncode == 2
    assert "from 1 to 65532" in done.stderr

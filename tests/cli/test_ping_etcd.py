"""``ping`` against a server that others wrote, in another language: etcd, which has ``grpc.health.v1``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.cli.conftest import RunPing
from tests.programs import free_ports, program

pytestmark = pytest.mark.peers


def _wait_until_serving(target: str, process: subprocess.Popen[bytes]) -> None:
    channel = grpc.insecure_channel(target, options=[("grpc.max_reconnect_backoff_ms", 100)])
    check: grpc.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse] = (
        channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
    )
    with channel:
        while process.poll() is None:
            try:
                response = check(health_pb2.HealthCheckRequest(), timeout=30, wait_for_ready=True)
            except grpc.RpcError:  # its election is not over yet
                continue
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                return
    pytest.fail(f"etcd ended with status {process.returncode}")


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[str]:
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    command = [program("etcd", "Debian: etcd-server"), "--data-dir", str(tmp_path / "data")]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}"]
    target = client.removeprefix("http://")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_serving(target, process)
            yield target
        finally:
            process.kill()


@pytest.mark.slow
def test_etcd_is_pinged_by_health(run_ping: RunPing, etcd: str) -> None:
    done = run_ping(etcd, "-i", "0.05", "-c", "3", "--json")
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    beats = [line for line in objects if line["type"] == "beat"]
    assert (done.returncode, done.stderr) == (0, "")
    assert [(line["from"], line["to"]) for line in objects if line["type"] == "step_down"] == [("heartbeat", "health")]
    assert [(beat["answered"], beat["level"], beat["status"]) for beat in beats] == [(True, "health", "SERVING")] * 3
    unknown = run_ping(etcd, "-c", "1", "--service", "cellar")
    assert "NOT_FOUND (the server knows no health service named 'cellar')" in unknown.stdout

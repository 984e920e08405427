"""``grpc-heartbeat ping`` as a process, against real servers at every level and against none."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from grpc_heartbeat.v1 import heartbeat_pb2
from tests.cli.conftest import PingService, RunPing, TlsServer, command_environment, command_line

FAST = ("-c", "3", "-i", "0.02")


def _objects(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_heartbeat_server_names_itself(run_ping: RunPing, heartbeat_server: str) -> None:
    done = run_ping(heartbeat_server, *FAST)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"PING {heartbeat_server} over grpc_heartbeat.v1.Heartbeat/Ping"
    for sequence, line in enumerate(lines[1:4], start=1):
        pattern = rf"seq={sequence} time=\d+\.\d{{3}} ms SERVING service=orders zone=eu-1a instance=host:42"
        assert re.fullmatch(pattern, line)
    assert lines[5] == f"--- {heartbeat_server} statistics ---"
    assert lines[6].startswith("3 sent, 3 received, 0 % loss")
    assert re.fullmatch(r"rtt min/avg/p95/max = (\d+\.\d{3}/){3}\d+\.\d{3} ms", lines[7])
    assert len(lines) == 8


def test_json_lines_end_with_a_summary_of_the_beats(run_ping: RunPing, heartbeat_server: str) -> None:
    done = run_ping(heartbeat_server, *FAST, "--json")
    start, *beats, summary = _objects(done.stdout)
    assert (start["type"], start["level"]) == ("start", "heartbeat")
    assert [beat["sequence"] for beat in beats] == [1, 2, 3]
    assert all(beat["peer"] == {"service": "orders", "zone": "eu-1a", "instance": "host:42"} for beat in beats)
    assert all(beat["status"] == "SERVING" and beat["load"] == {"in_flight": 7} for beat in beats)
    assert (summary["sent"], summary["received"], summary["loss_percent"]) == (3, 3, 0)
    assert summary["min_ms"] == min(beat["rtt_ms"] for beat in beats) > 0
    assert summary["max_ms"] == summary["p95_ms"] == max(beat["rtt_ms"] for beat in beats)


def test_a_health_server_is_asked_by_health_and_this_is_said_once(run_ping: RunPing, health_server: str) -> None:
    done = run_ping(health_server, *FAST)
    assert done.returncode == 0
    assert done.stdout.count("going on over grpc.health.v1.Health/Check") == 1
    assert len(re.findall(r"seq=\d time=\S+ ms SERVING$", done.stdout, re.MULTILINE)) == 3


@pytest.mark.parametrize(("service", "status"), [("cellar", "NOT_SERVING"), ("attic", "NOT_FOUND")])
def test_a_named_service_is_asked_by_health_at_once(
    run_ping: RunPing, health_server: str, service: str, status: str
) -> None:
    done = run_ping(health_server, "-c", "1", "--service", service, "--json")
    assert done.returncode == 0
    start, beat, _ = _objects(done.stdout)
    assert (start["level"], beat["level"], beat["status"]) == ("health", "health", status)
    assert ("'attic'" in beat["message"]) == (service == "attic")


def test_a_bare_server_answers_too(run_ping: RunPing, bare_server: str) -> None:
    done = run_ping(bare_server, *FAST, "--json")
    assert done.returncode == 0
    objects = _objects(done.stdout)
    assert [(o["from"], o["to"]) for o in objects if o["type"] == "step_down"] == [
        ("heartbeat", "health"),
        ("health", "bare"),
    ]
    beats = [o for o in objects if o["type"] == "beat"]
    assert [(beat["answered"], beat["status"]) for beat in beats] == [(True, "UNIMPLEMENTED")] * 3
    assert (objects[-1]["received"], objects[-1]["level"]) == (3, "bare")


def test_a_refused_port_is_one_clear_line_per_beat(run_ping: RunPing, refused_target: str) -> None:
    done = run_ping(refused_target, "-c", "2", "-i", "0.02")
    assert (done.returncode, done.stderr) == (1, "")
    assert (
        re.findall(r"^seq=\d lost: (.*)$", done.stdout, re.MULTILINE)
        == ["connection refused: nothing listens on that port"] * 2
    )
    assert "2 sent, 0 received, 100 % loss" in done.stdout
    assert "rtt" not in done.stdout


def test_a_name_that_does_not_resolve(run_ping: RunPing) -> None:
    done = run_ping("no-such-host.invalid:1", "-c", "1", "-W", "10", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    _, beat, summary = _objects(done.stdout)
    assert not beat["answered"]
    assert beat["code"] in ("UNAVAILABLE", "DEADLINE_EXCEEDED")  # a silent DNS server ends as the latter
    assert (summary["received"], summary["min_ms"]) == (0, None)


def test_a_silent_port_is_told_from_a_slow_server(
    run_ping: RunPing, silent_target: str, heartbeat_server: str, ping_service: PingService
) -> None:
    silent = run_ping(silent_target, "-c", "1", "-W", "0.5")
    assert (silent.returncode, silent.stderr) == (1, "")
    assert "stays silent" in silent.stdout or "no connection within 0.5 s" in silent.stdout
    ping_service.answering.clear()
    slow = run_ping(heartbeat_server, "-c", "1", "-W", "0.5")
    assert (slow.returncode, slow.stderr) == (1, "")
    assert re.search(r"seq=1 lost: no answer within 0\.5 s", slow.stdout)


def test_an_ack_for_another_beat_is_no_answer(
    run_ping: RunPing, heartbeat_server: str, ping_service: PingService
) -> None:
    ping_service.sequence_offset = 5
    done = run_ping(heartbeat_server, "-c", "1")
    assert done.returncode == 1
    assert "seq=1 lost: the ack is for beat 6, not 1" in done.stdout


def test_what_a_peer_calls_itself_cannot_steer_the_terminal(
    run_ping: RunPing, heartbeat_server: str, ping_service: PingService
) -> None:
    ping_service.sender = heartbeat_pb2.Hello(service="\x1b[2J\x07boo")
    done = run_ping(heartbeat_server, "-c", "1")
    assert "service=?[2J?boo" in done.stdout


def test_a_terminal_that_lacks_a_letter_is_shown_its_number(heartbeat_server: str, ping_service: PingService) -> None:
    ping_service.sender.service = "café"
    environment = command_environment() | {"PYTHONIOENCODING": "ascii"}
    command = command_line("ping", heartbeat_server, "-c", "1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=45)
    assert (done.returncode, done.stderr) == (0, "")
    assert "service=caf\\xe9" in done.stdout


def test_a_standard_error_that_is_closed_is_left_alone(heartbeat_server: str) -> None:
    command = shlex.join(command_line("ping", heartbeat_server, "-c", "1"))
    done = subprocess.run(
        f"{command} 2>&-", shell=True, env=command_environment(), stdout=subprocess.PIPE, text=True, timeout=45
    )
    assert done.returncode == 0
    assert "1 sent, 1 received" in done.stdout


def test_quiet_leaves_the_statistics(run_ping: RunPing, heartbeat_server: str) -> None:
    done = run_ping(heartbeat_server, *FAST, "-q")
    assert "seq=" not in done.stdout
    assert "3 sent, 3 received" in done.stdout


def test_the_deadline_ends_the_run(run_ping: RunPing, heartbeat_server: str) -> None:
    done = run_ping(heartbeat_server, "-i", "0.1", "-w", "0.45", "--json")
    assert done.returncode == 0
    assert 1 <= _objects(done.stdout)[-1]["sent"] <= 5


def test_tls_is_checked_and_its_failures_are_told_apart(run_ping: RunPing, tls_server: TlsServer) -> None:
    target, roots = tls_server.target, str(tls_server.certificate)
    trusted = run_ping(target, *FAST, "--tls", "--cacert", roots, "--authority", "heart.example")
    assert (trusted.returncode, trusted.stderr) == (0, "")
    wrong_name = run_ping(target, "-c", "1", "--tls", "--cacert", roots)
    assert (wrong_name.returncode, wrong_name.stderr) == (1, "")
    assert "TLS: the certificate is for another name" in wrong_name.stdout
    untrusted = run_ping(target, "-c", "1", "--tls")
    assert untrusted.stderr == "", "gRPC's own log must not repeat the failure"
    assert "TLS: the server's certificate is not trusted" in untrusted.stdout
    plaintext = run_ping(target, "-c", "1")
    assert "(does it want --tls?)" in plaintext.stdout


def test_tls_to_a_plaintext_server(run_ping: RunPing, bare_server: str) -> None:
    done = run_ping(bare_server, "-c", "1", "--tls")
    assert (done.returncode, done.stderr) == (1, "")
    assert "TLS: the server does not speak TLS on that port" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("localhost",),
        ("localhost:1", "-c", "0"),
        ("localhost:1", "-c", "many"),
        ("localhost:1", "-i", "0"),
        ("localhost:1", "-W", "nan"),
        ("localhost:1", "-w", "-1"),
        ("localhost:1", "--cacert", "/does/not/exist", "--tls"),
        ("localhost:1", "--cacert", __file__),
        ("localhost:1", "--no-such-option"),
        ("unix:/tmp/\udcff",),
        ("localhost:1", "--service", "a\udcff"),
        ("localhost:1", "--authority", "a\udcff"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(run_ping: RunPing, arguments: tuple[str, ...]) -> None:
    done = run_ping(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: " in done.stderr


@contextmanager
def _running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command_line("ping", *arguments),
        env=command_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _read_until(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stdout is not None
    assert any(wanted in line for line in process.stdout)


def test_an_interrupt_prints_the_statistics(heartbeat_server: str) -> None:
    with _running(heartbeat_server, "-i", "0.05") as process:
        _read_until(process, "seq=2 ")
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert f"--- {heartbeat_server} statistics ---" in rest
    assert " 0 % loss" in rest


def test_an_interrupted_beat_counts_neither_way(heartbeat_server: str, ping_service: PingService) -> None:
    ping_service.answering.clear()
    with _running(heartbeat_server, "-W", "40") as process:
        _read_until(process, "PING")
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (1, "")
    assert "0 sent, 0 received, 0 % loss" in rest


def test_a_reader_that_goes_away_ends_the_run_quietly(heartbeat_server: str) -> None:
    with _running(heartbeat_server, "-i", "0.02") as process:
        _read_until(process, "seq=1 ")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(timeout=20) == 141
        assert process.stderr.read() == ""

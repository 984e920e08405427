"""``grpc-heartbeat ping --strategy`` as a process."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import RunPing, command_environment, command_line
from tests.peers import LoopThread
from tests.strategies.test_websocket import serving

FAST = ("-c", "3", "-i", "0.02")


@pytest.mark.parametrize("strategy", ["tcp", "http2-ping"])
def test_round_trips_and_a_summary(run_ping: RunPing, heartbeat_server: str, strategy: str) -> None:
    done = run_ping("--strategy", strategy, heartbeat_server, *FAST)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"PING {heartbeat_server} by the strategy {strategy}"
    for sequence, line in enumerate(lines[1:4], start=1):
        assert re.fullmatch(rf"seq={sequence} time=\d+\.\d{{3}} ms", line)
    assert lines[6] == f"3 sent, 3 received, 0 % loss, by the strategy {strategy}"
    assert re.fullmatch(r"rtt min/avg/p95/max = (\d+\.\d{3}/){3}\d+\.\d{3} ms", lines[7])


def test_the_own_strategy_says_what_the_peer_says(run_ping: RunPing, heartbeat_server: str) -> None:
    done = run_ping("--strategy", "grpc", heartbeat_server, *FAST, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    start, *beats, summary = (json.loads(line) for line in done.stdout.splitlines())
    assert (start["level"], start["method"]) == ("grpc", "grpc")
    for beat in beats:
        assert (beat["answered"], beat["status"], beat["load"]) == (True, "SERVING", {"in_flight": 7})
        assert beat["peer"] == {"service": "orders", "zone": "eu-1a", "instance": "host:42"}
    assert (summary["sent"], summary["received"]) == (3, 3)


def test_a_url_of_its_own_kind(run_ping: RunPing) -> None:
    loop = LoopThread()
    site = serving()
    address = loop.run(site.__aenter__()).target
    done = run_ping("--strategy", "websocket-ping", f"ws://{address}/", *FAST)
    loop.run(site.__aexit__(None, None, None))
    loop.close()
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 sent, 3 received" in done.stdout


def test_a_refused_port_is_one_clear_line_per_beat(run_ping: RunPing, refused_target: str) -> None:
    done = run_ping("--strategy", "http2-ping", refused_target, "-c", "2", "-i", "0.02")
    assert (done.returncode, done.stderr) == (1, "")
    assert re.findall(r"^seq=\d lost: (.*)$", done.stdout, re.MULTILINE) == ["the connection was refused"] * 2


def test_a_silent_port(run_ping: RunPing, silent_target: str) -> None:
    done = run_ping("--strategy", "http2-ping", silent_target, "-c", "2", "-i", "0.1", "-W", "0.2", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    beats = [beat for line in done.stdout.splitlines() if (beat := json.loads(line))["type"] == "beat"]
    assert [(beat["code"], beat["reason"]) for beat in beats] == [
        ("DEADLINE_EXCEEDED", "no connection within 0.2 s")
    ] * 2


def test_an_interrupt_ends_it_with_the_summary(heartbeat_server: str) -> None:
    command = command_line("ping", "--strategy", "http2-ping", heartbeat_server, "-i", "30")
    with subprocess.Popen(command, env=command_environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("PING")
        assert process.stdout.readline().startswith("seq=1 time=")
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert "1 sent, 1 received, 0 % loss" in rest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--strategy", "http2", "a:1"),
            "argument --strategy: there is no strategy 'http2' (did you mean 'http2-ping'?); known: grpc, http2-ping",
        ),
        (("--strategy", "tcp", "ws://a"), "target 'ws://a' must begin with tcp://, not ws://"),
        (("--strategy", "websocket-ping", "a:1"), "target 'a:1' must begin with ws:// or wss://"),
        (("--strategy", "tcp", "a:1", "--authority", "b"), "the strategy tcp takes no server_name"),
        (("--strategy", "http2-ping", "a:1", "--tls"), "--strategy takes no --tls and no --service"),
        (("--strategy", "grpc", "a:1", "--service", "b"), "--strategy takes no --tls and no --service"),
        (("https://a:1",), "argument HOST:PORT: 'https://a:1' is a URL; give HOST:PORT"),
    ],
)
def test_a_wrong_command_line_is_told(run_ping: RunPing, arguments: tuple[str, ...], said: str) -> None:
    done = run_ping(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_missing_library_is_named_with_its_extra(
    run_ping: RunPing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "h2.py").write_text("raise ModuleNotFoundError('No module named h2', name='h2')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run_ping("--strategy", "http2-ping", "localhost:1")
    assert done.returncode == 2
    assert done.stderr == ("grpc-heartbeat: this needs the package 'h2': pip install 'grpc-heartbeat[strategies]'\n")


def test_a_connection_that_ends_is_made_anew_by_the_next_beat(run_ping: RunPing) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        command = command_line("ping", "--strategy", "tcp", address, "-c", "2", "-i", "0.5")
        with subprocess.Popen(command, env=command_environment(), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("PING")
            assert process.stdout.readline().startswith("seq=1 time=")
            kept, probe = listener.accept()[0], listener.accept()[0]
            kept.close()
            probe.close()
            assert "2 sent, 2 received" in process.stdout.read()

"""Every example runs as a person would run it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def environment(address: str) -> dict[str, str]:
    return {**os.environ, "EXAMPLE_ADDRESS": address, "no_grpc_proxy": "127.0.0.1", "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "examples.aio_server"]
    with subprocess.Popen(command, cwd=ROOT, env=environment(address), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"listening on {address}\n"
            yield address, process
        finally:
            process.kill()


def run(example: str, address: str) -> list[str]:
    command = [sys.executable, "-m", f"examples.{example}"]
    result = subprocess.run(command, cwd=ROOT, env=environment(address), capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_the_client_shares_one_budget_among_its_calls(server: tuple[str, subprocess.Popen[str]]) -> None:
    first, _, last = run("aio_client", server[0])
    assert re.fullmatch(r"call 0: (the server stopped after [1-5] numbers|Deadline Exceeded)", first)
    assert re.fullmatch(
        r"call 2: (the server stopped after 0 numbers|.* was not (sent|started).*|Deadline Exceeded)", last
    )


def test_the_gateway_passes_deadline_and_cancel_through(server: tuple[str, subprocess.Popen[str]]) -> None:
    limited, unlimited = run("sync_gateway", server[0])
    assert limited.startswith("with a budget: ")
    assert limited.endswith("s left")
    assert unlimited == "without one: 0, no limit"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_stops_when_it_is_told_to(server: tuple[str, subprocess.Popen[str]], number: signal.Signals) -> None:
    process = server[1]
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert output == "stopped\n"
    assert process.returncode == 0

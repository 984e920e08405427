"""Predictions against what a real Python server and a real etcd (grpc-go) then do, cell by cell."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpc_heartbeat.options import Enforcement
from tests.options.grid import Cell, cells, client, echo_server, judge, watch
from tests.programs import free_ports, program

ETCD_WATCH = ("/etcdserverpb.Watch/Watch", b"\x0a\x03\x0a\x01k")
"""A stream that etcd answers once and then leaves quiet: watch the key "k", which nobody writes."""


async def wrong_predictions(grid: list[Cell], targets: dict[str, str], *first: tuple[str, bytes]) -> list[str]:
    """Run all cells at the same time; ``targets`` has a server for each ``repr`` of a cell's server."""
    opened = (watch(targets[repr(cell.server)], cell.client, calls=cell.calls, **_first(first)) for cell in grid)
    seen = await asyncio.gather(*opened)
    judged = [(cell, judge(cell.fate(), outcome)) for cell, outcome in zip(grid, seen, strict=True)]
    return [f"{cell}: {complaint}" for cell, complaint in judged if complaint]


def _first(first: tuple[tuple[str, bytes], ...]) -> dict[str, tuple[str, bytes]]:
    return {"first": first[0]} if first else {}


@pytest.mark.slow
async def test_a_python_server_does_what_was_foretold() -> None:
    grid = list(cells())
    outcomes = Counter(cell.fate().outcome for cell in grid)
    assert min(outcomes["survives"], outcomes["goaway"]) >= 20
    async with AsyncExitStack() as stack:
        targets: dict[str, str] = {}
        for cell in grid:
            if repr(cell.server) not in targets:
                assert isinstance(cell.server, list)
                targets[repr(cell.server)] = await stack.enter_async_context(echo_server(cell.server))
        assert await wrong_predictions(grid, targets) == []


@contextmanager
def etcd(folder: Path, min_seconds: int) -> Iterator[str]:
    """Run an etcd that counts a PING sooner than ``min_seconds`` as a strike."""
    found = program("etcd", "Debian: etcd-server")
    mine, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    command = [found, "--data-dir", str(folder), f"--grpc-keepalive-min-time={min_seconds}s"]
    command += ["--listen-client-urls", mine, "--advertise-client-urls", mine]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield mine.removeprefix("http://")
        finally:
            process.kill()


async def _until_it_answers(target: str) -> None:
    channel = grpc.aio.insecure_channel(target, options=[("grpc.max_reconnect_backoff_ms", 100)])
    async with channel:
        call: Any = channel.stream_stream(ETCD_WATCH[0])(wait_for_ready=True, timeout=30)
        await call.write(ETCD_WATCH[1])
        await call.read()
        call.cancel()


@pytest.mark.slow
async def test_etcd_does_what_was_foretold(tmp_path: Path) -> None:
    clients = [client(1000), client(2000), client(3000), client(1000, permit=1), client(2000, permit=1)]
    allowed = [Enforcement(min_interval=seconds) for seconds in (1, 2, 5)]
    grid = [Cell(options, server, calls) for options in clients for server in allowed for calls in (True, False)]
    with ExitStack() as stack:
        targets = {
            repr(server): stack.enter_context(etcd(tmp_path / str(place), int(server.min_interval)))
            for place, server in enumerate(allowed)
        }
        await asyncio.gather(*(_until_it_answers(target) for target in targets.values()))
        assert await wrong_predictions(grid, targets, ETCD_WATCH) == []

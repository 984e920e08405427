"""grpcio's own behavior on the asyncio stack does not change when no limit of ours ends a call: seen from every side."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, deadline
from tests.conformance.observe_aio import observe
from tests.conformance.paths_aio import PATHS, Path
from tests.conformance.scenarios import OPTIONS, SCENARIOS, Server
from tests.conformance.transparency import differences
from tests.peers import LoopThread

GENEROUS = Timeouts(total=30, connect=30, header=30, idle=30, write=30)
ours = grpc_heartbeat.aio.insecure_channel
SUBJECTS: dict[str, Callable[[str], grpc.aio.Channel]] = {
    "no limits": lambda target: ours(target, options=OPTIONS),
    "generous limits": lambda target: ours(target, options=OPTIONS, timeouts=GENEROUS),
    "wrapped": lambda target: grpc_heartbeat.aio.wrap_channel(
        grpc.aio.insecure_channel(target, options=OPTIONS), timeouts=GENEROUS
    ),
    "in a scope": lambda target: ours(target, options=OPTIONS),
}
RACES = {"unimplemented", "request too big", "refused", "refused, waits for ready"}
"""Ends that overtake the writing of requests, which grpc.aio then reports as INTERNAL, or not, as chance will have it."""
Channels = dict[tuple[str, str], grpc.aio.Channel]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(scope="module")
def channels(server: Server, loop: LoopThread) -> Iterator[Channels]:
    """Return, by who made them and by target, channels that are connected where they can be."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = f"127.0.0.1:{taken.getsockname()[1]}"
    targets = {"server": server.target, "refused": refused, "closed": server.target}
    makers = {"bare": lambda target: grpc.aio.insecure_channel(target, options=OPTIONS), **SUBJECTS}

    async def connect() -> Channels:
        opened = {(name, target): make(targets[target]) for name, make in makers.items() for target in targets}
        for (_, target), channel in opened.items():
            if target == "server":
                await observe(PATHS["unary-unary"], channel, SCENARIOS["ok"])
            elif target == "closed":
                await channel.close()
        return opened

    async def disconnect(opened: Channels) -> None:
        for channel in opened.values():
            await channel.close()

    opened = loop.run(connect())
    yield opened
    loop.run(disconnect(opened))


@pytest.fixture(scope="module")
def seen_of_bare() -> dict[Any, dict[str, Any]]:
    """Return what was seen of bare grpcio so far, by path and scenario."""
    return {}


def applies(path: Path, name: str) -> bool:
    """Tell whether the scenario says something about ``path``."""
    if name == "request iterator raises":
        return path.streams_requests and not path.writes
    return not (path.streams_requests and name in RACES)


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path in PATHS for name in SCENARIOS if applies(PATHS[path], name)]
)
def test_nothing_changes_but_more_words_about_a_limit(
    path: str,
    name: str,
    subject: str,
    channels: Channels,
    loop: LoopThread,
    seen_of_bare: dict[Any, dict[str, Any]],
) -> None:
    scenario = SCENARIOS[name]

    async def see(subject: str) -> dict[str, Any]:
        channel = channels[subject, scenario.target]
        if subject != "in a scope":
            return await observe(PATHS[path], channel, scenario)
        with deadline.limit(30):
            return await observe(PATHS[path], channel, scenario)

    if (path, name) not in seen_of_bare:
        seen_of_bare[path, name] = loop.run(see("bare"))
    assert differences(seen_of_bare[path, name], loop.run(see(subject)), scenario.rewords) == []

"""grpcio's own behavior on the sync stack does not change when no limit of ours ends a call: seen from every side."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, deadline
from tests.conformance.observe_sync import observe
from tests.conformance.paths_sync import PATHS, Path
from tests.conformance.scenarios import OPTIONS, SCENARIOS, Server
from tests.conformance.transparency import differences

GENEROUS = Timeouts(total=30, connect=30, header=30, idle=30, write=30)
SUBJECTS: dict[str, Callable[[str, Any], grpc.Channel]] = {
    "no limits": lambda target, options: grpc_heartbeat.insecure_channel(target, options=options),
    "generous limits": lambda target, options: grpc_heartbeat.insecure_channel(
        target, options=options, timeouts=GENEROUS
    ),
    "wrapped": lambda target, options: grpc_heartbeat.wrap_channel(
        grpc.insecure_channel(target, options=options), timeouts=GENEROUS
    ),
    "in a scope": lambda target, options: grpc_heartbeat.insecure_channel(target, options=options),
}
Channels = dict[tuple[str, str, Any], grpc.Channel]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="module")
def channels(server: Server) -> Iterator[Channels]:
    """Return, by who made them, by target and by options, channels that are connected where they can be."""
    makers = {"bare": lambda target, options: grpc.insecure_channel(target, options=options), **SUBJECTS}
    targets = {"server": server.target, "refused": free_port(), "closed": server.target}
    with ExitStack() as stack:
        opened = {}
        for subject, make in makers.items():
            for target, address in targets.items():
                for options in sorted({path.options for path in PATHS.values()}):
                    channel = stack.enter_context(make(address, [*OPTIONS, *options]))
                    if target == "server":
                        assert "responses" in observe(PATHS["unary-unary __call__"], channel, SCENARIOS["ok"], server)
                    elif target == "closed":
                        channel.close()
                    opened[subject, target, options] = channel
        yield opened


@pytest.fixture(scope="module")
def seen_of_bare() -> dict[Any, dict[str, Any]]:
    """Return what was seen of bare grpcio so far, by path and scenario."""
    return {}


def applies(path: Path, name: str) -> bool:
    """Tell whether the scenario says something about ``path``."""
    if name == "cancelled by the application":
        return path.form not in ("call", "with_call")  # a blocking call gives the application nothing to cancel
    if name == "request iterator raises":
        return path.streams_requests
    return True


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path in PATHS for name in SCENARIOS if applies(PATHS[path], name)]
)
def test_nothing_changes_but_more_words_about_a_limit(
    path: str, name: str, subject: str, channels: Channels, server: Server, seen_of_bare: dict[Any, dict[str, Any]]
) -> None:
    scenario = SCENARIOS[name]
    options = PATHS[path].options
    if (path, name) not in seen_of_bare:
        bare_channel = channels["bare", scenario.target, options]
        seen_of_bare[path, name] = observe(PATHS[path], bare_channel, scenario, server)
    bare = seen_of_bare[path, name]
    channel = channels[subject, scenario.target, options]
    if subject == "in a scope":
        with deadline.limit(30):
            ours = observe(PATHS[path], channel, scenario, server)
    else:
        ours = observe(PATHS[path], channel, scenario, server)
    assert differences(bare, ours, scenario.rewords) == []

"""docs/strategies.md: its programs run, its tables are true, and what it shows of the command is what that prints."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grpc_heartbeat import events, strategies
from grpc_heartbeat.cli import main
from tests.peers import SyncServer
from tests.strategies.heard import CALM, probing
from tests.strategies.test_registry import BUILT_IN
from tests.strategies.test_who_answers import ANSWERED

TEXT = (Path(__file__).parents[1] / "docs" / "strategies.md").read_text()
LISTENS = "127.0.0.1:50051"


def block(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert found, f"docs/strategies.md has no example {name!r}"
    return found[1]


def run(name: str, target: str = LISTENS) -> tuple[str, dict[str, Any]]:
    printed, names = io.StringIO(), dict[str, Any]()
    with contextlib.redirect_stdout(printed):
        exec(compile(block(name).replace(LISTENS, target), f"docs/strategies.md, {name}", "exec"), names)
    return printed.getvalue(), names


@pytest.fixture
def target() -> Iterator[str]:
    server = SyncServer({})
    yield server.target
    server.close()


def test_the_synchronous_program_runs(target: str) -> None:
    assert re.fullmatch(r"UP \d+\.\d ms\n", run("prober", target)[0])


def test_the_asynchronous_program_runs(target: str) -> None:
    assert run("aio", target)[0] == "UP\n"


def test_the_command_prints_what_is_shown(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, _, shown = block("command").partition("\n")
    assert main(command.removeprefix("$ grpc-heartbeat ").replace(LISTENS, target).split()) == 0
    figure = re.compile(r"\d+\.\d{3}")
    assert figure.sub("F", capsys.readouterr().out) == figure.sub("F", shown.replace(LISTENS, target))


async def test_the_own_strategy_works() -> None:
    async def redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline() == b"PING\r\n":
            writer.write(b"+PONG\r\n" if healthy else b"-LOADING\r\n")
        writer.close()

    _, names = run("own")
    assert strategies.get("redis-ping") is names["RedisPing"]
    healthy = True
    server = await asyncio.start_server(redis, "127.0.0.1", 0)
    try:
        async with server, probing("redis-ping", f"127.0.0.1:{server.sockets[0].getsockname()[1]}", CALM) as heard:
            await heard.first(events.BeatAcked, 3)
            healthy = False
            assert (await heard.first(events.StreamFailed)).why == r"no Redis: b'-LOADING\r\n'"
    finally:
        strategies.unregister("redis-ping")


def test_the_table_of_strategies_is_true() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| `(UP|DOWN)` \| `(UP|DOWN)` \|$", TEXT, re.MULTILINE)
    assert {name: (blocked == "UP", frozen == "UP") for name, blocked, frozen in rows} == ANSWERED
    assert sorted(name for name, *_ in rows) == sorted(BUILT_IN)


@pytest.mark.parametrize("face", [strategies.Prober, strategies.aio.Prober])
def test_every_argument_is_in_its_table(face: Any) -> None:
    for name in inspect.signature(face).parameters:
        assert f"| `{name}` |" in TEXT.partition("| `Prober(…)` |")[2]

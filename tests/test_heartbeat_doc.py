"""docs/heartbeat.md: its program runs, its words are those that are said, and its tables name every option and verdict."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import fields
from pathlib import Path

import pytest

import grpc_heartbeat as hb
from grpc_heartbeat.core.breaker import Breaker
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from grpc_heartbeat.core.wording import refused_by_breaker
from tests.heartbeat.guarded import Business
from tests.peers import path

TEXT = (Path(__file__).parents[1] / "docs" / "heartbeat.md").read_text()


def block(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert found, f"docs/heartbeat.md has no example {name!r}"
    return found[1]


def test_the_program_runs() -> None:
    server, said = Business(), io.StringIO()
    program = (
        block("breaker").replace("127.0.0.1:50051", server.target).replace("/demo.Greeter/Greet", path("UnaryUnary"))
    )
    with contextlib.redirect_stdout(said):
        exec(compile(program, "docs/heartbeat.md", "exec"), {})
    assert said.getvalue().splitlines()[0] == "b'Ada'"
    assert "BreakerState.CLOSED" in said.getvalue()
    server.close()


def test_the_words_are_those_that_are_said() -> None:
    breaker = Breaker(hb.BreakerPolicy(open_min=0.71), lambda: 0.5, 0.0)
    for _ in range(3):
        breaker.missed(0, 10.0)
    verdict = refused_by_breaker("/demo.Greeter/Greet", breaker.refusal(10.4), breaker.snapshot.why)
    assert verdict.details == block("refusal").strip()


@pytest.mark.parametrize("policy", [hb.HeartbeatPolicy, hb.BreakerPolicy])
def test_every_option_is_in_its_table(policy: type) -> None:
    table = TEXT.partition(f"`{policy.__name__}`:\n")[2].partition("\n\n`")[0]
    named = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line)))
    assert {field.name for field in fields(policy)} <= named


def test_every_verdict_is_told() -> None:
    told = set(re.findall(r"^\| `([A-Z]+)` \|", TEXT, re.MULTILINE))
    assert told == {verdict.name for verdict in hb.events.Verdict}
    for name in ("verdict", "why", "write", "echo", "operational", "phi", "suspended", "rtt", "consecutive_misses"):
        assert hasattr(HeartbeatSnapshot, name)
        assert f"`{name}`" in TEXT

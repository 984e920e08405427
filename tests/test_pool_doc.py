"""docs/pool.md: its program runs, and its tables name every option and figure."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import fields
from pathlib import Path

import grpc_heartbeat as hb
from grpc_heartbeat.core.pool import PoolSnapshot
from tests.peers import path
from tests.pool.conftest import Peer

TEXT = (Path(__file__).parents[1] / "docs" / "pool.md").read_text()


def test_the_program_runs() -> None:
    found = re.search(r"<!-- example: pool -->\n```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert found
    peer, said = Peer(), io.StringIO()
    program = found[1].replace("127.0.0.1:50051", peer.target).replace("/demo.Greeter/Greet", path("UnaryUnary"))
    with contextlib.redirect_stdout(said):
        exec(compile(program, "docs/pool.md", "exec"), {})
    assert said.getvalue().splitlines() == ["b'Ada'", "1 connections for 1 calls, 0% reused"]
    peer.close()


def test_every_option_and_every_figure_is_in_its_table() -> None:
    policy, figures = TEXT.split("| `channel.pool.snapshot()` | |")
    for field in fields(hb.PoolPolicy):
        assert f"| `{field.name}` |" in policy
    for field in fields(PoolSnapshot):
        assert f"`{field.name}`" in figures

"""docs/adaptive.md: its program runs, its tables name every option and every part of the event, its figures are the bench's."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from dataclasses import fields
from pathlib import Path

from bench.failover import ADAPTIVE, FIXED, Scene, simulate
from grpc_heartbeat.adaptive import AdaptiveTimeouts, TotalAdapted
from tests.peers import SyncServer, path

TEXT = (Path(__file__).parents[1] / "docs" / "adaptive.md").read_text()


def test_the_program_prints_what_is_said() -> None:
    found = re.search(
        r"<!-- example: adaptive -->\n```python\n(.*?)^```\n\nprints `(.*?)`", TEXT, re.DOTALL | re.MULTILINE
    )
    assert found
    server, said = SyncServer({"UnaryUnary": lambda request, context: request}), io.StringIO()
    program = found[1].replace("127.0.0.1:50051", server.target).replace("/demo.Greeter/Greet", path("UnaryUnary"))
    with contextlib.redirect_stdout(said):
        exec(compile(program, "docs/adaptive.md", "exec"), {})
    server.close()
    on_a_loud_machine_too = re.sub(r"\d\.\d", "[01].[0-9]", re.escape(found[2]).replace(r"\.", "."))
    assert re.fullmatch(on_a_loud_machine_too + "\n", said.getvalue())


def test_every_option_and_every_part_of_the_event_is_in_its_table() -> None:
    for name, parameter in inspect.signature(AdaptiveTimeouts).parameters.items():
        row = re.search(rf"^\| `{name}` \| (.*?) \|", TEXT, re.MULTILINE)
        assert row, name
        if parameter.default is not inspect.Parameter.empty:
            assert row[1].split(" ")[0] == f"{parameter.default:g}"
    for field in fields(TotalAdapted):
        assert field.name == "at" or f"`{field.name}`" in TEXT


def test_the_simulated_figures_are_those_that_are_said() -> None:
    row = re.search(r"^\| queries given up .*? \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", TEXT, re.MULTILINE)
    assert row
    said = [float(figure.replace(",", "")) for figure in row.groups()]
    found = [simulate(Scene(), 1, total).failures for total in (*FIXED.values(), None)]
    assert [round(figure) for figure in found] == said
    assert [*FIXED, ADAPTIVE] == ["fixed, 0.8 s", "fixed, 8 s", "adaptive"]

"""docs/timeouts.md: its programs run, its file loads, and the words it shows are the words that are said."""

from __future__ import annotations

import contextlib
import io
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpc_heartbeat import TimeoutPolicy, Timeouts
from grpc_heartbeat.core.facts import Layer
from grpc_heartbeat.core.guard import Ending
from grpc_heartbeat.core.limits import PARTS, UNLIMITED
from grpc_heartbeat.core.wording import Verdict, ended_by_grpc, ended_by_layer
from tests.packaging import readme
from tests.peers import OPTIONS, PATIENCE

TEXT = (Path(__file__).parents[1] / "docs" / "timeouts.md").read_text()
GREET = "/demo.Greeter/Greet"


def block(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert found, f"docs/timeouts.md has no example {name!r}"
    return found[1]


@pytest.fixture
def address() -> Iterator[str]:
    def greet(request: bytes, context: Any) -> bytes:
        if request == b"slow":
            over = threading.Event()
            context.add_callback(over.set)
            over.wait(PATIENCE)
        return b"hello, " + request

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, options=OPTIONS)
        handler = grpc.method_handlers_generic_handler(
            "demo.Greeter", {"Greet": grpc.unary_unary_rpc_method_handler(greet)}
        )
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("policy", "hello, quick\n"),
        ("live", "hello, within 8 s\nhello, within 2 s\n"),
        ("overrides", "hello, within 1.5 s\nhello, within 30 s\nhello, within 1 s\n"),
        ("error", "DEADLINE_EXCEEDED total 0.2 policy:demo.Greeter/Greet\n"),
    ],
)
def test_the_programs_run(address: str, name: str, output: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(readme.example(name, address, TEXT), f"timeouts.md, {name}", "exec"), {})
    assert printed.getvalue() == output
    if name == "error":
        assert f"prints `{output.strip()}`" in TEXT


def test_the_file_loads(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(block("file"))
    assert TimeoutPolicy.load(path) == TimeoutPolicy(
        {"connect": 3, "header": 2, "total": 8},
        services={"demo.Reports": {"total": 60, "header": None}},
        methods={"demo.Greeter/Watch": {"idle": 30, "total": 1800}},
        name="shop",
    )


def test_the_refusal_is_the_one_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("default:\n  conect: 3s\n")
    with pytest.raises(ValueError, match="conect") as caught:
        TimeoutPolicy.load(path)
    assert str(caught.value) == f"{tmp_path}/{block('refusal').strip()}"


def total(status: str, details: str, elapsed: float, limit: float | None, connectivity: str | None) -> Verdict:
    limits = UNLIMITED.changed({"total": limit}, "policy:default")
    verdict = ended_by_grpc(status, details, GREET, None, limits, None, limit, elapsed, connectivity)
    assert verdict is not None
    return verdict


def layer(layer: Layer, limit: float, elapsed: float, method: str, source: str, *rest: str) -> Verdict:
    return ended_by_layer(Ending(layer, limit, elapsed, source), method, *rest)


def test_the_words_are_those_of_the_errors() -> None:
    watch = "/demo.Greeter/Watch"
    said = [
        layer("connect", 3.0, 3.0002, GREET, "policy:default", "TRANSIENT_FAILURE", "connection refused"),
        layer("header", 2.0, 2.0001, GREET, "policy:default", "READY"),
        layer("idle", 30.0, 30.001, watch, "policy:demo.Greeter/Watch", "READY"),
        total("DEADLINE_EXCEEDED", "Deadline Exceeded", 8.002, 8.0, "READY"),
        total("UNAVAILABLE", "upstream request timeout", 15.003, None, None),
    ]
    assert block("words").splitlines() == [verdict.details for verdict in said]


def test_the_table_of_defaults_is_true() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (none \| [\w ]+?) \|", TEXT, re.MULTILINE))
    recommended = Timeouts.recommended()
    assert rows == {
        part: f"none | {'none' if getattr(recommended, part) is None else f'{getattr(recommended, part):g} s'}"
        for part in PARTS
    }
    assert Timeouts() == Timeouts(None, None, None, None, None)

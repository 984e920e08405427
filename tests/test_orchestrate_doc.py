"""docs/orchestrate.md: its programs run and print what it says."""

from __future__ import annotations

import contextlib
import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packaging import readme
from tests.peers import PATIENCE, SyncServer, path

TEXT = (Path(__file__).parents[1] / "docs" / "orchestrate.md").read_text()


@pytest.fixture
def address() -> Iterator[str]:
    def greet(request: bytes, context: Any) -> bytes:
        over = threading.Event()
        if request == b"slow" and context.add_callback(over.set):
            over.wait(PATIENCE)
        return b"hello, " + request

    server = SyncServer({"UnaryUnary": greet})
    yield server.target
    server.close()


@pytest.mark.parametrize("name", ["fallback", "saga", "soft"])
def test_a_program_prints_what_is_said(address: str, name: str) -> None:
    program = readme.example(name, address, TEXT).replace("/demo.Greeter/Greet", path("UnaryUnary"))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, f"orchestrate.md, {name}", "exec"), {})
    after = TEXT[TEXT.index(f"<!-- example: {name} -->") :]
    said = re.search(r"^prints `(.*?)`\.$|^prints\n\n```text\n(.*?)^```", after, re.MULTILINE | re.DOTALL)
    assert said
    assert printed.getvalue() == (f"{said[1]}\n" if said[1] else said[2])

"""The director's end of a node: limits on waiting, messages that name the process, and no process left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from grpc_heartbeat.demo.children import Child, ChildError, children
from tests.cli.conftest import command_environment

PATIENCE = 20.0
ECHO = """
import json, sys
print(json.dumps({"kind": "ready", "at": 1.0}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"kind": "done", "at": 2.0, "number": request["number"], **request["arguments"]}), flush=True)
"""
PARENT = """
import sys, time
from grpc_heartbeat.demo.children import children
import os
with children(["stock"], os.environ) as cast:
    cast["stock"].expect("ready")
    if "freeze" in sys.argv:
        cast["stock"].freeze()
    print(cast["stock"]._process.pid, flush=True)
    sys.stdin.read()
"""


@contextmanager
def running(program: str) -> Iterator[Child]:
    child = Child("echo", [sys.executable, "-c", program], os.environ)
    try:
        yield child
    finally:
        child.kill()


def test_a_command_is_answered() -> None:
    with running(ECHO) as child:
        assert child.ask("anything", word="hello")["word"] == "hello"
        assert child.ask("anything", word="again")["word"] == "again"


def test_a_report_is_found_by_its_facts_and_its_instant() -> None:
    with running(ECHO) as child:
        assert child.expect("ready")["at"] == 1.0
        assert child.find("ready", patience=0.01, since=1.5) is None
        assert child.find("ready", patience=0.01, colour="red") is None
        assert [report["kind"] for report in child.reports("ready", since=1.0)] == ["ready"]


def test_a_process_that_dies_is_named_with_its_last_words() -> None:
    message = r"(?s)'echo' ended before it could start.*no such stock"
    with running("import sys; sys.exit('no such stock')") as child, pytest.raises(ChildError, match=message):
        child.expect("ready", doing="start")


def test_a_process_that_says_nothing_is_named_after_the_limit() -> None:
    message = r"'echo' did not within 0.1 s start"
    with running("import sys; sys.stdin.read()") as child, pytest.raises(ChildError, match=message):
        child.expect("ready", patience=0.1, doing="start")


def test_killing_ends_a_frozen_process_and_may_be_repeated() -> None:
    with running(ECHO) as child:
        child.expect("ready")
        child.freeze()
        child.kill()
        child.kill()
        assert child._process.returncode == -signal.SIGKILL


def test_no_child_outlives_the_block_that_fails() -> None:
    started: list[Child] = []

    def fail() -> None:
        with children(["stock", "client"], command_environment()) as cast:
            started.extend(cast.values())
            raise RuntimeError("the show is over")

    with pytest.raises(RuntimeError, match="the show is over"):
        fail()
    assert [child._process.returncode for child in started] == [-signal.SIGKILL] * 2


@pytest.mark.slow
def test_a_node_ends_with_its_input() -> None:
    command = [sys.executable, "-m", "grpc_heartbeat.demo.node", "stock"]
    node = subprocess.run(
        command, input="", capture_output=True, text=True, env=command_environment(), timeout=PATIENCE
    )
    assert (node.returncode, node.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills the children of a killed process")
@pytest.mark.parametrize("freeze", [[], ["freeze"]], ids=["running", "frozen"])
def test_a_node_dies_with_a_director_that_is_killed(freeze: list[str]) -> None:
    command = [sys.executable, "-c", PARENT, *freeze]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=command_environment()) as parent:
        assert parent.stdout is not None
        node = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        try:
            ended, _, _ = select.select([node], [], [], PATIENCE)
        finally:
            os.close(node)
    assert ended, "the node still lives"

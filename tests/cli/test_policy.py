"""``grpc-heartbeat policy propose``: from records of real calls to a diff; a sentence for whatever cannot be read."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

import grpc_heartbeat as hb
from grpc_heartbeat.cli import main
from grpc_heartbeat.cli.policy import records
from grpc_heartbeat.telemetry.timeout_log import JsonLinesSink, TimeoutLog
from tests.peers import PATIENCE, SyncServer, path

METHOD = path("UnaryUnary").lstrip("/")
POLICY = f"""\
name: shop
default: {{total: 8s}}
methods:
  {METHOD}:
    total: 50ms
    idle: none
"""


def test_records_of_calls_that_were_cut_off_lengthen_their_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, log = tmp_path / "policy.yaml", tmp_path / "timeouts.jsonl"
    policy.write_text(POLICY)
    _cut_off(log, hb.TimeoutPolicy.load(policy), calls=3)
    with log.open("a") as file:
        file.write('not JSON\n\n{"method": 1}\n')
    assert main(["policy", "propose", str(log), "--policy", str(policy), "--least", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{METHOD} total: 0.05 s ended 3 calls; make it 0.1 s: how long they would have taken is not known",
        "3 records; 0 of limits that no policy had set, 2 unreadable lines",
        f"--- {policy}",
        f"+++ {policy} (proposed)",
        "@@ -1,4 +1,4 @@",
        " methods:",
        f"   {METHOD}:",
        "-    total: 0.05s",
        "+    total: 0.1s",
        "     idle: none",
    ]


def _cut_off(log: Path, policy: hb.TimeoutPolicy, calls: int) -> None:
    def slow(request: bytes, context: Any) -> bytes:
        over = threading.Event()
        if context.add_callback(over.set):
            over.wait(PATIENCE)
        return request

    server = SyncServer({"UnaryUnary": slow})
    with TimeoutLog(JsonLinesSink(log)), hb.insecure_channel(server.target, timeouts=policy) as channel:
        stub = channel.unary_unary(f"/{METHOD}")
        for _ in range(calls):
            with pytest.raises(grpc.RpcError):
                stub(b"x")
    server.close()


def test_measurements_shorten_what_is_waited_for_in_vain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy, log, observed = tmp_path / "policy.json", tmp_path / "timeouts.jsonl", tmp_path / "observed.json"
    policy.write_text('{"default": {"total": 8}}')
    log.write_text("")
    observed.write_text(json.dumps({"shop.Orders/Place": {"p50": 0.1, "p95": 0.2, "p99": 0.5, "count": 5000}}))
    arguments = ["policy", "propose", str(log), "--policy", str(policy), "--observed", str(observed)]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (proposal,) = found["proposals"]
    assert (proposal["method"], proposal["part"], proposal["proposed"]) == ("shop.Orders/Place", "total", 1.2)
    assert found["diff"][-2:] == ["+  shop.Orders/Place:", "+    total: 1.2s"]
    assert (found["records"], found["foreign"], found["unreadable"]) == (0, 0, 0)


def test_where_nothing_happened_nothing_is_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_text('{"method": "/a.B/C", "layer": "total", "limit": 1, "source": "explicit"}\n')
    assert main(["policy", "propose", str(tmp_path / "log")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 records; 1 of limits that no policy had set, 0 unreadable lines",
        "nothing to change",
    ]


def test_what_stays_is_in_no_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = '{"method": "/a.B/C", "layer": "connect", "limit": 1, "source": "policy:default"}\n'
    (tmp_path / "log").write_text(10 * one)
    assert main(["policy", "propose", str(tmp_path / "log")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a.B/C connect: 1 s ended 10 calls; keep it: the cure is in the network: nothing was sent",
        "10 records; 0 of limits that no policy had set, 0 unreadable lines",
    ]


def test_lines_of_any_length_are_read_in_little_memory(tmp_path: Path) -> None:
    good = json.dumps({"method": "/a.B/C", "layer": "idle", "limit": 1, "source": "policy:default"}).encode()
    nested = b"[" * 50_000
    unsaid = good.replace(b"/a.B/C", b"/a.B/C\\n+ injected")
    (tmp_path / "log").write_bytes(b"\n".join([b"x" * (3 * records.MAX_LINE), good, nested, unsaid, b"\xff", good]))
    found = records.evidence([str(tmp_path / "log")])
    assert found.ended["a.B/C", "idle"].calls == 2
    assert found.unreadable == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.jsonl"], "missing.jsonl: No such file"),
        (["log", "--policy", "missing.yaml"], "missing.yaml: No such file"),
        (["log", "--policy", "wrong.json"], "wrong.json:1: default has no part 'totl'"),
        (["log", "--observed", "wrong.json"], "wrong.json:"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text("")
    (tmp_path / "wrong.json").write_text('{"default": {"totl": 8}}')
    assert main(["policy", "propose", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("grpc-heartbeat: ")
    assert words in captured.err


@pytest.mark.parametrize("arguments", [[], ["propose"], ["propose", "log", "--least", "0"]])
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["policy", *arguments])
    assert caught.value.code == 2

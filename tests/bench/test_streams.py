"""The benchmark of held streams: every design really holds its streams and beats, and the other end speaks HTTP/2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import comparison
from bench.__main__ import main as bench_main
from bench.comparison import Comparison
from bench.orders import NoAnswerError, worker
from bench.streams import messages, run, scheduler
from bench.streams.__main__ import main, parse
from bench.streams.h2 import DATA, frame, literal
from bench.streams.load import quantiles
from bench.streams.run import DESIGNS, NAIVE, OURS, PUBLIC, UNITS, Effort, Section
from bench.streams.suite import NAMES, steps
from grpc_heartbeat.core.frames import Beat
from grpc_heartbeat.heartbeat import codec

ROOT = Path(__file__).resolve().parents[2]


def values(content: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    for one in content["comparisons"]:
        if (one["section"], one["name"]) == (section, name):
            found: dict[str, Any] = one["values"]
            return found
    raise AssertionError(f"no {name!r} of {section!r}")


@pytest.fixture(autouse=True)
def path_of_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("stack", ["sync", "aio"])
@pytest.mark.parametrize("side", ["server", "client"])
def test_a_quick_run_measures_every_design(tmp_path: Path, side: str, stack: str) -> None:
    section, results = f"streams {side} {stack}", tmp_path / "streams.json"
    command = [sys.executable, "-m", "bench.streams", "--quick", "--only", section, "--json", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=290)
    assert done.returncode == 0, done.stderr
    content = json.loads(results.read_text())
    for where in (section, f"{section}, a connection each"):
        for name in UNITS:
            assert set(values(content, where, name)) == set(DESIGNS)
        assert all(cpu > 0 for cpu in values(content, where, "CPU per beat, paced").values())
        assert all(late is not None for late in values(content, where, "late, p99").values())
        assert where in done.stdout
    assert all(rate > 0 for rate in values(content, section, "beats a second, saturated").values())


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_ours_takes_no_thread_per_stream() -> None:
    for side in ("server", "client"):
        threads = [_threads(side, streams) for streams in (20, 120)]
        assert threads[1] - threads[0] < 10, side


def _threads(side: str, streams: int) -> int:
    with ExitStack() as stack:
        if side == "server":
            subject = stack.enter_context(worker("bench.streams.subject", "server", "sync", OURS, streams))
            load = stack.enter_context(worker("bench.streams.load", f"127.0.0.1:{subject.first['port']}", 60))
            load.ask("open", streams, 1)
        else:
            echo = stack.enter_context(worker("bench.streams.echo", 1))
            target = f"127.0.0.1:{echo.first['port']}"
            subject = stack.enter_context(worker("bench.streams.subject", "client", "sync", OURS, target))
            subject.ask("hold", streams, 1, 1)
        return int(subject.ask("mark")["kernel_threads"])


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_schedulers_are_compared() -> None:
    found = {line.name: line for line in scheduler.compare(500, 500, 1)}
    assert set(found["CPU per beat"].values) == set(scheduler.DESIGNS)
    assert all(cpu is not None and cpu > 0 for cpu in found["CPU per beat"].values.values())


def test_the_whole_benchmark_has_the_streams_by_their_first_word(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        bench_main(["--only", "streams of nothing", "--json", str(tmp_path / "results.json")])
    assert steps("streams") == 1 + len(DESIGNS) * (len(NAMES) - 1)


@pytest.mark.parametrize("arguments", [["--streams", "0"], ["--only", "no such section"], ["--seconds", "-1"]])
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2


def test_designs_with_threads_hold_fewer_streams() -> None:
    effort = Effort(streams=10_000, threaded=1_000, apart=500)
    held = {design: effort.of(Section("server", "sync"), design) for design in DESIGNS}
    assert held == {NAIVE: 1_000, OURS: 10_000, PUBLIC: 1_000}
    assert effort.of(Section("client", "aio"), NAIVE) == 10_000
    assert effort.of(Section("client", "aio", apart=True), OURS) == 500
    assert effort.of(Section("client", "sync", apart=True), NAIVE) == 500
    assert Effort(threaded=100).of(Section("client", "sync", apart=True), NAIVE) == 100


def test_a_process_that_does_not_answer_is_given_up() -> None:
    with worker("bench.streams.load", "127.0.0.1:1", 1, patience=10) as load:
        load.ask("saturate", 0)
        load._patience = 0.2
        with pytest.raises(NoAnswerError, match=r"'saturate 5' within 0\.2 s"):
            load.ask("saturate", 5)


def test_a_design_that_is_given_up_keeps_the_figures_that_it_has_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def trial(section: Section, design: str, effort: Effort, figures: run.Figures) -> None:
        figures["streams"] = 10
        if design == NAIVE:
            raise NoAnswerError("nothing was heard")
        figures["threads"] = 1

    monkeypatch.setattr(run, "_beat", trial)
    found = run.run_section(Section("client", "sync"), Effort(), lambda: None)
    lines = {line.name: line for line in found}
    assert lines["streams"].values == dict.fromkeys(DESIGNS, 10)
    assert lines["threads"].values == {NAIVE: None, OURS: 1, PUBLIC: 1}
    assert comparison.plain(found).splitlines()[-1] == "  naive was given up: nothing was heard"


def test_beats_and_acks_are_the_bytes_of_the_protocol() -> None:
    raw = messages.beats(1.5).data(7, 2**40 + 1)
    (body,) = messages.Bodies().of(7, raw[9:])
    assert raw[:9] == frame(DATA, 0, 7, raw[9:])[:9]
    assert codec.decode(body) == Beat(2**40 + 1, next_within=1.5)
    assert messages.beat_sequence(body) == 2**40 + 1
    assert not messages.is_ack(body)
    (body,) = messages.Bodies().of(1, messages.acks().data(1, 5)[9:])
    assert messages.is_ack(body)
    assert messages.beat_sequence(body) is None


def test_several_messages_may_come_in_one_frame() -> None:
    two = messages.acks().data(1, 5)[9:] + messages.acks().data(1, 6)[9:]
    assert len(list(messages.Bodies().of(1, two))) == 2


@given(st.lists(st.tuples(st.sampled_from([1, 3]), st.integers(1, 9)), min_size=1), st.integers(1, 60))
def test_messages_that_are_split_over_frames_are_put_together(said: list[tuple[int, int]], size: int) -> None:
    bodies = messages.Bodies()
    heard: dict[int, list[bytes]] = {1: [], 3: []}
    payloads = {
        stream: b"".join(messages.beats(1.0).data(stream, n)[9:] for on, n in said if on == stream) for stream in heard
    }
    for at in range(0, max(map(len, payloads.values())), size):
        for stream, payload in payloads.items():
            heard[stream] += bodies.of(stream, payload[at : at + size])
    for stream, found in heard.items():
        assert [messages.beat_sequence(body) for body in found] == [n for on, n in said if on == stream]


def test_header_fields_go_into_no_table() -> None:
    assert literal(4, "/x") == b"\x04\x02/x"
    assert literal(31, "y") == b"\x0f\x10\x01y"
    assert literal("te", "trailers") == b"\x00\x02te\x08trailers"


def test_quantiles_are_in_milliseconds() -> None:
    assert quantiles([number / 1e3 for number in range(101)]) == {"p50": 50.0, "p99": 99.0, "max": 100.0}
    assert quantiles([]) == {}


def test_the_ratio_is_of_what_both_have() -> None:
    one = Comparison("section", "name", "ms", {"a": 6.0, "b": 2.0, "c": None}, ("a", "b"), {"b": 3.0})
    assert one.times == 3.0
    assert Comparison("section", "name", "ms", {"a": 6.0, "c": None}, ("a", "c")).times is None
    lines = [line.split() for line in comparison.plain([one]).splitlines()]
    assert lines[1:] == [
        ["section", "a", "b", "c", "a", "/", "b", "promised"],
        ["name,", "ms", "6", "2", "-", "x", "3", "b", "at", "most", "3"],
    ]


def test_the_command_says_where_the_figures_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "new" / "streams.json"
    assert main(["--quick", "--only", "scheduler", "--json", str(results)]) == 0
    assert str(results) in capsys.readouterr().out
    assert json.loads(results.read_text())["settings"]["streams"] == 60

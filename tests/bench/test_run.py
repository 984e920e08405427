"""The benchmark as a command: every variant really makes its calls and gets its row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import variants
from bench.__main__ import main, parse
from bench.figure import Figure
from bench.harness import Quartiles, Row
from bench.micro import MICROS
from bench.report import plain_figures, plain_table

ROOT = Path(__file__).resolve().parents[2]
UNARY = {"ours, connect", "ours, header", "ours, adaptive"}
STREAM = {"ours, idle"}
OPENTELEMETRY = {"opentelemetry", "opentelemetry, batch"}
CLIENTS = {
    "bare",
    "bare, budget by hand",
    "no-op interceptor",
    "ours",
    "ours in scope",
    "ours, all layers",
    "ours, interceptors",
    "ours, metrics",
    "ours, tracing",
    "tracing interceptors",
    *OPENTELEMETRY,
    *UNARY,
    *STREAM,
}
SERVERS = {
    "bare",
    "no-op interceptor",
    "ours",
    "ours, scope only",
    "ours, metrics",
    "ours, tracing",
    "tracing interceptors",
    *OPENTELEMETRY,
}
WANTED = {
    "client": {
        ("client", stack, kind, variant)
        for stack in ("sync", "aio")
        for kind, others in (("unary", STREAM), ("stream", UNARY))
        for variant in CLIENTS - others
    },
    "server": {
        ("server", stack, kind, variant)
        for stack in ("sync", "aio")
        for kind in ("unary", "stream")
        for variant in SERVERS
    },
}


def run(results: Path, only: str) -> tuple[dict[str, Any], str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "GRPC_VERBOSITY": "NONE"}  # older releases log each GOAWAY
    command = [sys.executable, "-m", "bench", "--quick", "--only", only, "--json", str(results)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=55)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(results.read_text()), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("side", ["client", "server"])
def test_a_quick_run_measures_every_variant(tmp_path: Path, side: str) -> None:
    content, printed = run(tmp_path / "new" / "results.json", side)
    measured = [(row["side"], row["stack"], row["kind"], row["variant"]) for row in content["rows"]]
    assert set(measured) == WANTED[side]
    assert len(measured) == len(WANTED[side])
    for row in content["rows"]:
        assert row["wall_us"] > 0
        assert row["cpu_us"] > 0
        assert 0 < row["wall_ratio"]["q1"] <= row["wall_ratio"]["median"] <= row["wall_ratio"]["q3"]
        assert (row["rounds"], row["chunks"]) == (6, 2)
    assert content["settings"]["chunks"] == 2
    assert content["environment"]["grpcio"]
    assert all(variant in printed for *_, variant in WANTED[side])


@pytest.mark.slow
def test_a_quick_run_takes_every_figure(tmp_path: Path) -> None:
    content, printed = run(tmp_path / "results.json", "micro")
    assert not content["rows"]
    figures = {(figure["section"], figure["name"]): figure for figure in content["figures"]}
    assert {section for section, _ in figures} == {micro.name for micro in MICROS}
    assert all(figure["count"] > 0 for figure in content["figures"])
    for stack in ("sync", "aio"):
        assert figures[f"cancel {stack}", "reached"]["value"] == 100
        assert 0 < figures[f"cancel {stack}", "over three hops, p50"]["value"] < 5000
        assert 0 <= figures["connect limit", f"{stack}, late by, p50"]["value"] < 5000
        assert 0 < figures[f"drift {stack}", "of 100 s, at the sixth hop, p50"]["value"] < 5000
    assert 0 < figures["blocked caller", "freed, p50"]["value"] < 5000
    one, stock = (figures["timers", f"arm + disarm, {name}"] for name in ("the call is its timer", "threading.Timer"))
    assert one["value"] < stock["value"]
    traced, sampled = (figures["telemetry", f"a beat, {which} traced"] for which in ("each", "one in a hundred"))
    assert 0 < sampled["value"] < traced["value"]
    assert "micro cancel sync" in printed
    assert "at most 0.6" in printed


def test_one_section_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.json"
    assert main(["--quick", "--only", "server sync unary", "--json", str(results)]) == 0
    rows = json.loads(results.read_text())["rows"]
    assert {row["variant"] for row in rows} == SERVERS
    assert "server sync unary, per call" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--rounds", "0"], ["--chunks", "0"], ["--only", "no such section"], ["--messages", "x"]]
)
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2


def test_a_variant_that_cannot_be_imported_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.grpc", None)
    assert {variant.name for variant in variants.sync_clients()} == CLIENTS - OPENTELEMETRY
    assert {variant.name for variant in variants.aio_servers()} == SERVERS - OPENTELEMETRY
    (line,) = variants.missing()
    assert line.startswith("opentelemetry.instrumentation.grpc is not measured: ")


def test_the_plain_table_has_a_line_per_row_under_its_section() -> None:
    ratio, extra = Quartiles(1.0, 1.25, 1.5), Quartiles(-0.5, 2.0, 4.44)
    row = Row("client", "aio", "stream", "ours", 900, 9, 123.46, extra, ratio, 7.0, ratio)
    lines = plain_table([row]).splitlines()
    assert lines[2] == "client aio stream, per message"
    cells = ["ours", "123.5", "+2.0", "(-0.5..+4.4)", "1.250", "(1.000-1.500)", "7.0", "1.250", "(1.000-1.500)"]
    assert lines[3].split() == cells
    assert len(lines) == 4


def test_figures_say_what_was_promised() -> None:
    text = plain_figures(
        [
            Figure("timers", "arm", 0.41256, "µs", 3000, most=0.6),
            Figure("cancel", "reached", 100.0, "%", 20, least=100.0),
            Figure("cancel", "p99", 3.0, "ms", 20),
        ]
    )
    assert [line.split() for line in text.splitlines()] == [
        [],
        ["micro", "timers"],
        ["arm", "0.413", "µs", "of", "3000", "at", "most", "0.6"],
        [],
        ["micro", "cancel"],
        ["reached", "100.000", "%", "of", "20", "at", "least", "100"],
        ["p99", "3.000", "ms", "of", "20"],
    ]

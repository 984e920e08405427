"""The benchmark as a command: every variant really makes its calls and gets its row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import variants
from bench.__main__ import main, parse
from bench.harness import Quartiles, Row
from bench.report import plain_table

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = {
    "bare",
    "bare, budget by hand",
    "no-op interceptor",
    "ours",
    "ours in scope",
    "ours, interceptors",
    "opentelemetry",
}
SERVERS = {"bare", "no-op interceptor", "ours", "opentelemetry"}


@pytest.mark.slow
def test_a_quick_run_measures_every_variant(tmp_path: Path) -> None:
    results = tmp_path / "new" / "results.json"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "GRPC_VERBOSITY": "NONE"}  # older releases log each GOAWAY
    command = [sys.executable, "-m", "bench", "--quick", "--json", str(results)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=55)
    assert (done.returncode, done.stderr) == (0, "")
    content = json.loads(results.read_text())
    measured = {(row["side"], row["stack"], row["kind"], row["variant"]) for row in content["rows"]}
    kinds = [(stack, kind) for stack in ("sync", "aio") for kind in ("unary", "stream")]
    wanted = {("client", *kind, variant) for kind in kinds for variant in CLIENTS}
    wanted |= {("server", *kind, variant) for kind in kinds for variant in SERVERS}
    assert measured == wanted
    assert len(content["rows"]) == len(wanted)
    for row in content["rows"]:
        assert row["wall_us"] > 0
        assert row["cpu_us"] > 0
        assert 0 < row["wall_ratio"]["q1"] <= row["wall_ratio"]["median"] <= row["wall_ratio"]["q3"]
    assert content["settings"]["rounds"] == 3
    assert content["environment"]["grpcio"]
    assert all(variant in done.stdout for variant in CLIENTS)


def test_one_section_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.json"
    assert main(["--quick", "--only", "server sync unary", "--json", str(results)]) == 0
    rows = json.loads(results.read_text())["rows"]
    assert {row["variant"] for row in rows} == SERVERS
    assert "server sync unary, per call" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--only", "no such section"], ["--messages", "x"]])
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2


def test_a_variant_that_cannot_be_imported_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.grpc", None)
    assert {variant.name for variant in variants.sync_clients()} == CLIENTS - {"opentelemetry"}
    assert {variant.name for variant in variants.aio_servers()} == SERVERS - {"opentelemetry"}
    (line,) = variants.missing()
    assert line.startswith("opentelemetry.instrumentation.grpc is not measured: ")


def test_the_plain_table_has_a_line_per_row_under_its_section() -> None:
    ratio = Quartiles(1.0, 1.25, 1.5)
    row = Row("client", "aio", "stream", "ours", 9, 123.46, 7.0, ratio, ratio)
    lines = plain_table([row]).splitlines()
    assert lines[2] == "client aio stream, per message"
    assert lines[3].split() == ["ours", "123.5", "1.250", "(1.000-1.500)", "7.0", "1.250", "(1.000-1.500)"]
    assert len(lines) == 4

"""The benchmark of pools: what it says holds in a short run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.pool import SIZE, WAYS, main, sockets


def test_a_quick_run_shows_what_probes_save(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "pool.json"
    assert main(["--quick", "--json", str(results)]) == 0
    content = json.loads(results.read_text())
    rows = {row["way"]: row for row in content["rows"]}
    assert set(rows) == {way.name for way in WAYS}
    assert content["effort"]["bursts"] == 4
    calls = 4 * SIZE
    assert {row["calls"] for row in rows.values()} == {calls}
    assert rows["channel per call"]["connections"] == calls
    assert rows["channel per call"]["reused"] == 0
    for name in ("ours", "ours, asyncio"):
        ours = rows[name]
        assert ours["answered"] == calls
        assert ours["reused"] >= rows["pool, no probes"]["reused"]
        assert ours["connections"] <= 2 * SIZE
        assert ours["probes"] > 0
        assert ours["p99_ms"] < rows["pool, no probes"]["p99_ms"]
        assert ours["time_wait"] < rows["channel per call"]["time_wait"]
    printed = capsys.readouterr().out
    assert all(name in printed for name in rows)


def test_a_wrong_command_line_is_refused() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--bursts", "0"])
    assert caught.value.code == 2


def test_no_sockets_go_to_a_port_that_nobody_has() -> None:
    assert not sockets(1)

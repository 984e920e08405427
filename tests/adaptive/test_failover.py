"""A database that fails over: totals that adapt fail few queries and wait briefly, simulated and live."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.failover import ADAPTIVE, FIXED, MOST, Scene, compare, main, simulate
from bench.failover_live import live

SHORT, LONG = FIXED


@pytest.mark.parametrize("seed", range(3))
def test_simulated_it_is_as_sure_as_a_long_total_and_nearly_as_quick_as_a_short_one(seed: int) -> None:
    scene = Scene()
    outcomes = {name: simulate(scene, seed, total) for name, total in {**FIXED, ADAPTIVE: None}.items()}
    assert outcomes[SHORT].failures > 1000
    assert outcomes[LONG].failures == 0
    assert outcomes[ADAPTIVE].failures < 50
    waited = {name: sum(one.waits) / len(one.waits) for name, one in outcomes.items()}
    assert waited[ADAPTIVE] < 0.5 * waited[LONG]
    rose = outcomes[ADAPTIVE].rose(scene.begins, 2.0)
    assert rose is not None
    assert rose <= 12.0
    lines = {line.name: line.values for line in compare("simulated", scene, outcomes)}
    assert lines["total before"][ADAPTIVE] == pytest.approx(0.8, abs=0.1)


@pytest.mark.slow
def test_live_the_totals_follow_as_well() -> None:
    outcomes = live(Scene(4.0, 1.0, 8.0), 1)
    assert set(outcomes) == {*FIXED, ADAPTIVE}
    assert all(one.answered > 50 for one in outcomes.values())
    adaptive = outcomes[ADAPTIVE]
    assert adaptive.given_up < outcomes[SHORT].given_up
    assert min(total for _, total in adaptive.totals) < MOST / 2


def test_the_command_prints_and_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "failover.json"
    assert main(["--json", str(results)]) == 0
    assert "given up in vain" in capsys.readouterr().out
    assert json.loads(results.read_text())["totals"]

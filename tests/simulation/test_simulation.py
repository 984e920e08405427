"""The machines of thousands of connections together: no wrong judgement, and nothing that grows faster than their number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.simulation.__main__ import main
from bench.simulation.run import apart, simulate
from bench.simulation.setting import Fate, Outcome
from bench.simulation.world import World

FEW, MANY = 2_500, 10_000


@pytest.fixture(scope="module")
def outcomes() -> dict[int, Outcome]:
    return {size: apart(size) for size in (FEW, MANY)}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_dead_peer_is_convicted_in_time_and_no_living_one(outcomes: dict[int, Outcome]) -> None:
    for outcome in outcomes.values():
        assert outcome.wrong == []
        guilty = sum(outcome.fates[fate.name] for fate in (Fate.DIES, Fate.FREEZES, Fate.RESTARTS))
        assert outcome.convicted == guilty > 0
        assert outcome.vanished == outcome.fates["VANISHES"] > 0
        assert outcome.garbage == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_beat_and_a_connection_cost_the_same_among_many(outcomes: dict[int, Outcome]) -> None:
    few, many = outcomes[FEW], outcomes[MANY]
    assert many.beats == pytest.approx(few.beats * MANY / FEW, rel=0.05)
    assert many.cpu_per_beat < 2 * few.cpu_per_beat
    assert few.bytes_per_connection / 2 < many.bytes_per_connection < 2 * few.bytes_per_connection
    assert many.bytes_per_connection < 10_000


def test_a_judge_that_convicts_nobody_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation's own checks can fail."""
    monkeypatch.setattr("grpc_heartbeat.core.judge.Judge.take_events", lambda _: [])
    outcome = simulate(400)
    assert any("never convicted" in line for line in outcome.wrong)


def test_a_judge_that_takes_our_pause_for_silence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_heartbeat.core.lateness.LocalPauses.excused", lambda *_: 0.0)
    outcome = simulate(1_500)
    assert any("was convicted at" in line for line in outcome.wrong)


def test_the_command_prints_and_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "simulation.json"
    assert main(["--sizes", "200", "--json", str(results)]) == 0
    assert "no wrong judgement" in capsys.readouterr().out
    (outcome,) = json.loads(results.read_text())["outcomes"]
    assert outcome["connections"] == 200


def test_everybody_has_a_fate() -> None:
    fates = {connection.fate for connection in World(3_000).connections}
    assert fates == set(Fate)

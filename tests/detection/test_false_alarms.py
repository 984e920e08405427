"""Twenty seconds of each trouble of the benchmark of false alarms; nobody dies, so nobody may be convicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.false_alarms import OVERLOADED, TROUBLES, compare, count, false_alarms, main

SECONDS = 20.0


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("trouble", [trouble for trouble in TROUBLES if trouble != OVERLOADED])
def test_the_living_are_not_convicted(trouble: str) -> None:
    told = count(trouble, SECONDS)
    assert told["echoed"] > 20 * SECONDS  # of 100 a second
    assert false_alarms(told) == 0, told


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_busy_threads_in_the_server_are_an_overload_and_no_death() -> None:
    told = count(OVERLOADED, SECONDS)
    assert false_alarms(told) == 0, told
    if told["starved"] and not told.get("OVERLOADED"):
        pytest.skip(f"this machine has no core for the busy threads: {told}")
    assert told.get("OVERLOADED", 0) > 0, told


def test_a_standstill_of_the_server_explains_a_conviction() -> None:
    assert false_alarms({"standstill": 20.0, "starved": 0.0, "DOWN": 2, "STUCK": 1}) == 3
    assert false_alarms({"standstill": 450.0, "starved": 0.0, "DOWN": 2}) == 0
    assert false_alarms({"standstill": 20.0, "starved": 1.0, "DOWN": 2}) == 0


def test_what_was_counted_is_shown_with_what_was_promised() -> None:
    told = {"echoed": 10.0, "LATE": 1.0, "standstill": 20.0, "starved": 0.0, "DOWN": 1.0}
    lines = {line.name: line for line in compare({"trouble": told})}
    assert lines["beats echoed"].values["count"] == 10
    assert (lines["false alarms"].values["count"], lines["false alarms"].most["count"]) == (1, 0)


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--only", "no such trouble"]])
def test_a_wrong_command_line_is_refused(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--json", str(tmp_path / "alarms.json")])
    assert caught.value.code == 2

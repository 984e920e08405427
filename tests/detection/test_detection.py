"""Each fault of the benchmark of detection once, with bounds that a loud machine keeps, too.

The bound on noticing is loose: silence convicts after 0.6 s, a fault begins up to a beat before the next one is sent, and what
else passes is the machine's. What gRPC's keepalive offers is looked at beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.detection.__main__ import main
from bench.detection.run import FAULTS, Fault, Times, compare, try_fault

NOTICED, RECOVERED, USABLE = 2.5, 3.0, 5.0
TRIED = [(fault, stack) for fault in FAULTS for stack in fault.stacks]


def named(fault: Fault, stack: str) -> str:
    return f"{fault.name}, {stack}".replace(" ", "-")


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("fault", "stack"), TRIED, ids=[named(*tried) for tried in TRIED])
def test_a_fault_is_noticed_in_time_and_forgotten_in_time(fault: Fault, stack: str) -> None:
    times = Times()
    try_fault(fault, stack, times)
    for client in ("sync", "aio"):
        (verdict,), (noticed,) = times.verdicts[client], times.noticed[client]
        assert verdict in fault.verdicts
        assert noticed is not None
        assert noticed < NOTICED
        (recovered,), (usable,) = times.recovered[client], times.usable[client]
        assert recovered is not None
        assert recovered < RECOVERED
        assert usable is not None
        assert usable < USABLE
    if fault.name != "server killed and restarted":  # the kernel tells everybody of that
        assert times.keepalive == [None]
    assert all(line.values for line in compare(fault, stack, times))


def test_what_never_happened_has_no_time() -> None:
    fault = FAULTS[0]
    times = Times(keepalive=[None, 2.0], watched=[2.0, 2.0])
    for seconds in (0.7, None):
        times.add("noticed", "sync", seconds)
        times.add("recovered", "sync", 0.1)
        times.add("usable", "sync", 0.2)
    times.verdicts["sync"] = ["DOWN", "UP"]
    found = {line.name: line.values for line in compare(fault, "sync", times)}
    assert found["noticed, max"] == {"client sync": None, "gRPC's keepalive": None}
    assert found["recovered, p50"]["client sync"] == 0.1
    assert found["wrong verdicts"]["client sync"] == 1


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_command_prints_and_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "detection.json"
    assert main(["--times", "1", "--only", "killed", "--json", str(results)]) == 0
    assert "noticed, p50" in capsys.readouterr().out
    content: dict[str, Any] = json.loads(results.read_text())
    assert [one["server"] for one in content["times"]] == ["sync", "aio"]


@pytest.mark.parametrize("arguments", [["--times", "0"], ["--only", "no such fault"]])
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2

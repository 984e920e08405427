"""Beats are due on a grid that starts at a fixed origin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.cli.schedule import Schedule


@given(st.floats(0, 1e6), st.floats(0.01, 3600), st.floats(0, 1e5))
def test_the_next_beat_is_on_the_grid_and_soon(origin: float, interval: float, elapsed: float) -> None:
    now = origin + elapsed
    due = Schedule(origin, interval).next_due(now)
    beats = (due - origin) / interval
    assert now < due <= now + interval * 1.001 + 1e-6
    assert beats == pytest.approx(round(beats), abs=1e-3)


def test_slow_beats_do_not_shift_later_ones() -> None:
    schedule = Schedule(origin=100.0, interval=1.0)
    dues, now = [], 100.0
    for took in (0.3, 0.9, 0.1, 2.4, 0.2):
        dues.append(schedule.next_due(now + took))
        now = dues[-1]
    assert dues == [101.0, 102.0, 103.0, 106.0, 107.0]

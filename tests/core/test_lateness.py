"""Pauses of this process: joined, bounded, and deducted exactly once."""

from __future__ import annotations

import itertools
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.lateness import GRACE, REMEMBERED, TOLERANCE, LocalPauses, Pause

INTERVALS = st.tuples(st.integers(0, 100), st.integers(1, 20)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def test_a_punctual_tick_is_no_pause() -> None:
    pauses = LocalPauses()
    pauses.tick(0.0, TOLERANCE)
    pauses.add(10.0, 10.0, "late tick")
    assert (pauses.count, pauses.last, pauses.excused(0.0, 20.0)) == (0, None, 0.0)


def test_a_late_tick_is_excused_with_its_grace_and_no_longer() -> None:
    pauses = LocalPauses()
    pauses.tick(10.0, 12.0)
    assert pauses.last == Pause(10.0, 12.0, "late tick")
    assert pauses.excused(9.0, 12.0) == 2.0
    assert pauses.excused(11.0, 12.0) == 1.0
    assert pauses.excused(9.0, 20.0) == pytest.approx(2.0 + GRACE)
    assert pauses.excused(12.0, 12.05) == 12.05 - 12.0
    assert pauses.excused(12.5, 20.0) == 0.0
    assert pauses.suspended_by(12.0 + GRACE / 2) == "late tick"
    assert pauses.suspended_by(12.0 + 2 * GRACE) is None


def test_the_grace_of_a_short_pause_is_short() -> None:
    assert Pause(1.0, 1.0625, "garbage collection").until == 1.125


def test_several_reports_of_one_pause_count_once_and_the_longest_names_it() -> None:
    pauses = LocalPauses()
    pauses.add(10.0, 10.5, "late tick")
    pauses.add(10.1, 10.4, "garbage collection")
    pauses.add(9.0, 10.2, "loop blocked")
    assert (pauses.count, pauses.last) == (1, Pause(9.0, 10.5, "loop blocked"))
    assert pauses.total == 1.5


def test_a_grace_that_reaches_into_the_next_pause_counts_once() -> None:
    pauses = LocalPauses()
    pauses.add(0.0, 1.0, "late tick")
    pauses.add(1.05, 2.0, "late tick")
    assert pauses.count == 2
    assert pauses.excused(0.0, 3.0) == pytest.approx(2.0 + GRACE)


@given(st.lists(INTERVALS, max_size=30), INTERVALS)
def test_excused_is_the_overlap_with_the_union(added: list[tuple[int, int]], window: tuple[int, int]) -> None:
    """Against a model of small steps; graces count from each joined pause."""
    pauses = LocalPauses()
    for start, end in added:
        pauses.add(start, end, "late tick")
    steps = {step for start, end in added for step in range(start, end)}
    assert pauses.total == len(steps)
    joined = sorted({step for step in steps if step - 1 not in steps})
    remembered = list(pauses._pauses)
    assert all(one.end < other.start for one, other in itertools.pairwise(remembered))
    assert len(remembered) <= len(joined)
    since, now = window
    inside = len([step for step in steps if since <= step < now])
    excused = pauses.excused(since, now)
    assert inside - 1e-9 <= excused <= inside + GRACE * (len(joined) + 1)
    assert excused <= now - since + 1e-9


def test_old_pauses_are_forgotten() -> None:
    pauses = LocalPauses()
    for number in range(3 * REMEMBERED):
        pauses.add(10.0 * number, 10.0 * number + 1, "garbage collection")
    assert len(pauses._pauses) == REMEMBERED
    assert pauses.count == 3 * REMEMBERED
    newest = 10.0 * (3 * REMEMBERED - 1)
    assert pauses.excused(newest, newest + 1) == 1.0
    assert pauses.excused(0.0, 100.0) == 0.0


def test_who_asks_while_pauses_are_joined_sees_none_missing() -> None:
    seen: list[float] = []

    class Watched(LocalPauses):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "total":
                seen.append(self.total)

    pauses = Watched()
    pauses.add(1.0, 2.0, "late tick")
    pauses.add(3.0, 4.0, "late tick")
    pauses.add(0.0, 5.0, "loop blocked")
    assert seen == [0.0, 1.0, 2.0, 5.0]
    assert pauses.count == 1


def test_pauses_may_be_asked_for_on_other_threads_than_the_one_that_notes_them() -> None:
    pauses = LocalPauses()
    over = threading.Event()
    wrong: list[object] = []

    def ask() -> None:
        while not over.is_set():
            try:
                excused = pauses.excused(0.0, 1e9)
                if excused < 0 or pauses.suspended_by(0.0) not in (None, "late tick"):
                    wrong.append(excused)
            except Exception as error:
                wrong.append(error)

    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for instant in range(3 * REMEMBERED):
            pauses.add(instant * 2.0, instant * 2.0 + 1.0, "late tick")
            pauses.add(instant * 2.0 - 3.0, instant * 2.0 + 1.0, "late tick")
    finally:
        over.set()
        asking.join()
        sys.setswitchinterval(switching)
    assert wrong == []

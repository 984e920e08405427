"""The schedule of a check, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.core.health_checks import CheckPlan, CheckSchedule

SERVING, NOT_SERVING, UNKNOWN = ServingStatus.SERVING, ServingStatus.NOT_SERVING, ServingStatus.UNKNOWN


def plan(*, ttl: float = 10.0, timeout: float = 2.0, failures: int = 1) -> CheckPlan:
    return CheckPlan("database", ttl, timeout, True, failures, frozenset({""}))


def test_a_run_starts_at_once_and_then_from_start_to_start() -> None:
    check = CheckSchedule(plan(), 100.0)
    assert (check.status, check.next_wakeup()) == (UNKNOWN, 100.0)
    assert check.wake(100.0) == 1
    assert check.wake(100.0) is None
    check.finished(1, None, 101.0)
    assert (check.status, check.report.took, check.report.at) == (SERVING, 1.0, 101.0)
    assert check.next_wakeup() == 110.0
    assert check.wake(109.9) is None
    assert check.wake(112.0) == 2
    check.finished(2, "refused", 112.5)
    assert (check.status, check.report.error, check.report.failed) == (NOT_SERVING, "refused", 1)
    assert check.next_wakeup() == 122.0


def test_a_run_that_takes_too_long_has_failed_and_is_waited_for() -> None:
    check = CheckSchedule(plan(), 0.0)
    check.wake(0.0)
    assert check.next_wakeup() == 2.0
    assert check.wake(2.0) is None
    assert (check.status, check.report.error, check.report.took) == (NOT_SERVING, "no answer within 2 s", 2.0)
    assert check.next_wakeup() is None
    assert check.wake(50.0) is None
    check.finished(1, None, 50.0)
    assert check.status is NOT_SERVING
    assert check.wake(50.0) == 2
    check.finished(2, None, 50.5)
    assert (check.status, check.report.failed, check.report.error) == (SERVING, 0, "")


def test_a_late_end_before_the_next_slot_waits_for_the_slot() -> None:
    check = CheckSchedule(plan(), 0.0)
    check.wake(0.0)
    check.wake(2.0)
    check.finished(1, None, 3.0)
    assert check.next_wakeup() == 10.0


def test_a_run_that_hangs_is_as_many_failures_as_are_asked_for() -> None:
    check = CheckSchedule(plan(failures=3), 0.0)
    check.wake(0.0)
    check.finished(1, None, 0.0)
    assert check.wake(10.0) == 2
    for instant, failed in ((12.0, 1), (22.0, 2), (32.0, 3)):
        assert check.status is SERVING
        assert check.next_wakeup() == instant
        assert check.wake(instant) is None
        assert (check.report.failed, check.overdue) == (failed, True)
    assert (check.status, check.next_wakeup()) == (NOT_SERVING, None)
    check.finished(2, None, 33.0)
    assert (check.next_wakeup(), check.overdue) == (33.0, False)
    assert check.wake(33.0) == 3
    assert check.next_wakeup() == 35.0


@pytest.mark.parametrize("run", [0, 2])
def test_the_end_of_another_run_is_ignored(run: int) -> None:
    check = CheckSchedule(plan(), 0.0)
    check.finished(1, None, 0.0)
    check.wake(0.0)
    check.finished(run, None, 1.0)
    assert (check.status, check.report.at) == (UNKNOWN, None)


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 4))
def test_failures_in_a_row_decide(outcomes: list[bool], failures: int) -> None:
    check = CheckSchedule(plan(failures=failures), 0.0)
    expected, row = UNKNOWN, 0
    for number, well in enumerate(outcomes, 1):
        now = check.next_wakeup()
        assert now is not None
        assert check.wake(now) == number
        check.finished(number, None if well else "no", now)
        row = 0 if well else row + 1
        expected = SERVING if well else NOT_SERVING if row >= failures else expected
        assert (check.status, check.report.failed) == (expected, row)


@given(
    st.floats(0.1, 10),
    st.floats(0.1, 10),
    st.lists(st.tuples(st.floats(0.001, 30), st.booleans()), min_size=1, max_size=20),
)
def test_no_success_counts_for_longer_than_ttl_and_timeout(
    ttl: float, timeout: float, runs: list[tuple[float, bool]]
) -> None:
    """A punctual driver, runs of any length: what says SERVING was heard at most that long ago."""
    check = CheckSchedule(plan(ttl=ttl, timeout=timeout), 0.0)
    success = 0.0
    for number, (length, well) in enumerate(runs, 1):
        started = check.next_wakeup()
        assert started is not None
        assert check.wake(started) == number
        judged = started + min(length, timeout)
        if check.status is SERVING:
            assert judged - success <= ttl + timeout + 1e-6
        in_time = length < timeout
        if not in_time:
            check.wake(started + timeout)
        check.finished(number, None if well else "no", started + length)
        if well and in_time:
            success = judged
        assert (check.status is SERVING) == (well and in_time)

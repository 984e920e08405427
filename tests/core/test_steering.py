"""Advice grows while a server is hot, goes back when it is calm, and never swings nor leaves its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.frames import Load
from grpc_heartbeat.core.steering import CALM_FOR, FIRST_ADVICE, HIGH_CPU, HIGH_DELAY, HOT_FOR, LONGEST_ADVICE, Steering

HOT = Load(queue_delay=HIGH_DELAY)
CALM = Load()
BETWEEN = Load(queue_delay=0.75 * HIGH_DELAY)


def drive(steering: Steering, load: Load, start: float, seconds: float, step: float = 0.1) -> list[float]:
    """Return the advice after each reading."""
    return [steering.read(load, start + index * step) for index in range(round(seconds / step) + 1)]


def test_a_hot_server_doubles_its_advice_every_two_seconds_up_to_the_bound() -> None:
    advice = drive(Steering(), HOT, 100.0, 15 * HOT_FOR, HOT_FOR / 4)
    steps = list(dict.fromkeys(advice))
    assert steps == [0.0, FIRST_ADVICE, 2.0, 4.0, 8.0, 16.0, LONGEST_ADVICE]
    assert advice.index(FIRST_ADVICE) * HOT_FOR / 4 == HOT_FOR
    assert advice.index(2.0) * HOT_FOR / 4 == 2 * HOT_FOR


def test_a_calm_server_goes_back_step_by_step_to_what_it_advised_before() -> None:
    steering = Steering()
    drive(steering, HOT, 0.0, 3 * HOT_FOR)
    before = steering.advice
    advice = drive(steering, CALM, 100.0, 10 * CALM_FOR, 1.0)
    assert before == 4.0
    assert list(dict.fromkeys(advice)) == [4.0, 2.0, 1.0, 0.0]
    assert [advice.index(step) for step in (2.0, 1.0, 0.0)] == [CALM_FOR, 2 * CALM_FOR, 3 * CALM_FOR]


@pytest.mark.parametrize(
    "load",
    [
        Load(queue_delay=HIGH_DELAY),
        Load(loop_lag=10.0),
        Load(cpu=HIGH_CPU),
        Load(queue_delay=0.0, loop_lag=HIGH_DELAY),
    ],
)
def test_each_of_the_figures_makes_it_hot(load: Load) -> None:
    assert drive(Steering(), load, 0.0, HOT_FOR)[-1] == FIRST_ADVICE


@pytest.mark.parametrize("load", [CALM, BETWEEN, Load(in_flight=10**6, gc_pause=3.0), Load(cpu=0.85)])
def test_others_do_not(load: Load) -> None:
    assert set(drive(Steering(), load, 0.0, 60.0, 1.0)) == {0.0}


def test_between_hot_and_calm_nothing_changes() -> None:
    steering = Steering()
    drive(steering, HOT, 0.0, HOT_FOR)
    assert set(drive(steering, BETWEEN, 10.0, 600.0, 1.0)) == {FIRST_ADVICE}


def test_a_burst_is_not_worth_an_advice() -> None:
    steering = Steering()
    for second in range(60):
        drive(steering, HOT, second, 0.9 * HOT_FOR)
        assert steering.read(CALM, second + 0.95 * HOT_FOR) == 0.0


@pytest.mark.parametrize(
    ("base", "longest", "steps"), [(5.0, 30.0, [5.0, 10.0, 20.0, 30.0]), (5.0, 0.0, [5.0]), (0.0, 0.0, [0.0])]
)
def test_the_bounds_are_the_servers_own(base: float, longest: float, steps: list[float]) -> None:
    steering = Steering(base, longest)
    assert list(dict.fromkeys(drive(steering, HOT, 0.0, 20 * HOT_FOR))) == steps
    assert drive(steering, CALM, 100.0, 10 * CALM_FOR)[-1] == base


@given(
    st.sampled_from([0.0, 0.5, 5.0, 40.0]),
    st.sampled_from([0.0, 1.0, 30.0]),
    st.lists(st.tuples(st.sampled_from([HOT, CALM, BETWEEN]), st.floats(0.01, 20.0)), max_size=80),
)
def test_advice_is_bounded_and_each_step_takes_its_time(
    base: float, longest: float, readings: list[tuple[Load, float]]
) -> None:
    steering, now, changed, before = Steering(base, longest), 0.0, 0.0, base
    for load, passed in readings:
        now += passed
        advice = steering.read(load, now)
        assert base <= advice <= max(base, longest)
        if advice > before:
            assert load is HOT
            assert now - changed >= HOT_FOR
            assert advice <= max(FIRST_ADVICE, 2 * before)
        elif advice < before:
            assert load is CALM
            assert now - changed >= CALM_FOR
        if advice != before:
            changed, before = now, advice
    for _ in range(12):
        now += CALM_FOR
        steering.read(CALM, now)
    assert steering.advice == base

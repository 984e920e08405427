"""A plan refuses what makes no sense, and strikes the same calls whenever it is asked."""

from __future__ import annotations

import math
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.testing.fault_plan import Strikes
from grpc_heartbeat.testing.faults import Fault, FaultPlan

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
METHOD = "/shop.Orders/Place"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "a Fault does something: give delay, message_delay, code or never_answer"),
        ({"share": 0.5}, ValueError, "a Fault does something"),
        ({"delay": -1}, ValueError, r"Fault\.delay must be at least 0"),
        ({"delay": math.nan}, ValueError, r"Fault\.delay must be at least 0"),
        ({"delay": "1"}, TypeError, r"Fault\.delay must be a number of seconds, not str"),
        ({"message_delay": math.inf}, ValueError, r"Fault\.message_delay must be at least 0"),
        ({"delay": 1, "share": 1.01}, ValueError, r"Fault\.share must be from 0 to 1; got 1\.01"),
        ({"delay": 1, "share": -0.1}, ValueError, r"Fault\.share must be from 0 to 1"),
        ({"delay": 1, "share": math.nan}, ValueError, r"Fault\.share must be from 0 to 1"),
        ({"delay": 1, "share": True}, TypeError, r"Fault\.share must be a number, not bool"),
        ({"code": 14}, TypeError, r"Fault\.code must be a grpc\.StatusCode, not int"),
        ({"code": grpc.StatusCode.OK}, ValueError, r"Fault\.code must not be OK"),
        ({"code": UNAVAILABLE, "details": b"x"}, TypeError, r"Fault\.details must be a string, not bytes"),
        ({"delay": 1, "details": "x"}, ValueError, r"Fault\.details need a code"),
        ({"never_answer": True, "code": UNAVAILABLE}, ValueError, r"never_answer excludes code and message_delay"),
        ({"never_answer": True, "message_delay": 1}, ValueError, r"never_answer excludes code and message_delay"),
        ({"code": UNAVAILABLE, "message_delay": 1}, ValueError, r"code excludes message_delay"),
    ],
)
def test_a_fault_that_makes_no_sense(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Fault(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"default": 3}, TypeError, r"FaultPlan\.default must be a Fault or None, not int"),
        ({"methods": {"Place": None}}, ValueError, "'Place' is no method"),
        ({"methods": {"a.B/C": 1}}, TypeError, r"FaultPlan\.methods\['a\.B/C'\] must be a Fault or None"),
        ({"methods": {"a.B/C": None, "/a.B/C": None}}, ValueError, "two entries for 'a.B/C'"),
        ({"methods": [1]}, TypeError, r"FaultPlan\.methods must be a mapping of names, not list"),
        ({"seed": 1.5}, TypeError, r"FaultPlan\.seed must be an integer, not float"),
        ({"seed": True}, TypeError, r"FaultPlan\.seed must be an integer, not bool"),
    ],
)
def test_a_plan_that_makes_no_sense(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FaultPlan(**arguments)


def test_a_plan_cannot_be_changed() -> None:
    given_methods: dict[str, Fault | None] = {METHOD: Fault(delay=1)}
    plan = FaultPlan(methods=given_methods)
    given_methods.clear()
    assert plan.fault(METHOD) == Fault(delay=1)
    with pytest.raises(AttributeError):
        plan.seed = 3  # type: ignore[misc]  # the point of the test
    with pytest.raises(TypeError):
        plan.methods[METHOD] = None  # type: ignore[index]  # the point of the test
    assert hash(plan) == hash(FaultPlan(methods={METHOD: Fault(delay=1)}))


def test_a_method_has_its_own_fault_or_the_default() -> None:
    slow, gone = Fault(delay=1), Fault(code=UNAVAILABLE)
    plan = FaultPlan(slow, methods={METHOD: gone, "shop.Orders/Watch": None, "grpc.health.v1.Health/Check": gone})
    assert [plan.fault(method) for method in (METHOD, METHOD[1:], "/shop.Orders/Watch", "/shop.Orders/Import")] == [
        gone,
        gone,
        None,
        slow,
    ]
    spared = ("/grpc_heartbeat.v1.Heartbeat/Keepalive", "/grpc.health.v1.Health/Watch")
    assert [plan.fault(method) for method in spared] == [None, None]
    assert plan.fault("/grpc.health.v1.Health/Check") is gone


def test_details_name_the_plan() -> None:
    assert Fault(code=UNAVAILABLE).said(METHOD) == "injected by FaultPlan: shop.Orders/Place"
    assert Fault(code=UNAVAILABLE, details="no disk").said(METHOD) == "injected by FaultPlan: no disk"


def struck(plan: FaultPlan, calls: int = 200) -> list[bool]:
    strikes = Strikes(plan)
    return [strikes.next(METHOD) is not None for _ in range(calls)]


def plan_of(share: float, seed: int) -> FaultPlan:
    return FaultPlan(Fault(delay=1, share=share), seed=seed)


@given(st.floats(0, 1), st.integers())
def test_the_same_seed_strikes_the_same_calls(share: float, seed: int) -> None:
    assert struck(plan_of(share, seed)) == struck(plan_of(share, seed))


@given(st.floats(0, 1), st.floats(0, 1), st.integers())
def test_a_larger_share_strikes_more_calls_and_the_same(one: float, other: float, seed: int) -> None:
    fewer, more = (struck(plan_of(share, seed)) for share in sorted((one, other)))
    assert all(second or not first for first, second in zip(fewer, more, strict=True))


def test_shares_are_kept_and_seeds_differ() -> None:
    assert struck(plan_of(0, 1)) == [False] * 200
    assert struck(plan_of(1, 1)) == [True] * 200
    assert 400 < sum(struck(plan_of(0.25, 7), 2000)) < 600
    assert struck(plan_of(0.5, 1)) != struck(plan_of(0.5, 2))


def test_what_is_struck_stays_the_same_in_later_releases() -> None:
    assert [number for number in range(40) if plan_of(0.1, 7).strikes(METHOD, number)] == [17, 27, 28, 32, 39]


def test_strikes_are_counted_by_method() -> None:
    strikes = Strikes(FaultPlan(Fault(delay=1, share=0.5), methods={"a.B/C": None, "a.B/D": Fault(delay=1)}))
    for _ in range(100):
        strikes.next(METHOD)
        strikes.next("/a.B/C")
    strikes.next("/a.B/D")
    counts = strikes.injected()
    assert counts.keys() == {"shop.Orders/Place", "a.B/D"}
    assert counts["a.B/D"] == 1
    assert 20 < counts["shop.Orders/Place"] < 80

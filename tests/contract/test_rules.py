"""Each rule of contracts finds what it is for, says where and what to do, and is silent about what is right."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grpc_heartbeat import TimeoutPolicy, contract
from grpc_heartbeat.contract import Contracts, MethodContract, Observed, Place, Report
from grpc_heartbeat.core.adapting import Adaptation, AdaptingTotal
from grpc_heartbeat.core.contract import Finding, in_order, longer, say
from grpc_heartbeat.live_policy import LivePolicy
from tests.contract.shop import PLACE, WATCH, method, shop

SECONDS = st.integers(1, 10**6).map(lambda milliseconds: milliseconds / 1000)
STREAM: dict[str, Any] = {"streams_responses": True}


def check(*contracts: MethodContract, **more: Any) -> list[str]:
    return [str(finding) for finding in contract.check(shop(*contracts), **more).findings]


def policy(**parts: float | None) -> TimeoutPolicy:
    return TimeoutPolicy(methods={PLACE: parts})


ALONE = [
    (
        method(declared=False),
        "error[no-contract]: shop.Orders/Place: it has no contract; declare (grpc_heartbeat.v1.timeout)",
    ),
    (
        method(header=1.0),
        "error[no-limit]: shop.Orders/Place: its contract sets no limit to a call's length; say total_ms",
    ),
    (
        method(idle=1.0),
        "warning[no-effect]: shop.Orders/Place: its idle limit does nothing: it does not stream responses; leave out idle_ms",
    ),
    (
        method(total=2.0, write=1.0),
        "warning[no-effect]: shop.Orders/Place: its write limit does nothing: it does not stream requests; leave out write_ms",
    ),
    (
        method(**STREAM),
        "error[no-limit]: shop.Orders/Place: its contract sets no limit to a call's length; say total_ms or idle_ms",
    ),
    (
        method(total=60.0, **STREAM),
        "warning[stream-without-idle]: shop.Orders/Place: it streams responses and has a total of 60 s but no idle limit: "
        "a silent stream is noticed late; say idle_ms",
    ),
    (
        method(total=2.0, header=2.0),
        "error[beyond-total]: shop.Orders/Place: its header limit of 2 s can end no call: its total is 2 s; "
        "make header_ms less than total_ms, or leave it out",
    ),
    (
        method(total=0.2, p99=1.5),
        "error[total-below-p99]: shop.Orders/Place: its total of 200 ms is shorter than the p99 that it promises, 1.5 s; "
        "set total_ms above 1500, or was 2000 meant?",
    ),
    (
        method(total=0.2, p99=2.001),
        "error[total-below-p99]: shop.Orders/Place: its total of 200 ms is shorter than the p99 that it promises, 2.001 s; "
        "set total_ms above 2001",
    ),
]


@pytest.mark.parametrize(("wrong", "line"), ALONE, ids=lambda value: value if isinstance(value, str) else "")
def test_a_contract_by_itself(wrong: MethodContract, line: str) -> None:
    assert f"shop.proto:7: {line}" in check(wrong)


@pytest.mark.parametrize(
    "right",
    [
        method(total=2.0),
        method(total=2.0, header=1.999, p99=2.0),
        method(idle=30.0, **STREAM),
        method(total=60.0, idle=30.0, **STREAM),
        method(total=60.0, write=5.0, streams_requests=True),
    ],
)
def test_a_right_contract(right: MethodContract) -> None:
    assert check(right) == []
    assert check(right, policy=contract.policy_of(shop(right)), baseline=shop(right)) == []


WITH_POLICY: list[tuple[dict[str, Any], TimeoutPolicy, str]] = [
    (
        {"total": 2.0},
        policy(total=2.001),
        "error[longer-than-contract]: shop.Orders/Place: the total limit of 2.001 s (policy:shop.Orders/Place) is longer than "
        "its contract's 2 s; set total to at most 2",
    ),
    (
        {"total": 2.0, "header": 0.5},
        policy(total=2, header=0.7),
        "error[longer-than-contract]: shop.Orders/Place: the header limit of 700 ms (policy:shop.Orders/Place) is longer than "
        "its contract's 500 ms; set header to at most 0.5",
    ),
    (
        {"total": 2.0},
        TimeoutPolicy(name="edge"),
        "warning[not-limited]: shop.Orders/Place: the policy sets no total limit, its contract says 2 s; set total to 2",
    ),
    (
        {"total": 2.0},
        TimeoutPolicy({"connect": 3}, methods={PLACE: {"total": 2}}, name="edge"),
        "warning[beyond-total]: shop.Orders/Place: the connect limit of 3 s (policy:edge:default) can end no call: the total "
        "is 2 s (policy:edge:shop.Orders/Place); set connect below the total, or to none",
    ),
    (
        {"total": 2.0},
        policy(total=1, header=1),
        "warning[beyond-total]: shop.Orders/Place: the header limit of 1 s (policy:shop.Orders/Place) can end no call: the "
        "total is 1 s (policy:shop.Orders/Place); set header below the total, or to none",
    ),
    (
        {"total": 2.0, "p99": 1.8},
        policy(total=0.2),
        "error[total-below-p99]: shop.Orders/Place: the policy's total of 200 ms is shorter than the p99 that it promises, "
        "1.8 s; set total above 1.8, or was 2 meant?",
    ),
]


@pytest.mark.parametrize(("parts", "used", "line"), WITH_POLICY)
def test_a_policy_against_a_contract(parts: dict[str, Any], used: TimeoutPolicy, line: str) -> None:
    assert f"shop.proto:7: {line}" in check(method(**parts), policy=used)
    assert not any(line in said for said in check(method(**parts)))


def test_a_policy_is_not_blamed_for_what_it_repeats() -> None:
    wrong = method(total=0.2, header=0.3, p99=1.0)
    report = contract.check(shop(wrong), policy=contract.policy_of(shop(wrong)))
    assert [finding.rule for finding in report.findings] == ["beyond-total", "total-below-p99"]


def test_equal_times_in_other_units_are_equal() -> None:
    from_file = 700 * 0.001
    assert from_file > 700 / 1000  # what a policy file and a contract make of 700 ms
    assert check(method(total=0.7), policy=policy(total=from_file)) == []
    wrong = method(total=0.7, header=0.7, p99=1.0)
    assert len(check(wrong, policy=policy(total=from_file, header=from_file))) == len(check(wrong)) == 2


def test_a_limit_that_a_shorter_total_stands_for_is_not_missed() -> None:
    header = method(total=2.0, header=1.0)
    assert check(header, policy=policy(total=1)) == []
    assert [line for line in check(header, policy=policy(total=1.1)) if "not-limited" in line] != []


def test_limits_that_do_not_apply_are_not_compared() -> None:
    assert check(method(total=2.0), policy=policy(total=2, idle=60, write=60)) == []


def test_a_stream_has_its_total_from_its_own_entry_only() -> None:
    stream = method(WATCH, total=60.0, idle=30.0, **STREAM)
    used = TimeoutPolicy({"total": 8, "idle": 30})
    assert [line.partition(":")[2] for line in check(stream, policy=used)] == [
        "7: warning[not-limited]: shop.Orders/Watch: the policy sets no total limit, its contract says 60 s; set total to 60"
    ]


def test_names_that_no_descriptor_has() -> None:
    used = TimeoutPolicy(
        services={"shop.Order": {"total": 1}, "shop.Orders": {"total": 2}, "grpc.health.v1.Health": {}},
        methods={"shop.Orders/Plaice": {}, "z.Z/Q": {}},
    )
    assert check(method(total=2.0), policy=used, observed={"/shop.Orders/place": Observed(1)}) == [
        "error[unknown-service]: shop.Order: no descriptor has this service (did you mean 'shop.Orders'?); "
        "write its full name as the .proto file has it, or remove it",
        "error[unknown-method]: shop.Orders/Plaice: no descriptor has this method (did you mean 'shop.Orders/Place'?); "
        "write its full name as the .proto file has it, or remove it",
        "error[unknown-method]: z.Z/Q: no descriptor has this method; "
        "write its full name as the .proto file has it, or remove it",
        "warning[unknown-method]: shop.Orders/place: no descriptor has this method (did you mean 'shop.Orders/Place'?); "
        "write its full name as the .proto file has it, or remove it",
    ]


def test_200_written_for_2000() -> None:
    typo = method(total=0.2)
    assert check(typo, observed={PLACE: Observed(1.3, count=100)}) == [
        "shop.proto:7: error[total-below-observed]: shop.Orders/Place: its total of 200 ms is shorter than the observed p99 of "
        "1.3 s; set total_ms above 1300, or was 2000 meant?"
    ]
    in_policy = check(method(total=2.0), policy=policy(total=0.2), observed={PLACE: Observed(1.3)})
    assert in_policy == [
        "shop.proto:7: error[total-below-observed]: shop.Orders/Place: the policy's total of 200 ms is shorter than the "
        "observed p99 of 1.3 s; set total above 1.3, or was 2 meant?"
    ]


def test_what_adaptive_totals_have_observed_is_taken() -> None:
    learnt = AdaptingTotal(PLACE, 60.0, Adaptation(), 0.0)
    for number in range(400):
        learnt.answered(0.1 if number < 380 else 3.0, 1.0)
    (finding,) = contract.check(shop(method(total=2.0)), observed={PLACE: learnt.observed(2.0)}).findings
    assert (finding.severity, finding.rule) == ("error", "total-below-observed")
    for wrong, error in (({"p99": -1.0}, ValueError), ({"p50": 1.0}, TypeError), ({"p99": 1.0, "p98": 1.0}, TypeError)):
        with pytest.raises(error, match=r"^observed\['shop\.Orders/Place'\]: .*p9[89]"):
            contract.check(shop(method(total=2.0)), observed={PLACE: wrong})


def test_a_policy_that_may_be_replaced_is_judged_as_it_is_now() -> None:
    live = LivePolicy(policy(total=3))
    assert contract.check(shop(method(total=2.0)), policy=live).rules() == {"longer-than-contract"}
    live.replace(policy(total=2))
    assert contract.check(shop(method(total=2.0)), policy=live).rules() == set()


def test_few_measurements_prove_little() -> None:
    assert check(method(total=0.2), observed={PLACE: Observed(1.3, count=99)}) == [
        "shop.proto:7: warning[total-below-observed]: shop.Orders/Place: its total of 200 ms is shorter than the observed p99 "
        "of 1.3 s (from 99 calls only); set total_ms above 1300, or was 2000 meant?"
    ]


def test_a_broken_promise() -> None:
    assert check(method(total=2.0, p99=0.5), observed={PLACE: Observed(0.6)}) == [
        "shop.proto:7: warning[promise-broken]: shop.Orders/Place: it promises a p99 of 500 ms; the observed p99 of 600 ms is "
        "longer; make it faster, or promise less"
    ]


BEFORE = method(total=2.0, header=1.0, p99=0.8)
CHANGES = [
    ({}, None),
    ({"total": 4.0, "header": 0.5, "p99": 0.4}, None),
    (
        {"total": 1.9},
        "error[total-shortened]: {}: its total was 2 s in the baseline and is 1.9 s: calls that succeeded may fail",
    ),
    (
        {"total": 4.1},
        "warning[changed-much]: {}: its total was 2 s in the baseline and is 4.1 s: more than twice as long",
    ),
    (
        {"p99": 0.3},
        "warning[changed-much]: {}: its p99 was 800 ms in the baseline and is 300 ms: less than half as long",
    ),
    (
        {"header": None},
        "warning[limit-removed]: {}: its header was 1 s in the baseline and is not said any more",
    ),
    (
        {"total": None},
        "error[limit-removed]: {}: its total was 2 s in the baseline and is not said any more",
    ),
    ({"declared": False}, "error[contract-removed]: {}: it had a contract in the baseline and has none"),
]


@pytest.mark.parametrize(("now", "line"), CHANGES)
def test_a_change_since_the_baseline(now: dict[str, Any], line: str | None) -> None:
    found = [said for said in check(replace(BEFORE, **now), baseline=shop(BEFORE)) if "[no-limit]" not in said]
    advice = "keep it, or agree with the clients and renew the baseline"
    assert found == ([] if line is None else [f"shop.proto:7: {line.format(PLACE)}; {advice}"])


def test_a_method_that_went_away_and_one_that_came() -> None:
    assert check(method(WATCH, idle=1.0, **STREAM), baseline=shop(BEFORE)) == [
        "shop.proto: error[contract-removed]: shop.Orders/Place: the baseline has this method, the descriptors do not; "
        "keep it, or agree with the clients and renew the baseline"
    ]
    assert check(BEFORE, baseline=shop(method(declared=False))) == []


def test_packages_of_others_owe_nothing() -> None:
    others = shop(
        *(method(f"{package}.A/B", declared=False) for package in ("google.api", "grpc.health.v1", "grpc_heartbeat.v1"))
    )
    report = contract.check(others, baseline=shop(method("google.api.A/C", total=1.0)))
    assert (report.findings, report.methods) == ((), 0)
    assert [finding.rule for finding in contract.check(shop(method("grpcx.A/B", declared=False))).findings] == [
        "no-contract"
    ]


def test_a_report_counts_sorts_and_turns_into_json() -> None:
    findings = [
        Finding("warning", "b", "a.B/C", "what", "do", Place("a.proto", 1)),
        Finding("error", "a", "a.B/C", "what", "do", Place("b.proto", 2)),
        Finding("error", "a", "a.B/D", "what", "do"),
        Finding("error", "a", "a.B/C", "what", "do", Place("b.proto", 1)),
    ]
    report = Report(in_order(findings), 2)
    assert str(report).splitlines() == [
        "error[a]: a.B/D: what; do",
        "b.proto:1: error[a]: a.B/C: what; do",
        "b.proto:2: error[a]: a.B/C: what; do",
        "a.proto:1: warning[b]: a.B/C: what; do",
        "2 methods, 3 errors, 1 warning",
    ]
    assert (report.ok, report.rules(), len(report.errors), len(report.warnings)) == (False, {"a", "b"}, 3, 1)
    assert report.as_dict()["findings"][3] == {
        "severity": "warning", "rule": "b", "method": "a.B/C", "message": "what", "advice": "do", "file": "a.proto", "line": 1,
    }  # fmt: skip
    assert report.as_dict()["findings"][0]["file"] is None
    assert str(Report((), 1)) == "1 method, 0 errors, 0 warnings"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"p99": "1"}, TypeError, "p99 must be a number of seconds, not str"),
        ({"p99": math.nan}, ValueError, "p99 must be at least 0"),
        ({"p99": -1}, ValueError, "p99 must be at least 0"),
        ({"p99": 1, "p95": 2}, ValueError, "p99 must be at least 2"),
        ({"p99": 1, "p50": True}, TypeError, "p50 must be a number of seconds, not bool"),
        ({"p99": 1, "count": 0}, ValueError, "count must be at least 1; got 0"),
        ({"p99": 1, "count": 1.5}, TypeError, "count must be an integer, not float"),
        ({"p99": 1, "count": True}, TypeError, "count must be an integer, not bool"),
    ],
)
def test_measurements_that_cannot_be(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Observed(**arguments)


def test_times_are_said_in_a_unit_that_suits() -> None:
    assert [say(value) for value in (0.0005, 0.2, 1.0, 61.5, None)] == ["0.5 ms", "200 ms", "1 s", "61.5 s", "nothing"]


@st.composite
def right_contracts(draw: st.DrawFn) -> Contracts:
    """Return contracts that keep the rules."""
    made = []
    for index in range(draw(st.integers(1, 3))):
        total = draw(SECONDS.filter(lambda seconds: seconds > 0.01))
        shorter = st.floats(0.001, total * 0.99)
        streams = draw(st.booleans())
        parts: dict[str, Any] = {"total": total, "idle": draw(shorter) if streams else None}
        parts["header"] = draw(st.none() | shorter)
        parts["p99"] = draw(st.none() | shorter)
        made.append(method(f"shop.Orders/M{index}", streams_responses=streams, **parts))
    return shop(*made)


@given(right_contracts())
def test_the_policy_of_right_contracts_keeps_them(contracts: Contracts) -> None:
    assert contract.check(contracts, policy=contract.policy_of(contracts), baseline=contracts).findings == ()


@given(right_contracts(), st.sampled_from(["total", "header", "idle"]), st.floats(1.001, 1000))
def test_no_policy_that_is_longer_gets_through(contracts: Contracts, part: str, factor: float) -> None:
    name, one = next(iter(contracts.items()))
    agreed = getattr(one, part)
    assume(agreed is not None)
    entry = one.limits() | {part: agreed * factor}
    report = contract.check(contracts, policy=TimeoutPolicy(methods={name: entry}))
    assert ("longer-than-contract", name) in {(finding.rule, finding.method) for finding in report.errors}


@given(SECONDS, SECONDS)
def test_a_total_is_told_short_exactly_when_it_is(total: float, p99: float) -> None:
    found = contract.check(shop(method(total=total)), observed={PLACE: Observed(p99)})
    assert (found.rules() == {"total-below-observed"}) == longer(p99, total)
    assert any("meant?" in finding.advice for finding in found.findings) == (total < p99 <= total * 10 * (1 + 1e-9))


@given(SECONDS, SECONDS)
def test_a_shortened_total_is_never_missed(before: float, now: float) -> None:
    found = contract.check(shop(method(total=now)), baseline=shop(method(total=before)))
    rule = "total-shortened" if now < before else "changed-much" if now > 2 * before * (1 + 1e-9) else None
    assert found.rules() == ({rule} if rule else set())

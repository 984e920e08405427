"""What a policy should say otherwise: only its own limits, only where enough happened, and never what cures nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.contract import Observed
from grpc_heartbeat.core.limits import Limits, Part
from grpc_heartbeat.core.proposals import Evidence, propose, rounded_up, wanted_total

PLACE = "shop.Orders/Place"


def record(layer: str = "total", limit: Any = 2.0, source: str = "policy:default", method: str = f"/{PLACE}") -> Any:
    return {"method": method, "layer": layer, "limit": limit, "source": source}


def evidence(*records: Any, times: int = 10) -> Evidence:
    found = Evidence()
    for _ in range(times):
        for one in records:
            found.add(one)
    return found


def test_a_total_becomes_what_its_calls_need() -> None:
    (proposal,) = propose(evidence(record()), {PLACE: Observed(1.5)}, {})
    assert (proposal.method, proposal.part, proposal.calls, proposal.limit) == (PLACE, "total", 10, 2.0)
    assert proposal.proposed == wanted_total(Observed(1.5)) == 3.0  # 1.5 * 1.8 + 0.3
    assert proposal.why == "99 of 100 calls take up to 1.5 s"


def test_a_total_that_is_long_enough_stays() -> None:
    (proposal,) = propose(evidence(record()), {PLACE: Observed(0.5)}, {})
    assert proposal.proposed is None
    assert "lost, not slow" in proposal.why


@pytest.mark.parametrize("part", ["total", "header", "idle", "write"])
def test_what_was_not_measured_is_doubled(part: Part) -> None:
    (proposal,) = propose(evidence(record(part, 1.5), record(part, 0.5)), {}, {})
    assert (proposal.part, proposal.limit, proposal.proposed, proposal.calls) == (part, 1.5, 3.0, 20)


def test_connecting_is_not_cured_by_waiting() -> None:
    (proposal,) = propose(evidence(record("connect", 3.0)), {}, {})
    assert proposal.proposed is None


def test_only_limits_of_the_policy_count_and_only_if_they_ended_enough() -> None:
    sources = ("explicit", "inherited:/a.B/C", "server", "limit", "proxy")
    assert propose(evidence(*(record(source=source) for source in sources)), {}, {}) == []
    assert propose(evidence(record(), times=9), {}, {}) == []
    assert len(propose(evidence(record(), times=9), {}, {}, least=9)) == 1
    assert len(propose(evidence(record(source="adaptive:policy:default")), {}, {})) == 1


def test_a_total_that_makes_callers_wait_for_nothing_is_shortened() -> None:
    limits = {PLACE: Limits(total=8.0)}
    (proposal,) = propose(Evidence(), {PLACE: Observed(0.1, count=1000)}, limits)
    assert (proposal.limit, proposal.proposed, proposal.calls) == (8.0, 0.48, 0)
    assert propose(Evidence(), {PLACE: Observed(0.1, count=999)}, limits) == []
    assert propose(Evidence(), {PLACE: Observed(1.0)}, limits) == []
    assert propose(Evidence(), {PLACE: Observed(0.1)}, {}) == []
    assert propose(Evidence(), {PLACE: Observed(0.1)}, {PLACE: Limits()}) == []


def test_one_that_ended_calls_is_shortened_once() -> None:
    (proposal,) = propose(evidence(record(limit=8.0)), {PLACE: Observed(0.1)}, {PLACE: Limits(total=8.0)})
    assert (proposal.calls, proposal.proposed) == (10, 0.48)
    (proposal,) = propose(evidence(record(limit=8.0)), {PLACE: Observed(0.1, count=9)}, {PLACE: Limits(total=8.0)})
    assert proposal.proposed is None


def test_they_come_in_order() -> None:
    records = (record("write", method="/b.B/C"), record("total", method="/b.B/C"), record("idle", method="/a.B/C"))
    found = propose(evidence(*records), {}, {})
    assert [(one.method, one.part) for one in found] == [("a.B/C", "idle"), ("b.B/C", "total"), ("b.B/C", "write")]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "method": st.just("/a.B/C") | ANYTHING,
        "layer": st.sampled_from(["total", "scope"]) | ANYTHING,
        "limit": ANYTHING,
        "source": st.just("policy:x") | ANYTHING,
    },
)


@given(records=st.lists(FIELDS | ANYTHING))
def test_whatever_is_in_the_records_it_is_counted(records: list[Any]) -> None:
    found = Evidence()
    for one in records:
        found.add(one)
    ours = sum(ended.calls for ended in found.ended.values())
    assert ours + found.foreign + found.unreadable == len(records)
    for proposal in propose(found, {}, {}, least=1):
        assert proposal.proposed is None or 0 < proposal.proposed < math.inf


@given(seconds=st.floats(1e-6, 1e8))
def test_rounding_up_never_shortens_and_adds_little(seconds: float) -> None:
    assert seconds * (1 - 1e-8) <= rounded_up(seconds) <= seconds * 1.1 * (1 + 1e-8)

"""The model of PINGs and strikes, by hand and against a count that plays every PING."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.options.pings import SURVIVES, fate, why
from grpc_heartbeat.options.settings import Enforcement, Keepalive, enforcement


def client(time: float, max_pings: int = 0, *, permit: bool = False) -> Keepalive:
    return Keepalive(time, 20.0, 60.0, permit, max_pings)


def played(pinging: Keepalive, required: float, forgiven: int, free: int, count: int = 400) -> float | None:
    """Send PING after PING and count strikes; when the server has enough, or ``None``."""
    clock, strikes = 0.0, 0
    for number in range(1, count):
        gap = pinging.slowest if pinging.max_pings and number > pinging.max_pings else pinging.pace
        clock += gap
        strikes += number > free and gap < required
        if strikes > forgiven:
            return clock
    return None


@given(
    st.integers(1, 100),
    st.sampled_from([0, 1, 2, 3, 7]),
    st.integers(0, 400),
    st.integers(1, 10),
)
def test_the_formula_counts_as_one_would_by_hand(time: int, max_pings: int, interval: int, strikes: int) -> None:
    pinging = client(float(time), max_pings)
    found = fate(pinging, Enforcement(min_interval=interval, max_strikes=strikes), calls=True)
    soonest = played(pinging, interval, strikes, free=0)
    assert found.earliest == (None if soonest is None else pytest.approx(soonest))
    near = [gap for gap in (pinging.pace, pinging.slowest) if 0 < interval - gap <= 0.02 * gap + 0.02]
    if not near:
        latest = played(pinging, interval, strikes, free=2)
        assert found.latest == (None if latest is None else pytest.approx(latest))
    assert (found.outcome == "survives") == (found.earliest is None)
    if found.settles is not None:
        assert max(1.0, found.settles) >= interval


def test_nothing_is_counted_where_nothing_is_sent_or_all_is_forgiven() -> None:
    assert fate(client(float("inf")), Enforcement(), calls=True) == SURVIVES
    assert fate(client(1.0), Enforcement(), calls=False) == SURVIVES
    assert fate(client(1.0), Enforcement(max_strikes=0), calls=True) == SURVIVES


def test_without_calls_two_hours_are_demanded_unless_permitted() -> None:
    unused = fate(client(10.0, permit=True), Enforcement(min_interval=5), calls=False)
    assert (unused.outcome, unused.earliest, unused.latest) == ("goaway", 30.0, 50.0)
    assert unused.settles == 10_240.0
    allowed = Enforcement(min_interval=5, permit_without_calls=True)
    assert fate(client(10.0, permit=True), allowed, calls=False) == SURVIVES
    assert "which the server does not permit" in why(client(10.0, permit=True), Enforcement(), calls=False)


def test_an_interval_that_is_just_right_survives() -> None:
    assert fate(client(5.0), Enforcement(min_interval=5), calls=True) == SURVIVES
    assert fate(client(5.0), Enforcement(min_interval=5.01), calls=True).outcome == "uncertain"
    assert fate(client(5.0), Enforcement(min_interval=5.5), calls=True).outcome == "goaway"


def test_a_client_below_a_second_jitters() -> None:
    assert fate(client(0.3), Enforcement(min_interval=0.9), calls=True) == SURVIVES
    assert fate(client(0.3), Enforcement(min_interval=1.0), calls=True).outcome == "uncertain"
    assert fate(client(0.3), Enforcement(min_interval=1.5), calls=True).outcome == "goaway"
    assert fate(client(1.0), Enforcement(min_interval=1.0), calls=True) == SURVIVES


def test_a_throttled_client_may_be_forgiven() -> None:
    assert fate(client(1.0, 2), Enforcement(min_interval=30), calls=True) == SURVIVES
    assert fate(client(1.0, 2), Enforcement(min_interval=30, max_strikes=1), calls=True).outcome == "uncertain"
    slow = fate(client(1.0, 2), Enforcement(min_interval=300), calls=True)
    assert (slow.earliest, slow.latest) == (62.0, 182.0)
    assert "then every 60 s" in why(client(1.0, 2), Enforcement(), calls=True)


def test_any_number_of_strikes_is_worked_out_at_once() -> None:
    patient = fate(client(1.0, 2**31), Enforcement(min_interval=300, max_strikes=2**31 - 1), calls=True)
    assert patient.earliest == 2.0**31


def test_enforcement_from_options() -> None:
    assert enforcement({}) == Enforcement(300.0, False, 2)
    said = {"grpc.http2.min_ping_interval_without_data_ms": 1500, "grpc.http2.max_ping_strikes": -3}
    assert enforcement({**said, "grpc.keepalive_permit_without_calls": True}) == Enforcement(1.5, True, 0)

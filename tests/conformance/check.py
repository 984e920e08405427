"""What both stacks' tests ask of an outcome."""

from __future__ import annotations

from grpc_heartbeat import _grpcio
from tests.conformance.outcome import Outcome
from tests.conformance.peers import Watched
from tests.conformance.policy import LIMIT, expected
from tests.conformance.table import Cell
from tests.peers import PATIENCE

_CLOCKS = 0.005
"""Seconds by which two readings of the clock may differ from what a timer saw."""


def check_ended(cell: Cell, kind: str, outcome: Outcome) -> None:
    """Check that the cell's limit ended the call, in time, and that everything about the end says so."""
    wanted = expected(cell.limit, kind)
    assert outcome.error is not None, f"the call went on to its end: {outcome.responses}"
    assert outcome.status is not None
    assert outcome.status.name == wanted.status, outcome.details
    facts = outcome.facts
    assert facts is not None, f"no facts on {outcome.error!r} nor on {outcome.call!r}"
    assert facts.layer in wanted.layers
    assert facts.source == wanted.source
    # The words on an error of grpcio's own making are put there by a private name.
    assert method_in(outcome.details, kind) or _grpcio._PUBLIC_API_ONLY, f"the method is not in: {outcome.details}"
    if cell.limit != "scope cancel":
        assert facts.limit is not None
        assert abs(facts.limit - LIMIT) < LIMIT / 2
        assert LIMIT / 2 < facts.elapsed < PATIENCE / 2
        earliest = LIMIT / 2 if cell.limit == "scope expiry" else LIMIT - _CLOCKS  # a scope begins before its calls
        assert earliest < outcome.seconds < PATIENCE / 2
    # What grpcio gives to somebody who uses its interceptors is grpcio's own.
    assert not outcome.misled or cell.installation == "official interceptors"
    if outcome.call is not None and hasattr(outcome.call, "done"):
        assert outcome.call.done()
    assert outcome.responses == [] or cell.limit == "idle"


def method_in(details: str, kind: str) -> bool:
    """Tell whether ``details`` name the method of ``kind``, or the inbound RPC that the call was made for."""
    return f"/{kind}" in details or "/front.End/Buy" in details


def check_left_alone(outcome: Outcome) -> None:
    """Check that the call came to its own good end."""
    assert outcome.error is None, f"{outcome.facts} {outcome.error!r}"
    assert outcome.responses


def check_over(watched: Watched) -> None:
    """Check that the call has ended at the server, too. (A busy server may not even have begun it when its time was up.)"""
    assert watched.over.wait(PATIENCE if watched.started.is_set() else 0.0) or not watched.started.is_set()

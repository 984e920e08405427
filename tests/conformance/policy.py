"""The limits of the conformance tests: one policy that gives each limit's methods that limit and no other.

Methods that are to be ended get ``LIMIT``; those that are punctual, or whose call path the limit cannot reach, ``LENIENT``,
which a call to ``Slow`` outlasts in all without any single wait being that long.
"""

from __future__ import annotations

from typing import NamedTuple

from grpc_heartbeat import TimeoutPolicy, Timeouts
from tests.conformance.peers import BEHAVIORS
from tests.peers import KINDS

LIMIT = 0.08
LENIENT = 0.8
LAYERS = ("connect", "header", "idle", "write", "total")
LATE = {"connect": "Quick", "header": "Silent", "idle": "Stall", "write": "Hold", "total": "Hold"}
"""The behavior that a layer's limit is to end. (For ``connect`` it is the port that matters.)"""


def method(limit: str, behavior: str, kind: str) -> str:
    """Return the full name of the method of ``kind`` that has ``behavior`` and, by ``POLICY``, ``limit``."""
    return f"/{limit.replace(' ', '_')}.{behavior}/{kind}"


def _limits(layer: str, behavior: str) -> Timeouts:
    return Timeouts(**{layer: LIMIT if behavior == LATE[layer] else LENIENT})


POLICY = TimeoutPolicy(
    # A total holds for a call that streams responses only where its very method is named, so every method is.
    methods={
        method(layer, behavior, kind): _limits(layer, behavior)
        for layer in LAYERS
        for behavior in BEHAVIORS
        for kind in KINDS
    }
)


class Expected(NamedTuple):
    """How a limit's end is to be told."""

    status: str
    layers: tuple[str, ...]
    source: str


def expected(limit: str, kind: str) -> Expected:
    """Return what the end of a call of ``kind`` by ``limit`` must say."""
    if limit == "scope cancel":
        return Expected("CANCELLED", ("scope",), "inherited:/front.End/Buy")
    if limit == "scope expiry":
        # gRPC's own deadline and the end of the scope coincide; either may be seen first.
        return Expected("DEADLINE_EXCEEDED", ("total", "scope"), "inherited:/front.End/Buy")
    status = "UNAVAILABLE" if limit == "connect" else "DEADLINE_EXCEEDED"
    return Expected(status, (limit,), f"policy:{method(limit, LATE[limit], kind)[1:]}")


def pairs(names: list[str]) -> list[list[str]]:
    """Return ``names`` two by two."""
    return [names[start : start + 2] for start in range(0, len(names), 2)]

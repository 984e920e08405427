"""What the racing tests of both stacks share: random calls, a server that plays them, and what is true of each afterwards.

A ``Plan`` says how the server treats one RPC; it travels with the RPC as the metadata entry ``plan``. ``judge`` compares how
the call was reported with what the server and the killers really did. Limits are short and the machine may be busy, so any
layer may fire; but it must be one that can have been late.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from time import monotonic
from typing import Any, NamedTuple

import grpc

from grpc_heartbeat import TimeoutPolicy, Timeouts
from grpc_heartbeat.core.scope import Reason, Scope
from tests.conformance import peers
from tests.conformance.outcome import Outcome

LIMIT = 0.03
LONGEST = 0.4
"""Seconds that no call outlasts: a unary call that was accepted has no other limit than its total."""
POLICY = TimeoutPolicy(Timeouts(connect=LIMIT, header=LIMIT, idle=LIMIT, write=LIMIT))
SLACK = 0.25
"""Seconds that a busy machine may take from what the server did to what the client learned of it."""

_NEVER = -1


class Plan(NamedTuple):
    """How the server treats an RPC. Times are in milliseconds; -1 means never."""

    accept: int
    message: int
    messages: int
    reads: bool
    aborts: bool

    def __str__(self) -> str:
        return ",".join(str(int(part)) for part in self)

    @classmethod
    def parse(cls, text: str) -> Plan:
        accept, message, messages, reads, aborts = map(int, text.split(","))
        return cls(accept, message, messages, bool(reads), bool(aborts))

    @classmethod
    def random(cls, dice: random.Random) -> Plan:
        return cls(
            accept=dice.choice((0, 0, 0, 0, 5, 50, _NEVER)),
            message=dice.choice((0, 0, 0, 2, 50, _NEVER)),
            messages=dice.randint(1, 4),
            reads=dice.random() < 0.8,
            aborts=dice.random() < 0.1,
        )


class Truth(peers.Watched):
    """What really happened to one RPC.

    Attributes:
        accepted_at: When its initial metadata was sent, or ``None``.
    """

    accepted_at: float | None = None


class Server(peers.Server):
    """Plays the plans that come with its RPCs."""

    def watch(self, token: str) -> Truth:
        found = self._watched.setdefault(token, Truth())
        assert isinstance(found, Truth)
        return found

    def forget(self, token: str) -> None:
        """Forget the RPC: thousands are to come."""
        self._watched.pop(token, None)

    def _race(self, requests: Iterator[bytes], watched: peers.Watched, context: Any) -> Iterator[bytes]:
        plan = Plan.parse(dict(context.invocation_metadata())["plan"])
        if not _pause(plan.accept, watched):
            return
        context.send_initial_metadata(())
        if isinstance(watched, Truth):
            watched.accepted_at = monotonic()
        if plan.reads:
            for _ in requests:
                pass
        for _ in range(plan.messages):
            if not _pause(plan.message, watched):
                return
            yield b"answer"
        if plan.aborts:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as planned")


def _pause(milliseconds: int, watched: peers.Watched) -> bool:
    """Wait; return whether the RPC still lives."""
    if milliseconds:
        watched.over.wait(LONGEST * 3 if milliseconds < 0 else milliseconds / 1000)
    return not watched.over.is_set()


class Attempt(NamedTuple):
    """One call that was made.

    Attributes:
        direct: Whether its connection was left alone.
        started: When.
        timeout: Its own time-out.
        scope: The scope that it was made in.
        cancelled: Whether the application cancelled it.
    """

    kind: str
    plan: Plan
    direct: bool
    started: float
    timeout: float
    scope: Scope | None
    cancelled: bool


def label(outcome: Outcome) -> str:
    """Return in a word how the call ended."""
    if outcome.error is None:
        return "OK"
    if outcome.status is None:
        return type(outcome.error).__name__
    return outcome.status.name if outcome.facts is None else outcome.facts.layer


def judge(attempt: Attempt, outcome: Outcome, truth: Truth) -> str | None:
    """Return what is wrong with how the call's end was reported; ``None`` if it can have been so."""
    if attempt.cancelled and isinstance(outcome.error, asyncio.CancelledError):
        return None
    facts = outcome.facts
    status = None if outcome.status is None else outcome.status.name
    if outcome.error is None:
        return None if outcome.responses else "OK without a response"
    if facts is None:
        return None if status in _unlimited_ends(attempt) else f"{status} for no reason: {outcome.details}"
    if status != _status_of(facts.layer, attempt.scope):
        return f"{facts.layer} with {status}"
    if facts.limit is not None and facts.elapsed < facts.limit - 0.025:
        return f"{facts.layer} too early, after {facts.elapsed} of {facts.limit} s"
    # The caller may have been woken long after the end.
    accepted = truth.accepted_at is not None and truth.accepted_at < attempt.started + facts.elapsed - SLACK
    return _contradiction(facts.layer, attempt, accepted or bool(outcome.responses))


def _unlimited_ends(attempt: Attempt) -> set[str]:
    ends = {"FAILED_PRECONDITION"} if attempt.plan.aborts else set()
    if attempt.cancelled:
        ends.add("CANCELLED")
    if attempt.kind.startswith("Stream"):
        ends.add("INTERNAL")  # grpc.aio's word for a write that an end overtook
    return ends if attempt.direct else ends | {"UNAVAILABLE"}


def _status_of(layer: str, scope: Scope | None) -> str:
    if layer == "connect":
        return "UNAVAILABLE"
    cancelled = layer == "scope" and scope is not None and scope.reason is not Reason.EXPIRED
    return "CANCELLED" if cancelled else "DEADLINE_EXCEEDED"


def _contradiction(layer: str, attempt: Attempt, accepted: bool) -> str | None:
    wrong = {
        "connect": (attempt.direct or accepted, "there was a connection"),
        "header": (accepted and attempt.direct, "the server had long accepted"),
        "idle": (not attempt.kind.endswith("Stream"), "there is one response"),
        "write": (not attempt.kind.startswith("Stream"), "there is one request"),
        "scope": (attempt.scope is None or attempt.scope.reason is None, "the scope lives"),
        "total": (False, ""),
    }
    contradicted, why = wrong.get(layer, (True, "there is no such layer"))
    return f"{layer}, though {why}" if contradicted else None

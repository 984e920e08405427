"""The words of a judgement: sides, verdicts, the policy that leads to them, and the events that tell of them.

How they come about is told in :mod:`grpc_heartbeat.core.judge`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, TypeAlias

from grpc_heartbeat.config import HeartbeatPolicy, check_seconds
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.lateness import PauseCause
from grpc_heartbeat.core.phi import MIN_DEVIATION, THRESHOLD


class Side(enum.Enum):
    """One direction of a connection."""

    ALIVE = "alive"
    STALE = "stale"
    WRITE_FAILED = "write failed"


class Verdict(enum.Enum):
    """What is thought of the peer."""

    UP = "up"
    LATE = "late"
    STUCK = "stuck"
    OVERLOADED = "overloaded"
    DOWN = "down"
    REOPEN = "reopen"

    @property
    def convicts(self) -> bool:
        """Whether no work should be sent there."""
        return self in CONVICTED


CONVICTED = (Verdict.DOWN, Verdict.STUCK)

SideName: TypeAlias = Literal["write", "echo"]


@dataclass(frozen=True, slots=True)
class VerdictChanged(Event):
    """The verdict changed at ``at``; ``why`` is for people."""

    before: Verdict
    after: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class SideChanged(Event):
    """One side changed."""

    side: SideName
    before: Side
    after: Side


@dataclass(frozen=True, slots=True)
class JudgementSuspended(Event):
    """The peer was silent for long enough to be convicted, but for ``excused`` seconds of that this process did not run."""

    excused: float
    cause: PauseCause


@dataclass(frozen=True, slots=True)
class JudgePolicy:
    """When to convict. Durations are seconds.

    Args:
        limit: The hard maximum of silence.
        accepted_pause: Silence that φ accepts on top of the usual. Default 0.
        threshold: φ at which silence convicts, and at which it is late. Default 8 (Akka), wrong once in 10⁸ regular echoes.
        min_deviation: Floor under the deviation of echoes. Default 0.1 (Akka).
        overloaded: Queue delay or loop lag from which acks mean OVERLOADED; ends below half of it. Default 0.1.
        persist: Acks in a row that must say so; one may be a garbage collection. Default 2.

    Raises:
        TypeError, ValueError: a value of the wrong type or out of its range.
    """

    limit: float
    accepted_pause: float = 0.0
    threshold: float = THRESHOLD
    min_deviation: float = MIN_DEVIATION
    overloaded: float = 0.1
    persist: int = 2

    def __post_init__(self) -> None:
        for name, inclusive in (
            ("limit", False),
            ("accepted_pause", True),
            ("min_deviation", False),
            ("overloaded", False),
        ):
            check_seconds(f"JudgePolicy.{name}", getattr(self, name), inclusive=inclusive)
        if not 0 < self.threshold <= 300:
            raise ValueError(f"JudgePolicy.threshold must be more than 0 and at most 300; got {self.threshold!r}")
        if self.persist < 1:
            raise ValueError(f"JudgePolicy.persist must be at least 1; got {self.persist!r}")

    @classmethod
    def of(cls, policy: HeartbeatPolicy) -> JudgePolicy:
        """Return what ``policy`` says, with its defaults worked out."""
        limit = policy.longest_silence
        tolerance = max(limit - policy.interval, policy.beat_timeout) if policy.tolerance is None else policy.tolerance
        return cls(limit, tolerance, policy.suspicion, policy.deviation, policy.overloaded, policy.overloaded_acks)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge at one instant. ``since``: when ``verdict`` was reached. ``phi``: suspicion now, 0 while nothing is awaited.

    ``suspended``: seconds of our own pauses in the present silence, which the peer is not blamed for.
    """

    verdict: Verdict
    since: float
    why: str
    write: Side
    echo: Side
    phi: float
    suspended: float

    @property
    def operational(self) -> bool:
        """Whether both sides are alive."""
        return self.write is Side.ALIVE and self.echo is Side.ALIVE

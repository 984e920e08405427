"""Which inbound RPCs are worth starting, and how long each may take.

Theory of operation. An RPC with less budget left than its method can use will fail in any case, after work was done for it.
Rejecting it at entry saves that work, and is dangerous: when a clock or a queue goes wrong, *every* RPC looks too late, and a
server that rejects all of them turns slowness into an outage. So, as in Finagle's ``DeadlineFilter``
(finagle-core/src/main/scala/com/twitter/finagle/service/DeadlineFilter.scala), rejections are limited to a fraction of the
RPCs of a sliding window, and one begins in the dark: what would be rejected is counted until ``enforce`` is set. There a
rejection withdraws 1/fraction tokens of which each *served* request deposits one; here every RPC counts, so that a fraction of
1 means what it says.

An RPC whose budget is spent altogether is not subject to the fraction: its client is gone.

One caller at a time; the drivers hold a lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from grpc_heartbeat.core.deadline import earliest
from grpc_heartbeat.core.sketch import Sketch, Summary

SLICES = 10
"""Parts of the window; the oldest is forgotten as a whole."""

MOST_METHODS = 256
"""Methods that are counted by name. Strangers may make up names; what comes later is counted as ``OTHERS``."""

OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class InboundLimits:
    """What holds for the RPCs of one method; seconds, ``None`` sets no limit.

    Args:
        default: The total of an RPC whose client gave none.
        maximum: The most that any RPC may take.
        minimum_budget: What must be left at its start.
        source: Where these come from, in words.
    """

    default: float | None = None
    maximum: float | None = None
    minimum_budget: float | None = None
    source: str = "policy:default"

    def own(self, left: float | None) -> float | None:
        """Return the seconds after which the server itself ends an RPC that has ``left``; ``None`` if its client does."""
        if left is None:
            return earliest(self.default, self.maximum)
        return self.maximum if self.maximum is not None and self.maximum < left else None


class RejectBudget:
    """Allows rejections up to a fraction of the RPCs of a sliding window."""

    __slots__ = ("_arrived", "_fraction", "_rejected", "_slice", "_slot")

    def __init__(self, fraction: float, window: float) -> None:
        self._fraction = fraction
        self._slice = window / SLICES
        self._arrived = [0] * SLICES
        self._rejected = [0] * SLICES
        self._slot = 0

    def arrived(self, now: float) -> None:
        """Count an RPC."""
        slot = int(now // self._slice)
        if slot > self._slot:
            for stale in range(max(self._slot + 1, slot - SLICES + 1), slot + 1):
                self._arrived[stale % SLICES] = self._rejected[stale % SLICES] = 0
            self._slot = slot
        self._arrived[self._slot % SLICES] += 1

    def take(self) -> bool:
        """Return whether the RPC counted last may be rejected; if so, it counts as rejected."""
        if sum(self._rejected) + 1 > self._fraction * sum(self._arrived):
            return False
        self._rejected[self._slot % SLICES] += 1
        return True


class Counts:
    """The figures of one method."""

    __slots__ = ("expired_in_queue", "rejected", "seen", "would_reject")

    def __init__(self) -> None:
        self.seen = 0
        self.would_reject = 0
        self.rejected = 0
        self.expired_in_queue = 0


@dataclass(frozen=True, slots=True)
class MethodStats:
    """The figures of one method, or of all.

    Attributes:
        seen: RPCs that arrived with something left of their budget, or without a deadline.
        would_reject: Those of them that had less left than ``minimum_budget``.
        rejected: Those of them that were rejected for it.
        expired_in_queue: RPCs whose budget was spent when their handler should have started. They are always rejected.
    """

    seen: int = 0
    would_reject: int = 0
    rejected: int = 0
    expired_in_queue: int = 0


@dataclass(frozen=True, slots=True)
class ServerStats(MethodStats):
    """What a server's interceptor counted since it was made. Without a policy only ``expired_in_queue`` is counted.

    Attributes:
        queue_delay: Seconds from the arrival of an RPC to the start of its handler: count, p50, p99, max.
        last_queue_delay: The latest of them.
        methods: The figures by method; at most 256 have their own, the others are under ``(others)``.
    """

    queue_delay: Summary = field(default_factory=lambda: Sketch().summary())
    last_queue_delay: float = 0.0
    methods: Mapping[str, MethodStats] = field(default_factory=dict)


class Admission:
    """Decides on rejections and counts."""

    def __init__(self, *, enforce: bool = False, max_reject_fraction: float = 0.2, window: float = 10.0) -> None:
        self._enforce = enforce
        self._budget = RejectBudget(max_reject_fraction, window)
        self._counts: dict[str, Counts] = {}
        self._delay = Sketch()
        self._last_delay = 0.0

    def counts(self, method: str) -> Counts:
        """Return where ``method`` is counted. Keep it: looking it up is not for every RPC."""
        counts = self._counts.get(method)
        if counts is None:
            name = method if len(self._counts) < MOST_METHODS else OTHERS
            counts = self._counts.setdefault(name, Counts())
        return counts

    def delayed(self, delay: float) -> None:
        """Count how long an RPC waited for its handler."""
        self._delay.add(delay)
        self._last_delay = delay

    def expired(self, counts: Counts) -> None:
        """Count an RPC whose budget was spent."""
        counts.expired_in_queue += 1

    def rejects(self, counts: Counts, short: bool, now: float) -> bool:
        """Count an RPC and return whether it is to be rejected; ``short`` says that less is left than its method wants."""
        counts.seen += 1
        self._budget.arrived(now)
        if not short:
            return False
        counts.would_reject += 1
        if not self._enforce or not self._budget.take():
            return False
        counts.rejected += 1
        return True

    def stats(self) -> ServerStats:
        """Return the figures."""
        methods = {
            name: MethodStats(each.seen, each.would_reject, each.rejected, each.expired_in_queue)
            for name, each in sorted(self._counts.items())
        }
        return ServerStats(
            seen=sum(each.seen for each in methods.values()),
            would_reject=sum(each.would_reject for each in methods.values()),
            rejected=sum(each.rejected for each in methods.values()),
            expired_in_queue=sum(each.expired_in_queue for each in methods.values()),
            queue_delay=self._delay.summary(),
            last_queue_delay=self._last_delay,
            methods=methods,
        )

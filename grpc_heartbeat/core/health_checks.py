"""When a dependency check runs and what its results are worth; no I/O.

A check runs as soon as it is added and then every ``ttl`` seconds, counted from start to start. One run is under way at a time.
A run that has not answered within ``timeout`` seconds is a failure; if it is still under way, the next one starts after its
end, because a function that hangs cannot be stopped and must not pile up. What it answers then comes too late and is dropped.
For as long as it goes on, each ``ttl`` is another failure, as the run would be that is not made.

So no success counts for longer than ``failures`` times ``ttl + timeout``, and nobody who asks for a status waits for a check.

``failures`` failures in a row make the check ``NOT_SERVING``, one success makes it ``SERVING``. Until its first result it is
``UNKNOWN``: a process that does not know its database must not be sent work.

What the driver does: it calls ``wake(now)`` at ``next_wakeup()``, starts a run if that returns a number, hands it back to
``finished`` with what came of it, and after each call shows ``status`` on the board.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from grpc_heartbeat.core.frames import ServingStatus


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """How a check is run. ``ttl`` and ``timeout`` are seconds; a ``critical`` one counts for the names in ``services``."""

    name: str
    ttl: float
    timeout: float
    critical: bool
    failures: int
    services: frozenset[str]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A check at one instant. Instants are monotonic seconds, durations seconds.

    ``at``: when the last result came, ``None`` before the first. ``took``: how long that run took. ``runs``: runs started.
    ``failed``: failures since the last success. ``error``: why the last run failed, or ``""``.
    """

    status: ServingStatus
    critical: bool
    at: float | None = None
    took: float = 0.0
    runs: int = 0
    failed: int = 0
    error: str = ""


class CheckSchedule:
    """One check, from ``now`` on."""

    def __init__(self, plan: CheckPlan, now: float) -> None:
        self.plan = plan
        self.report = CheckReport(ServingStatus.UNKNOWN, plan.critical)
        self._due = now
        self._started: float | None = None
        self._late_at = now
        self.overdue = False
        """Whether the run under way has taken too long."""

    @property
    def status(self) -> ServingStatus:
        """What the check says now."""
        return self.report.status

    def next_wakeup(self) -> float | None:
        """Return the instant of the next :meth:`wake`; ``None`` while only the end of a run that timed out is waited for."""
        if self._started is None:
            return self._due
        return None if self.overdue and self.report.failed >= self.plan.failures else self._late_at

    def wake(self, now: float) -> int | None:
        """Give up on a run that takes too long, or return the number of the run to start now."""
        wakeup = self.next_wakeup()
        if wakeup is None or now < wakeup:
            return None
        if self._started is not None:
            self.overdue, self._late_at = True, now + self.plan.ttl
            self._failed(now, f"no answer within {self.plan.timeout:g} s")
            return None
        self._started, self._late_at, self.overdue = now, now + self.plan.timeout, False
        self.report = replace(self.report, runs=self.report.runs + 1)
        return self.report.runs

    def finished(self, run: int, error: str | None, now: float) -> None:
        """Take the end of ``run``: ``error`` says why it failed, ``None`` that it did not."""
        if self._started is None or run != self.report.runs:
            return
        if not self.overdue:
            if error is None:
                took = now - self._started
                self.report = replace(self.report, status=ServingStatus.SERVING, at=now, took=took, failed=0, error="")
            else:
                self._failed(now, error)
        self._due = max(now, self._started + self.plan.ttl)
        self._started, self.overdue = None, False

    def _failed(self, now: float, error: str) -> None:
        known = self.report
        failed = known.failed + 1
        given_up = failed >= self.plan.failures
        status = ServingStatus.NOT_SERVING if given_up else known.status
        took = 0.0 if self._started is None else now - self._started
        self.report = replace(known, status=status, at=now, took=took, failed=failed, error=error)

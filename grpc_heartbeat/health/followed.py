"""A dependency that is not asked: the breaker of a channel says how it is, because its heartbeats know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from grpc_heartbeat._timers import clock
from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.core.health_checks import CheckPlan, CheckReport


class Breaker(Protocol):
    """What is followed: ``channel.breaker``."""

    def listen(self, listener: Callable[[bool, str], object]) -> object:
        """Call ``listener(up, why)`` now and at each change."""

    def unlisten(self, listener: Callable[[bool, str], object]) -> object:
        """Undo ``listen``."""


class FollowedBreaker:
    """Shows what a breaker says until :meth:`stop`.

    Args:
        show: Called after each change, from any thread.
    """

    def __init__(self, plan: CheckPlan, breaker: Breaker, show: Callable[[CheckPlan, ServingStatus], None]) -> None:
        self._plan = plan
        self._breaker = breaker
        self._show = show
        self.report = CheckReport(ServingStatus.UNKNOWN, plan.critical)

    def start(self) -> None:
        """Begin, with what the breaker says now."""
        self._breaker.listen(self._hear)

    def stop(self) -> None:
        """Follow it no more."""
        self._breaker.unlisten(self._hear)

    def _hear(self, up: bool, why: str) -> None:
        status = ServingStatus.SERVING if up else ServingStatus.NOT_SERVING
        known = self.report
        failed = 0 if up else known.failed + 1
        self.report = CheckReport(status, known.critical, clock(), 0.0, known.runs + 1, failed, "" if up else why)
        self._show(self._plan, status)

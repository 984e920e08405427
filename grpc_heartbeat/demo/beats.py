"""What a node reports of its heartbeat: each miss and each change of state as they happen, the figures when asked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypeAlias

from grpc_heartbeat.core.events import Event
from grpc_heartbeat.demo.say import say
from grpc_heartbeat.events import BeatMissed
from grpc_heartbeat.heartbeat.client import SyncHeartbeat
from grpc_heartbeat.heartbeat.client_aio import AioHeartbeat

Heartbeat: TypeAlias = "SyncHeartbeat | AioHeartbeat"


def watch(heartbeat: Heartbeat | None) -> None:
    """Report the states of ``heartbeat`` from now on, the present one first."""
    if heartbeat is not None:
        reporter = _Reporter(heartbeat)
        heartbeat.observers.add(reporter)
        reporter.report_state()


class _Reporter:
    """The observer: the events tell of misses, the snapshot after each event tells the state."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._state = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, BeatMissed):
            say("missed", at=event.at, consecutive=event.consecutive, why=event.why)
        self.report_state()

    def report_state(self) -> None:
        known = self._heartbeat.snapshot()
        if known.state != self._state:
            self._state = known.state
            say("state", at=known.since, state=known.state, misses=known.consecutive_misses, error=known.last_error)


def figures(heartbeat: Heartbeat | None) -> dict[str, Any]:
    """Return the link's figures, in seconds."""
    if heartbeat is None:
        return {"beats": None}
    known = heartbeat.snapshot()
    return {"beats": {"acked": known.acked, "missed": known.missed, "rtt": known.rtt and asdict(known.rtt)}}

"""What observers of all heartbeats hear: an event, and whose it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from grpc_heartbeat.config import BeatType, Identity
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot


@dataclass(frozen=True, slots=True)
class HeartbeatEvent(Event):
    """Something happened to a heartbeat of this process.

    Attributes:
        heartbeat: Tells the heartbeats of this process that live at the same time apart.
        name: The heartbeat's, mostly the target of its channel.
        type: What its beats ask for.
        own: Who this process is.
        look: Returns what is known about the peer now; whoever keeps it keeps the heartbeat alive.
        event: What happened.
        trace: The ``opentelemetry.trace.SpanContext`` of the beat's span, if the event ended a beat that is traced.
    """

    heartbeat: int
    name: str
    type: BeatType
    own: Identity
    look: Callable[[], HeartbeatSnapshot]
    event: Event
    trace: object = None

    @property
    def snapshot(self) -> HeartbeatSnapshot:
        """What is known about the peer now."""
        return self.look()

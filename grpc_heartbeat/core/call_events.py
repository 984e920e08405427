"""What happens to outbound calls, as observers hear it."""

from __future__ import annotations

from dataclasses import dataclass

from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.facts import TimeoutFacts


@dataclass(frozen=True, slots=True)
class CallEndedEarly(Event):
    """A limit ended an outbound call, or one of the peer's or a proxy's did.

    Attributes:
        method: The call's full name, ``/package.Service/Method``.
        status: The name of the status code that the application sees.
        details: The error's text.
        facts: The layer, its limit and where that came from.
        remaining: Seconds that were left of the call's whole budget; ``None`` where it had none.
        peer: The channel's name, mostly its target; empty where it is not known.
    """

    method: str
    status: str
    details: str
    facts: TimeoutFacts
    remaining: float | None = None
    peer: str = ""

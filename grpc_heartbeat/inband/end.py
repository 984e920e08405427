"""What one end of one stream knows, on either stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from grpc_heartbeat.core.inband import KEY, OFFER, Pulse, decode, encode
from grpc_heartbeat.inband.messages import Inbound

BEAT: Any = object()
"""What ``End.take`` returns for a message that the application is not to see."""

UNKNOWN_FOR = 0.25
"""Share of the interval after which a client asks again whether the server has agreed."""


@dataclass(frozen=True, slots=True)
class InbandStatus:
    """What in-band keepalive knows of one stream.

    Attributes:
        agreed: Whether the other end understands beats; ``None`` while that is not known.
        sent: Beats sent, echoes included.
        heard: Beats received, echoes included.
        rtt: The newest round trip in seconds through both applications' streams. ``None`` where there was none: the other
            end cannot answer when it has ended its stream or never had one.
        silent_for: Seconds since anything was received: a small number on an idle stream says that the peer lives. ``None``
            before anything was. An application that does not read receives nothing.
    """

    agreed: bool | None
    sent: int
    heard: int
    rtt: float | None
    silent_for: float | None


class End:
    """One end of one stream.

    Args:
        interval: The interval for this method.
        echoes: Whether the peer can send messages, and so answer.
    """

    token: bytes | None = None
    """What marks the beats of this stream; ``None`` until both ends have agreed."""
    refused = False
    """Whether the peer does not know beats."""
    sends = True
    """Whether this end may still send messages."""
    poke: Callable[[], object] | None = None
    """Called when a beat may be due earlier than planned."""

    def __init__(self, interval: float, echoes: bool) -> None:
        self.interval = interval
        self.pulse = Pulse(interval, monotonic(), echoes=echoes)

    def take(self, inbound: Inbound) -> Any:
        """Return the message that ``inbound`` carries, or ``BEAT``."""
        now = monotonic()
        token = self.token
        beat = None if token is None else decode(inbound.data, token)
        if beat is None:
            self.pulse.data_received(now)
            return inbound.message()
        self.pulse.beat_received(beat, now)
        if self.sends and self.poke is not None:
            self.poke()
        return BEAT

    def heard(self) -> None:
        """Note that a message of the application was received."""
        self.pulse.data_received(monotonic())

    def sent(self) -> None:
        """Note that a message of the application was sent."""
        self.pulse.data_sent(monotonic())

    def peer_done(self) -> None:
        """Note that the peer will send nothing any more, so that it cannot answer."""
        self.pulse.echoes = False
        self.pulse.beat_taken()
        if self.poke is not None:
            self.poke()

    def due(self, now: float) -> bytes | None:
        """Return the beat to be sent now, if there is one. It counts as sent."""
        token = self.token
        beat = None if token is None else self.pulse.beat_due(now)
        return None if beat is None or token is None else encode(beat, token)

    def wakeup(self, now: float) -> float | None:
        """Return the instant at which to ask ``due`` (or, while that is not known, whether the peer agrees) next."""
        if self.token is None:
            return None if self.refused else now + self.interval * UNKNOWN_FOR
        return self.pulse.next_wakeup()

    def status(self) -> InbandStatus:
        """Return what is known."""
        pulse = self.pulse
        agreed = True if self.token is not None else (False if self.refused else None)
        silent_for = None if pulse.heard_at is None else monotonic() - pulse.heard_at
        return InbandStatus(agreed, pulse.sent, pulse.heard, pulse.rtt, silent_for)


def offer(metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
    """Return the metadata of a request with our offer in it, once."""
    return (*without(metadata), (KEY, OFFER))


def without(metadata: Any) -> list[tuple[str, str | bytes]]:
    """Return ``metadata`` without our entry: it holds for one hop, and a handler may copy its inbound metadata."""
    return [entry for entry in metadata or () if entry[0] != KEY]

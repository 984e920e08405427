"""Keepalive inside a business stream: when to send a beat, what it says, and what a received one means.

Theory of operation
-------------------
A proxy that cuts idle streams counts messages, not HTTP/2 PINGs. So where both ends have agreed (in metadata), each end that
may still send puts a *beat* into the stream after it has been quiet for the interval. Data messages are not changed by a byte.

A beat is recognised by its first bytes. They are the encoding of protobuf field 536870911, the highest number there is, with
the text ``GHB1``: no message of a sensible schema begins so. What follows is a *token* of eight random bytes, which the server
chose for this stream and gave to the client in its initial metadata:

    beat     MAGIC (10 bytes)  token (8)  sequence (4)  echo (4)     the numbers big-endian, from 1; 0 is none

So data messages need no escaping: one of the same length that begins with the same bytes, by a schema out of the ordinary or by
malice, is data, because nobody beyond the two ends knows the token. (An end that echoes it to itself deceives itself.)

Agreeing. The client says in the request's metadata that it understands (``KEY``, ``OFFER``). A server that does as well
answers with the same key and the token. Initial metadata comes before every message, so the client knows in time, and the
server may send beats as soon as it has sent them. The client's begin when it has seen the answer.

``echo`` is the sequence of the newest beat received; the round trip is the time from a beat to the first echo of it. An end
that received a beat owes an echo and pays it at once, so that the round trip measures the way and not the interval; an echo is
itself answered by nobody, or two ends would never be quiet again.

Beats take room in the receiver's flow-control window until they are read. An end that has sent ``MOST_UNANSWERED`` beats
without a sign of its peer stops until there is one: it does not fill the window of an application that reads nothing. Where
the peer cannot send (it has half-closed, or the kind of RPC has one direction), it is enough that the transport takes them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

KEY = "inband-keepalive-v1"
"""The metadata entry by which client and server agree."""

OFFER = "1"
"""Its value in a request."""

MAGIC = b"\xfa\xff\xff\xff\x0f\x14GHB1"
"""How a beat begins: tag and length of the reserved field, and a version. 20 bytes follow the length."""

TOKEN_BYTES = 8
"""Length of a token. In metadata it is written as twice as many hexadecimal digits."""

BEAT_BYTES = len(MAGIC) + TOKEN_BYTES + 8
"""Length of a beat."""

MOST_UNANSWERED = 8
"""Beats sent without a sign of the peer before they stop."""

_NUMBERS = struct.Struct(">II")
_LAST_SEQUENCE = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat as it goes over the wire; 0 stands for none."""

    sequence: int
    echo: int = 0


def encode(beat: Beat, token: bytes) -> bytes:
    """Return the message that carries ``beat`` on the stream of ``token``."""
    return MAGIC + token + _NUMBERS.pack(beat.sequence, beat.echo)


def decode(message: bytes, token: bytes) -> Beat | None:
    """Return the beat that ``message`` carries on the stream of ``token``; ``None`` if it is data."""
    if len(message) != BEAT_BYTES or not message.startswith(MAGIC + token):
        return None
    return Beat(*_NUMBERS.unpack_from(message, BEAT_BYTES - _NUMBERS.size))


def offered(metadata: Iterable[tuple[str, str | bytes]] | None) -> bool:
    """Tell whether a request with ``metadata`` comes from a client that understands beats."""
    return any(entry[0] == KEY and entry[1] == OFFER for entry in metadata or ())


def token_in(metadata: Iterable[tuple[str, str | bytes]] | None) -> bytes | None:
    """Return the token with which a server agreed, if its initial ``metadata`` has one that is well-formed."""
    for key, value in metadata or ():
        if key == KEY and isinstance(value, str) and len(value) == 2 * TOKEN_BYTES:
            try:
                return bytes.fromhex(value)
            except ValueError:
                return None
    return None


class Pulse:
    """One end of one stream.

    Args:
        interval: Seconds of quiet after which a beat is sent.
        now: The driver's clock.
        echoes: Whether the peer can answer on this stream.

    Attributes:
        sent: Beats sent.
        heard: Beats received.
        rtt: The newest round trip in seconds, or ``None``.
        heard_at: When anything was last received, or ``None``.
    """

    __slots__ = (
        "_awaited",
        "_awaited_since",
        "_interval",
        "_owed",
        "_quiet_since",
        "_sequence",
        "_unanswered",
        "echoes",
        "heard",
        "heard_at",
        "rtt",
        "sent",
    )

    def __init__(self, interval: float, now: float, *, echoes: bool = True) -> None:
        self._interval = interval
        self._quiet_since = now
        self._sequence = 0
        self._awaited = 0
        self._awaited_since = now
        self._owed = 0
        self._unanswered = 0
        self.echoes = echoes
        self.sent = 0
        self.heard = 0
        self.rtt: float | None = None
        self.heard_at: float | None = None

    def data_sent(self, now: float) -> None:
        """Say that a message of the application was sent: the stream was not quiet."""
        self._quiet_since = now

    def data_received(self, now: float) -> None:
        """Say that a message of the application was received: the peer is there."""
        self.heard_at = now
        self._unanswered = 0

    def beat_received(self, beat: Beat, now: float) -> None:
        """Take in a beat; ``beat_due`` may then be true at once, because an echo is owed."""
        self.heard += 1
        self.heard_at = now
        self._unanswered = 0
        if beat.sequence:
            self._owed = beat.sequence
        if self._awaited and (beat.echo - self._awaited) % 2**32 < 2**31 and beat.echo:  # that one or a later one
            self.rtt = now - self._awaited_since
            self._awaited = 0

    def beat_taken(self) -> None:
        """Say that the transport took the last beat; without echoes that is the only sign there is."""
        if not self.echoes:
            self._unanswered = 0

    def next_wakeup(self) -> float | None:
        """Return the instant at which a beat is due if nothing happens; ``None`` while the peer gives no sign."""
        if self._owed:
            return self._quiet_since
        if self._unanswered >= MOST_UNANSWERED:
            return None
        return self._quiet_since + self._interval

    def beat_due(self, now: float) -> Beat | None:
        """Return the beat to send now, if there is one. It counts as sent."""
        wakeup = self.next_wakeup()
        if wakeup is None or now < wakeup:
            return None
        owed, self._owed = self._owed, 0
        if owed and now < self._quiet_since + self._interval:
            self.sent += 1
            self._quiet_since = now
            return Beat(0, owed)
        self._sequence = self._sequence % _LAST_SEQUENCE + 1
        if self.echoes and not self._awaited:
            self._awaited, self._awaited_since = self._sequence, now
        self._unanswered += 1
        self.sent += 1
        self._quiet_since = now
        return Beat(self._sequence, owed)

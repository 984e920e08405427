"""The messages of ``heartbeat.proto`` as bytes with a place for the sequence, ready for DATA frames."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from bench.streams.h2 import DATA, frame, message
from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.frames import Ack, Beat, Frame, Hello, ServingStatus
from grpc_heartbeat.heartbeat import codec

_SEQUENCE = struct.Struct("<Q")
_MARK = 0x0123456789ABCDEF
_BEAT, _ACK = 0x12, 0x1A
"""Tags of the two kinds in ``Frame``."""


class Template:
    """A frame of the protocol whose sequence is filled in."""

    def __init__(self, of: Frame) -> None:
        body = message(codec.encode(of))
        at = body.index(_SEQUENCE.pack(_MARK))
        self._head, self._tail = body[:at], body[at + 8 :]

    def data(self, stream: int, sequence: int) -> bytes:
        """Return the DATA frame."""
        return frame(DATA, 0, stream, self._head + _SEQUENCE.pack(sequence) + self._tail)


def beats(next_within: float) -> Template:
    """Return beats that promise the next within so many seconds."""
    return Template(Beat(_MARK, next_within=next_within))


def acks() -> Template:
    """Return answers to beats."""
    return Template(Ack(_MARK, ServingStatus.SERVING))


def hello(service: str) -> bytes:
    """Return the payload of a DATA frame with a hello."""
    return message(codec.encode(Hello(Identity(service))))


class Bodies:
    """The messages of one connection, from its DATA frames. They are small, but a sender of many may split one anywhere."""

    def __init__(self) -> None:
        self._rests: dict[int, bytes] = {}

    def of(self, stream: int, payload: bytes) -> Iterator[bytes]:
        """Yield the messages of ``stream`` that are whole with this frame."""
        if self._rests:
            payload = self._rests.pop(stream, b"") + payload
        at = 0
        while at < len(payload):
            following = at + 5 + int.from_bytes(payload[at + 1 : at + 5], "big")
            if at + 5 > len(payload) or following > len(payload):
                self._rests[stream] = payload[at:]
                return
            yield payload[at + 5 : following]
            at = following


def is_ack(body: bytes) -> bool:
    """Tell whether the message is an answer to a beat."""
    return body[0] == _ACK


def beat_sequence(body: bytes) -> int | None:
    """Return the sequence of a beat, ``None`` for other messages. It is the beat's first field: fixed64, tag 9."""
    if body[0] != _BEAT:
        return None
    assert body[2] == 9
    found: int = _SEQUENCE.unpack_from(body, 3)[0]
    return found

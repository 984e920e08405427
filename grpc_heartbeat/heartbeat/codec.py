"""Frames to and from bytes: protobuf on the wire, at a fraction of its price for beats and acks.

Theory of operation
-------------------
All but the sequence and the trace context of a beat is the same in one beat after the other, and all but the sequence of an ack
for as long as the sender's load is not read anew. So those bytes, the *tail*, are made (or understood) once by protobuf and
remembered by their value, and the rest is put before them:

===== ============ ================= ===================== =========================
frame key, length  sequence          trace context         tail
===== ============ ================= ===================== =========================
beat  ``12``, n    ``09``, 8 bytes   ``12 1a``, 26 bytes   type, promise
ack   ``1a``, n    ``09``, 8 bytes                         status, load, advice
===== ============ ================= ===================== =========================

This is protobuf's own canonical form, field by field in order, so every other implementation reads it and writes the same.

A message may be put together of pieces: parsing the whole is parsing the pieces one after the other, where a later field
replaces an earlier one. So what a tail says holds in every frame that ends with it, as long as it cannot replace what stands
before it, and this is certain for a tail that protobuf itself would write without those fields. All other bytes, of peers that
do not write the canonical form or mean us harm, go through the parser (``messages.py``) as a whole. What is remembered of
strangers' tails is bounded.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from google.protobuf.message import DecodeError

from grpc_heartbeat.config import BeatType, Identity
from grpc_heartbeat.core import tracecontext
from grpc_heartbeat.core.frames import Ack, Beat, Frame, Load, ServingStatus
from grpc_heartbeat.heartbeat import messages
from grpc_heartbeat.v1 import heartbeat_pb2 as pb

_BEAT, _ACK, _SEQUENCE = 0x12, 0x1A, 0x09
_CONTEXT = b"\x12\x1a"

_KEYS_END = 11
"""Where the tail of a frame begins, or the trace context of a beat, after which it begins at :data:`_CONTEXT_END`."""

_CONTEXT_START = _KEYS_END + len(_CONTEXT)
_CONTEXT_END = _CONTEXT_START + tracecontext.LENGTH

_LARGEST_SEQUENCE = 2**64 - 1
_LONGEST = 0x7F
"""Longest content of a frame whose length is one byte. A canonical beat or ack of a stream is shorter."""

_REMEMBERED_TAILS = 256

_begin = struct.Struct("<BBBQ").unpack_from
_new = tuple.__new__  # half the price of calling a named tuple's class


def encode(frame: Frame) -> bytes:
    """Return the bytes of ``frame``."""
    if isinstance(frame, Ack):
        sequence, status, load, advised, sender = frame
        if sender is None and 0 < sequence <= _LARGEST_SEQUENCE:
            head, tail = _ack_ends(status.real, load, advised)
            return head + sequence.to_bytes(8, "little") + tail
    elif isinstance(frame, Beat):
        sequence, kind, context, promise = frame
        if 0 < sequence <= _LARGEST_SEQUENCE:
            head, traced_head, tail = _beat_ends(kind, promise)
            if not context:
                return head + sequence.to_bytes(8, "little") + tail
            if len(context) == tracecontext.LENGTH:
                return b"".join((traced_head, sequence.to_bytes(8, "little"), _CONTEXT, context, tail))
    return messages.encode(frame)


def decode(data: bytes) -> Frame | None:
    """Return the frame in ``data``, or ``None`` if it has no kind that is known here."""
    if _KEYS_END <= len(data) <= _LONGEST:
        key, length, field, sequence = _begin(data)
        if field == _SEQUENCE and length == len(data) - 2:
            if key == _BEAT:
                return _decode_beat(data, sequence)
            if key == _ACK and (said := _ack_tail(data[_KEYS_END:])) is not None:
                return _new(Ack, (sequence, *said))
    return messages.decode(data)


def _decode_beat(data: bytes, sequence: int) -> Frame | None:
    if not data.startswith(_CONTEXT, _KEYS_END):
        said = _beat_tail(data[_KEYS_END:])
        if said is not None:
            return _new(Beat, (sequence, said[0], b"", said[1]))
    elif len(data) >= _CONTEXT_END and (said := _beat_tail(data[_CONTEXT_END:])) is not None:
        context = data[_CONTEXT_START:_CONTEXT_END]
        return _new(Beat, (sequence, said[0], context if tracecontext.valid(context) else b"", said[1]))
    return messages.decode(data)


@lru_cache(_REMEMBERED_TAILS)
def _beat_ends(kind: BeatType, promise: float) -> tuple[bytes, bytes, bytes]:
    """Return what a beat begins with, what it begins with if it has a trace context, and its tail."""
    tail = messages.beat_message(Beat(0, kind, b"", promise)).SerializeToString()
    return _head(_BEAT, _KEYS_END, tail), _head(_BEAT, _CONTEXT_END, tail), tail


@lru_cache(_REMEMBERED_TAILS)
def _ack_ends(status: int, load: Load | None, advised: float) -> tuple[bytes, bytes]:
    """Return what an ack begins with, and its tail."""
    tail = messages.ack_message(Ack(0, ServingStatus(status), load, advised)).SerializeToString()
    return _head(_ACK, _KEYS_END, tail), tail


def _head(key: int, before: int, tail: bytes) -> bytes:
    return bytes((key, before - 2 + len(tail), _SEQUENCE))


@lru_cache(_REMEMBERED_TAILS)
def _beat_tail(tail: bytes) -> tuple[BeatType, float] | None:
    """Return type and promise of each beat that ends with ``tail``; ``None`` unless it is canonical."""
    try:
        message = pb.Beat.FromString(tail)
    except DecodeError:
        return None
    if message.sequence or message.trace_context or message.SerializeToString() != tail:
        return None
    beat = messages.beat_of(message)
    return beat.type, beat.next_within


@lru_cache(_REMEMBERED_TAILS)
def _ack_tail(tail: bytes) -> tuple[ServingStatus, Load | None, float, Identity | None] | None:
    """Return all but the sequence of each ack that ends with ``tail``; ``None`` unless it is canonical."""
    try:
        message = pb.Ack.FromString(tail)
    except DecodeError:
        return None
    if message.sequence or message.SerializeToString() != tail:
        return None
    ack = messages.ack_of(message)
    return ack.status, ack.load, ack.advised_interval, ack.sender


def encode_beat(beat: Beat) -> bytes:
    """Return the bytes of a Ping request."""
    return messages.beat_message(beat).SerializeToString()


def decode_beat(data: bytes) -> Beat | None:
    """Return the beat of a Ping request, or ``None`` if it does not parse."""
    try:
        return messages.beat_of(pb.Beat.FromString(data))
    except DecodeError:
        return None


def encode_ack(ack: Ack) -> bytes:
    """Return the bytes of a Ping reply."""
    return messages.ack_message(ack).SerializeToString()


def decode_ack(data: bytes) -> Ack | None:
    """Return the ack of a Ping reply, or ``None`` if it does not parse."""
    try:
        return messages.ack_of(pb.Ack.FromString(data))
    except DecodeError:
        return None

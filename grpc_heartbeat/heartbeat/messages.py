"""Frames to and from the bytes of ``heartbeat.proto``, by protobuf's own serializer and parser.

This is what the bytes mean; ``codec.py`` says the same of the two common frames, faster.

Strangers send these bytes. Decoding never raises: what does not parse, has no known kind, or breaks a rule of a whole frame is
``None``, which the sessions count. What breaks a rule of one field is mended as ``heartbeat.proto`` says: long names are
truncated, a bad trace context is dropped, enum numbers of a later version are "unspecified".
"""

from __future__ import annotations

import math
from typing import cast

from google.protobuf.message import DecodeError

from grpc_heartbeat.config import MAX_LABEL_BYTES, BeatType, Identity
from grpc_heartbeat.core import tracecontext
from grpc_heartbeat.core.frames import Ack, Beat, Frame, Goodbye, GoodbyeReason, Hello, Load, ServingStatus
from grpc_heartbeat.v1 import heartbeat_pb2 as pb

MAX_TRACESTATE_BYTES = 512
_MAX_UINT32 = 2**32 - 1


def encode(frame: Frame) -> bytes:
    """Return the bytes of ``frame``."""
    if isinstance(frame, Beat):
        return pb.Frame(beat=beat_message(frame)).SerializeToString()
    if isinstance(frame, Ack):
        return pb.Frame(ack=ack_message(frame)).SerializeToString()
    if isinstance(frame, Hello):
        return pb.Frame(hello=_hello_message(frame.identity, frame.tracestate)).SerializeToString()
    goodbye = pb.Goodbye(reason=cast("pb.GoodbyeReason", int(frame.reason)), message=truncate(frame.message))
    return pb.Frame(goodbye=goodbye).SerializeToString()


def decode(data: bytes) -> Frame | None:
    """Return the frame in ``data``, or ``None`` if it has no kind that is known here."""
    try:
        message = pb.Frame.FromString(data)
    except DecodeError:
        return None
    kind = message.WhichOneof("kind")
    if kind == "beat":
        return beat_of(message.beat)
    if kind == "ack":
        return ack_of(message.ack)
    if kind == "hello":
        return Hello(_identity(message.hello), _tracestate(message.hello.tracestate))
    if kind == "goodbye":
        return Goodbye(_goodbye_reason(message.goodbye.reason), truncate(message.goodbye.message))
    return None


def truncate(text: str, limit: int = MAX_LABEL_BYTES) -> str:
    """Return the longest start of ``text`` that is at most ``limit`` bytes of UTF-8 and ends between characters."""
    if 4 * len(text) <= limit:
        return text
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def _millis(seconds: float) -> int:
    return min(_MAX_UINT32, math.ceil(round(seconds * 1e3, 6))) if seconds > 0 else 0


def _micros(seconds: float | None) -> int | None:
    return None if seconds is None else max(0, min(_MAX_UINT32, round(seconds * 1e6)))


def _hello_message(identity: Identity, tracestate: str = "") -> pb.Hello:
    return pb.Hello(
        service=truncate(identity.service),
        zone=truncate(identity.zone),
        instance=truncate(identity.instance),
        tracestate=_tracestate(tracestate),
    )


def _tracestate(text: str) -> str:
    return text if len(text.encode("utf-8", "replace")) <= MAX_TRACESTATE_BYTES else ""


def _identity(message: pb.Hello) -> Identity:
    return Identity(truncate(message.service), truncate(message.zone), truncate(message.instance))


def beat_message(beat: Beat) -> pb.Beat:
    """Return ``beat`` as a message."""
    kind = pb.BEAT_TYPE_READINESS if beat.type == "readiness" else pb.BEAT_TYPE_LIVENESS
    return pb.Beat(
        sequence=beat.sequence,
        trace_context=beat.trace_context,
        type=kind,
        next_within_millis=_millis(beat.next_within),
    )


def beat_of(message: pb.Beat) -> Beat:
    """Return the beat that ``message`` is."""
    kind: BeatType = "readiness" if message.type == pb.BEAT_TYPE_READINESS else "liveness"
    context = message.trace_context
    if not tracecontext.valid(context):
        context = b""
    return Beat(message.sequence, kind, context, message.next_within_millis / 1e3)


def ack_message(ack: Ack) -> pb.Ack:
    """Return ``ack`` as a message."""
    message = pb.Ack(
        sequence=ack.sequence,
        serving_status=cast("pb.ServingStatus", int(ack.status)),
        advised_interval_millis=_millis(ack.advised_interval),
    )
    if ack.load is not None:
        message.load.CopyFrom(_load_message(ack.load))
    if ack.sender is not None:
        message.sender.CopyFrom(_hello_message(ack.sender))
    return message


def ack_of(message: pb.Ack) -> Ack:
    """Return the ack that ``message`` is."""
    return Ack(
        message.sequence,
        _serving_status(message.serving_status),
        _load(message.load) if message.HasField("load") else None,
        message.advised_interval_millis / 1e3,
        _identity(message.sender) if message.HasField("sender") else None,
    )


def _load_message(load: Load) -> pb.Load:
    return pb.Load(
        in_flight=None if load.in_flight is None else max(0, min(_MAX_UINT32, load.in_flight)),
        queue_delay_micros=_micros(load.queue_delay),
        loop_lag_micros=_micros(load.loop_lag),
        cpu_permille=None if load.cpu is None else max(0, min(_MAX_UINT32, round(load.cpu * 1e3))),
        gc_pause_micros=_micros(load.gc_pause),
    )


def _load(message: pb.Load) -> Load:
    return Load(
        message.in_flight if message.HasField("in_flight") else None,
        message.queue_delay_micros / 1e6 if message.HasField("queue_delay_micros") else None,
        message.loop_lag_micros / 1e6 if message.HasField("loop_lag_micros") else None,
        message.cpu_permille / 1e3 if message.HasField("cpu_permille") else None,
        message.gc_pause_micros / 1e6 if message.HasField("gc_pause_micros") else None,
    )


def _serving_status(number: int) -> ServingStatus:
    try:
        return ServingStatus(number)
    except ValueError:
        return ServingStatus.UNKNOWN


def _goodbye_reason(number: int) -> GoodbyeReason:
    try:
        return GoodbyeReason(number)
    except ValueError:
        return GoodbyeReason.UNSPECIFIED

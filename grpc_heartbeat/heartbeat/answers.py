"""What the servicers of both stacks say in the same words."""

from __future__ import annotations

import time

from grpc_heartbeat.config import Identity, check_seconds
from grpc_heartbeat.core.frames import Ack, Beat
from grpc_heartbeat.core.heartbeat_server import Condition
from grpc_heartbeat.heartbeat import codec
from grpc_heartbeat.telemetry.server_beats import ServerBeats


def answer_ping(request: bytes, identity: Identity, condition: Condition, beats: ServerBeats) -> bytes:
    """Return the reply to a Ping. A request that does not parse is answered like an empty one: it arrived."""
    started = time.time_ns()  # wall clock: spans are dated
    beat = codec.decode_beat(request) or Beat(0)
    ack = Ack(beat.sequence, condition.status, condition.load, condition.advised_interval, identity)
    beats.answered(beat, None, started, ping=True)
    return codec.encode_ack(ack)


def check_arguments(advised_interval: object, max_streams: object) -> None:
    """Check what both ``add_to_server`` take.

    Raises:
        TypeError, ValueError: the message names the argument.
    """
    check_seconds("advised_interval", advised_interval, inclusive=True)
    if isinstance(max_streams, bool) or not isinstance(max_streams, int):
        raise TypeError(f"max_streams must be an integer, not {type(max_streams).__name__}")
    if max_streams < 1:
        raise ValueError(f"max_streams must be at least 1; got {max_streams}")

"""The events that observers hear, as in ``channel.heartbeat.observers.add(function)``; each is a frozen value."""

from __future__ import annotations

from grpc_heartbeat.core.events import Event, Observer, Observers
from grpc_heartbeat.core.heartbeat_events import (
    BeatAbandoned,
    BeatAcked,
    BeatMissed,
    BeatSent,
    HeartbeatClosed,
    LateEcho,
    PeerIdentified,
    PeerLeft,
    StreamClosed,
    StreamFailed,
    StreamOpened,
    StreamOpening,
)
from grpc_heartbeat.core.server_events import RpcAccepted, RpcEvent, RpcExpired, RpcOverran, RpcRejected, RpcStarted

__all__ = [
    "BeatAbandoned",
    "BeatAcked",
    "BeatMissed",
    "BeatSent",
    "Event",
    "HeartbeatClosed",
    "LateEcho",
    "Observer",
    "Observers",
    "PeerIdentified",
    "PeerLeft",
    "RpcAccepted",
    "RpcEvent",
    "RpcExpired",
    "RpcOverran",
    "RpcRejected",
    "RpcStarted",
    "StreamClosed",
    "StreamFailed",
    "StreamOpened",
    "StreamOpening",
]

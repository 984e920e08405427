"""The events that observers hear; each is a frozen value.

``channel.heartbeat.observers.add(function)`` hears of one heartbeat, an interceptor's ``observers`` of one server. Of the whole
process:

- ``observe_calls``: of outbound calls that a limit ended (``CallEndedEarly``);
- ``observe_rpcs``: of inbound RPCs (``RpcEvent`` and its kinds), where our server interceptors are;
- ``observe_beats``: of every heartbeat (``HeartbeatEvent``).

``board.heartbeats[0].observers.add(function)`` hears of the clients whose streams a server holds (``ClientEvent``, its kinds).

Observers run in the thread that met the event and must be quick. One that raises is logged and removed.
"""

from __future__ import annotations

from grpc_heartbeat._call_events import (
    observe_beats,
    observe_calls,
    observe_rpcs,
    stop_observing_beats,
    stop_observing_calls,
    stop_observing_rpcs,
)
from grpc_heartbeat.core.breaker import BreakerClosed, BreakerOpened, BreakerProbing
from grpc_heartbeat.core.call_events import CallEndedEarly
from grpc_heartbeat.core.events import Event, Observer, Observers
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.core.heartbeat_events import (
    BeatAbandoned,
    BeatAcked,
    BeatMissed,
    BeatSent,
    HeartbeatClosed,
    LateEcho,
    LevelChanged,
    PeerIdentified,
    PeerLeft,
    ServingTold,
    StreamClosed,
    StreamFailed,
    StreamOpened,
    StreamOpening,
)
from grpc_heartbeat.core.heartbeat_news import HeartbeatEvent
from grpc_heartbeat.core.held_events import (
    ClientEchoed,
    ClientEvent,
    ClientJoined,
    ClientLeft,
    ClientLost,
    ClientMissed,
)
from grpc_heartbeat.core.server_events import (
    RpcAccepted,
    RpcEnded,
    RpcEvent,
    RpcExpired,
    RpcOverran,
    RpcRejected,
    RpcStarted,
)
from grpc_heartbeat.core.verdicts import JudgementSuspended, Side, SideChanged, Verdict, VerdictChanged

__all__ = [
    "BeatAbandoned",
    "BeatAcked",
    "BeatMissed",
    "BeatSent",
    "BreakerClosed",
    "BreakerOpened",
    "BreakerProbing",
    "CallEndedEarly",
    "ClientEchoed",
    "ClientEvent",
    "ClientJoined",
    "ClientLeft",
    "ClientLost",
    "ClientMissed",
    "Event",
    "HeartbeatClosed",
    "HeartbeatEvent",
    "JudgementSuspended",
    "LateEcho",
    "LevelChanged",
    "Observer",
    "Observers",
    "PeerIdentified",
    "PeerLeft",
    "RpcAccepted",
    "RpcEnded",
    "RpcEvent",
    "RpcExpired",
    "RpcOverran",
    "RpcRejected",
    "RpcStarted",
    "ServingTold",
    "Side",
    "SideChanged",
    "StreamClosed",
    "StreamFailed",
    "StreamOpened",
    "StreamOpening",
    "TimeoutFacts",
    "Verdict",
    "VerdictChanged",
    "observe_beats",
    "observe_calls",
    "observe_rpcs",
    "stop_observing_beats",
    "stop_observing_calls",
    "stop_observing_rpcs",
]

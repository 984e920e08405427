"""What the simulated connections are set to, what becomes of them, and what a run is to find."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.heartbeat_server import Condition
from grpc_heartbeat.core.verdicts import JudgePolicy
from grpc_heartbeat.core.wheel import BASE

POLICY = HeartbeatPolicy(interval=10.0, timeout=10.0, misses=3)
JUDGE = JudgePolicy.of(POLICY)
CLIENT, SERVER = Identity("checkout", "a", "client"), Identity("orders", "b", "server")
SERVING = Condition()

SLOWEST = 0.04
"""Seconds that a round trip takes at the most; one takes half of that on average."""

FAULTS = (15.0, 25.0)
"""Instants between which fates begin."""

PAUSE = (40.01, 71.0)
"""When the client process does not run. It begins just behind a slot of the wheel, so that beats are in flight."""

END = 125.0
SLOT = 10 * BASE
TINY = 1e-6
"""A driver's clock goes on between a tick and the next; what is due by a rounding error later is done in the next slot."""

SHORT, LONG = 12.0, 85.0
"""Seconds of a freeze that convicts nobody, and of one that convicts even if it begins shortly before the pause."""


class Fate(enum.Enum):
    """What becomes of a connection."""

    HEALTHY = "nothing happens"
    DIES = "the peer dies, and nobody says so"
    FREEZES = "the peer is frozen for longer than silence convicts"
    HESITATES = "the peer is frozen for less than that, and answers late"
    RESTARTS = "the connection is reset, and refused for a while"
    GOES_AWAY = "the stream ends by a GOAWAY"
    DRAINS = "the server says goodbye"
    VANISHES = "the client dies, and nobody says so"


GUILTY = (Fate.DIES, Fate.FREEZES, Fate.RESTARTS)
"""Whose peers deserve to be convicted."""

SHARE = 0.005
"""Of all connections, for each fate but the first."""


@dataclass
class Outcome:
    """What a run found.

    ``wrong`` are the judgements that were: it must be empty. ``convicted`` and ``late`` say how many seconds after the first
    beat without an echo the dead were convicted, on average and at the most, own pauses deducted. CPU is in microseconds.
    """

    connections: int
    beats: int = 0
    cpu_per_beat: float = 0.0
    bytes_per_connection: float = 0.0
    seconds_to_make: float = 0.0
    seconds: float = 0.0
    garbage: int = 0
    fates: dict[str, int] = field(default_factory=dict)
    convicted: int = 0
    vanished: int = 0
    slowest_conviction: float = 0.0
    slowest_sweep: float = 0.0
    wrong: list[str] = field(default_factory=list)

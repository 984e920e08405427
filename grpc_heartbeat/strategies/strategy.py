"""What a strategy is: a way to ask one peer whether it is there, over whatever protocol.

It holds one connection and knows nothing of intervals, time-outs, verdicts or spans; who drives it (a prober) knows nothing of
its protocol. A class that has the three methods is a strategy; nothing is inherited and nothing of this library is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol, TypeAlias

from grpc_heartbeat.core.frames import Ack, Beat
from grpc_heartbeat.core.heartbeat_events import FailureCause

Lost: TypeAlias = Callable[[Exception], None]
"""To be called, on the loop, when the connection is found to be over between two probes; only the first call counts."""


class Strategy(Protocol):
    """One connection to one peer. Each method is called on the event loop, in an empty context.

    A connection that is over is told by an exception, from ``start`` or ``probe`` or through ``lost``. Its class says what that
    means for the peer: see :class:`StrategyError`. ``OSError``, ``EOFError`` and ``TimeoutError`` mean that it was lost;
    anything else is a fault of the strategy, which is logged, and ends the connection as well. The next one is made after a
    pause, by a strategy of its own.
    """

    async def start(self, lost: Lost) -> None:
        """Connect; return once the peer has accepted. Called once. Cancelled when that takes ``misses`` intervals."""
        ...

    async def probe(self, beat: Beat) -> Ack | None:
        """Ask the peer; return once it has answered. There is one probe at a time.

        The round trip is measured from the call to the return. A probe that is not answered within the policy's time-out is
        missed; its answer is still a sample of the round trip until the next probe is due, when it is cancelled.

        Args:
            beat: Its number on this connection, from 1 on, and the trace context of its span, 26 bytes or none.

        Returns:
            What the peer said of itself, or ``None`` if it said no more than that it is there.
        """
        ...

    async def stop(self) -> None:
        """Give up the connection, whatever its state; called once, also if ``start`` failed. Half a second is waited for it."""
        ...


Factory: TypeAlias = Callable[[str], Strategy]
"""Makes a strategy of a target, without I/O, for each connection. A target that it cannot use is a ``ValueError``."""


class StrategyError(Exception):
    """The connection is over; the argument says why, for people."""

    cause: ClassVar[FailureCause] = "lost"


class LostError(StrategyError):
    """The connection could not be made, or broke: an alarm, if that lasts."""


class RefusedError(StrategyError):
    """The peer answered that it does not want us now: no alarm, as it answers."""

    cause: ClassVar[FailureCause] = "refused"


class LeftError(StrategyError):
    """The peer said goodbye, as a server does that drains: no alarm, and it is connected to anew.

    Args:
        reason: What it said.
        calm: Whether it wants to be asked less often. Each time doubles the interval from then on, up to a minute.
    """

    def __init__(self, reason: str, *, calm: bool = False) -> None:
        super().__init__(reason)
        self.calm = calm

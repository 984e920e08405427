"""How a busy server slows its clients down: by the interval that its acks advise. No I/O, ``now`` is an argument.

A server that cannot keep up should be asked less often, and a beat is what it can do without most easily. So while the server
is *hot* its advice grows, and once it is *calm* it goes back, by these rules:

- Hot means that work waits for a worker, or the loop is late, by :data:`HIGH_DELAY`, or that the process uses :data:`HIGH_CPU`
  of one core, which is nearly all that Python threads can have between them. Time in a queue tells overload best (H. Zhou and
  others, "Overload Control for Scaling WeChat Microservices", SoCC 2018); the judge of the other end calls a server overloaded
  from the same delay on (``JudgePolicy.overloaded``).
- Only what lasts counts, because a burst that is worked off is what queues are for (RFC 8289, "controlled delay"): each step up
  takes :data:`HOT_FOR` seconds in which every reading was hot. A client with quick beats has judged the server by then.
- The advice doubles with each step, as senders that meet congestion back off (RFC 8085, 3.1.1), up to a bound.
- Each step back takes :data:`CALM_FOR` seconds in which every reading was calm: at most half of what is hot. Between the two
  nothing changes, so that the advice does not swing.

A client follows as far as ``LONGEST_ADVISED_INTERVAL`` and never beats faster than it wants to. It hears of a step back with
its next ack, so what it costs to be wrong is one interval.
"""

from __future__ import annotations

from grpc_heartbeat.core.frames import Load
from grpc_heartbeat.core.load import worst_delay

HIGH_DELAY = 0.1
"""Seconds of queue delay or loop lag."""

HIGH_CPU = 0.9
"""Share of one core."""

CALM = 0.5
"""Share of what is hot below which a server is calm."""

HOT_FOR = 2.0
CALM_FOR = 5.0

FIRST_ADVICE = 1.0
"""Seconds that are advised first, where calm servers advise nothing."""

LONGEST_ADVICE = 30.0
"""Default bound, in seconds: three missed beats at this pace are noticed within two minutes."""


def heat(load: Load) -> float:
    """Return how hot a server is: from 1 on it is hot. What was not measured is cold."""
    delay, _ = worst_delay(load)
    return max(delay / HIGH_DELAY, (load.cpu or 0.0) / HIGH_CPU)


class Steering:
    """The advice of one server.

    Args:
        base: Seconds between beats that it advises while calm; 0 advises nothing.
        longest: Longest interval that it advises while hot; at most ``base`` for no steering.
    """

    __slots__ = ("_base", "_hot", "_longest", "_since", "advice")

    def __init__(self, base: float = 0.0, longest: float = LONGEST_ADVICE) -> None:
        self._base = base
        self._longest = max(base, longest)
        self._hot: bool | None = None  # neither hot nor calm
        self._since = 0.0
        self.advice = base
        """Seconds between beats that are advised now; 0 advises nothing."""

    def read(self, load: Load, now: float) -> float:
        """Take in a reading; return the advice."""
        now_heat = heat(load)
        hot = True if now_heat >= 1 else False if now_heat < CALM else None
        if hot is not self._hot:
            self._hot, self._since = hot, now
        elif hot and now - self._since >= HOT_FOR:
            self._since = now
            self.advice = min(self._longest, 2 * self.advice or FIRST_ADVICE)
        elif hot is False and now - self._since >= CALM_FOR:
            self._since = now
            back = self.advice / 2
            self.advice = self._base if back < max(self._base, FIRST_ADVICE) else back
        return self.advice

"""Which beats are traced, where tracing each of them would cost too much.

Theory of operation. A span costs more than the beat it tells of, so it is decided before a tracer is asked. Every Nth beat is
traced from its start, as all are without a sampler. Of the others no more is kept than when they were sent, and one that turns
out to matter is recorded after the fact, with its times: a miss, a state that changed, an answer slower than ``slow_factor``
times the 95th percentile of the round trips so far.

What is slow is judged from the last ``WINDOW`` round trips and not before there are ``ENOUGH`` of them.
"""

from __future__ import annotations

import math
from collections import deque

WINDOW = 128
ENOUGH = 20
_EVERY = 16
"""Round trips after which the percentile is worked out again: not for each beat."""


class BeatSampler:
    """What to trace of the beats of each heartbeat.

    Args:
        every: Trace each beat whose number within its heartbeat is a multiple of this, beginning with the first. 1 traces all.
        slow_factor: A beat counts as slow when its round trip is longer than this times the 95th percentile. Default 3.

    Raises:
        TypeError, ValueError: ``every`` is not a whole number from 1 on, or ``slow_factor`` not a number from 1 on.
    """

    def __init__(self, every: int, slow_factor: float = 3.0) -> None:
        if isinstance(every, bool) or not isinstance(every, int):
            raise TypeError(f"every must be a whole number, not {type(every).__name__} ({every!r})")
        if every < 1:
            raise ValueError(f"every must be at least 1; got {every!r}")
        if isinstance(slow_factor, bool) or not isinstance(slow_factor, (int, float)):
            raise TypeError(f"slow_factor must be a number, not {type(slow_factor).__name__} ({slow_factor!r})")
        if not (slow_factor >= 1 and math.isfinite(slow_factor)):
            raise ValueError(f"slow_factor must be finite and at least 1; got {slow_factor!r}")
        self.every = every
        self.slow_factor = float(slow_factor)

    def __repr__(self) -> str:
        return f"BeatSampler(every={self.every}, slow_factor={self.slow_factor:g})"


class Sampling:
    """A sampler at work on one heartbeat. ``wants`` and ``slow`` may be called by two threads, each by one at a time.

    Attributes:
        notable: The next answer matters, because something changed before it.
    """

    def __init__(self, sampler: BeatSampler) -> None:
        self.sampler = sampler
        self.notable = True
        self._every = sampler.every
        self._factor = sampler.slow_factor
        self._beats = 0
        self._rtts: deque[float] = deque(maxlen=WINDOW)
        self._since = 0
        self._slow = math.inf

    def wants(self) -> bool:
        """Count a beat that is about to be sent; return whether it is traced from its start."""
        wanted = self._beats % self._every == 0
        self._beats += 1
        return wanted

    def slow(self, rtt: float) -> bool:
        """Count a round trip; return whether it is slow compared with those before it."""
        slow = rtt > self._slow
        self._rtts.append(rtt)
        self._since += 1
        if self._since >= _EVERY and len(self._rtts) >= ENOUGH:
            self._since = 0
            ordered = sorted(self._rtts)
            self._slow = self._factor * ordered[math.ceil(0.95 * len(ordered)) - 1]
        return slow

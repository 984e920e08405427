"""How many inbound RPCs the handlers of this process are working on, as its server interceptors count them.

Threads that add to one number need a lock, unless the number is a counter of C's: its step is atomic, and a third of a lock's
price. It can only be read by taking a step, so the steps that were taken to read it are known.
"""

from __future__ import annotations

import itertools
import threading


class _Steps:
    """Counts its calls of :attr:`step`, from any number of threads at once."""

    def __init__(self) -> None:
        self.step = itertools.count().__next__
        self._readings = 0

    def read(self) -> int:
        """Return how many there were. One thread at a time."""
        steps = self.step() - self._readings
        self._readings += 1
        return steps


_began, _ended = _Steps(), _Steps()
_reading = threading.Lock()

counted = False
"""Whether anybody counts: set by the first server interceptor."""

begin = _began.step
"""Call it when a handler begins, and :data:`end` when it has let go."""

end = _ended.step


def in_flight() -> int | None:
    """Return how many RPCs are being handled; ``None`` if nobody counts them."""
    if not counted:
        return None
    with _reading:
        ended = _ended.read()  # the first of the two, or an RPC that ends in between would make it negative
        return _began.read() - ended

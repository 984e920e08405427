"""How many inbound RPCs the handlers of this process are working on, as its server interceptors count them.

Threads that change one number need a lock. Putting something into a deque and taking something out are single steps of C, and
its length is right at any time; so the RPCs in flight are things in a deque.
"""

from __future__ import annotations

from collections import deque

_running: deque[None] = deque()

counted = False
"""Whether anybody counts: set by the first server interceptor."""


begin = _running.append
"""``begin(None)`` notes that a handler begins."""

end = _running.pop
"""``end()`` notes that it has let go."""


def in_flight() -> int | None:
    """Return how many RPCs are being handled; ``None`` if nobody counts them."""
    return len(_running) if counted else None

"""Faults inside this library: logged, counted, and never passed on to the call that met them.

A middleware that breaks a call is worse than none. Code that runs between the application and gRPC therefore catches its
own exceptions here. ``counts()`` says how often that happened and where; the first fault of each place is logged with its
traceback at WARNING, later ones at DEBUG, so that a fault on a hot path cannot flood the log.
"""

from __future__ import annotations

import logging
from collections import Counter

_log = logging.getLogger("grpc_heartbeat.faults")
_counts: Counter[str] = Counter()


def record(place: str, error: BaseException) -> None:
    """Count and log ``error``, which was met at ``place`` (a short constant name such as ``"server.scope"``)."""
    _counts[place] += 1
    level = logging.WARNING if _counts[place] == 1 else logging.DEBUG
    _log.log(level, "internal fault at %s (the call goes on): %r", place, error, exc_info=error)


def counts() -> dict[str, int]:
    """Return how many faults were met, by place, since the process started."""
    return dict(_counts)

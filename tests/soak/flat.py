"""What a process holds: memory, threads, sockets, timers, and objects of this library."""

from __future__ import annotations

import gc
import os
import threading
from collections import Counter
from typing import NamedTuple

from grpc_heartbeat import _timers
from tests import leaks

_MEGABYTE = 1 << 20
GROWTH = 5.0
"""Megabytes by which the second half of a test may grow: the allocator's moods, not a leak of every call."""


class Held(NamedTuple):
    """What the process holds now."""

    megabytes: float
    threads: int
    sockets: int
    timers: int
    objects: Counter[str]


def held() -> Held:
    """Return what the process holds, after a collection."""
    objects = _objects()
    return Held(_resident(), threading.active_count(), len(leaks.open_sockets()), len(_timers.armed()), objects)


def _resident() -> float:
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MEGABYTE
    except FileNotFoundError:
        return 0.0


def _objects() -> Counter[str]:
    """Count the living objects of this library."""
    gc.collect()
    modules = ((type(thing), getattr(type(thing), "__module__", "")) for thing in gc.get_objects())
    return Counter(
        kind.__name__ for kind, module in modules if isinstance(module, str) and module.startswith("grpc_heartbeat.")
    )


def objects_left(first: Held) -> Counter[str]:
    """Return what objects there are now that were not there at ``first``."""
    return _objects() - first.objects


def check_flat(first: Held, calls: int, seconds: float) -> None:
    """Check that nothing is left of ``calls`` calls since ``first``; print the figures."""
    last = held()
    grown = last.megabytes - first.megabytes
    each = grown * _MEGABYTE / calls
    print(f"\n{calls} calls in {seconds:.1f} s: {grown:+.2f} MB, {each:+.0f} B per call, {last.threads} threads")
    assert last.objects - first.objects == Counter()
    assert last.threads <= first.threads
    assert last.sockets <= first.sockets
    assert last.timers <= first.timers
    assert grown < GROWTH

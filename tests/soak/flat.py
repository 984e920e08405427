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


def grpcio_objects() -> Counter[str]:
    """Count the living objects of grpcio, its calls and their states among them."""
    return _objects("grpc.")


def _objects(prefix: str = "grpc_heartbeat.") -> Counter[str]:
    """Count the living objects of the modules with this prefix, by default this library's."""
    gc.collect()
    modules = ((type(thing), getattr(type(thing), "__module__", "")) for thing in gc.get_objects())
    return Counter(kind.__name__ for kind, module in modules if isinstance(module, str) and module.startswith(prefix))


def objects_left(first: Held) -> Counter[str]:
    """Return what objects there are now that were not there at ``first``."""
    return _objects() - first.objects


def more(last: Counter[str], first: Counter[str], remembered: int = 0) -> dict[str, int]:
    """Return of which kinds there are more objects than before and than histories of that length explain."""
    return {kind: count for kind, count in (last - first).items() if count > remembered}


def check_flat(first: Held, calls: int, seconds: float, remembered: int = 0) -> None:
    """Check that nothing is left of ``calls`` calls since ``first``, but for histories of that length; print the figures."""
    last = held()
    grown = last.megabytes - first.megabytes
    each = grown * _MEGABYTE / calls
    print(f"\n{calls} calls in {seconds:.1f} s: {grown:+.2f} MB, {each:+.0f} B per call, {last.threads} threads")
    assert more(last.objects, first.objects, remembered) == {}
    assert last.threads <= first.threads
    assert last.sockets <= first.sockets
    assert last.timers <= first.timers
    assert grown < GROWTH

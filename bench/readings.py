"""What a process can say of itself: CPU, memory, threads, wake-ups, garbage collections and garbage.

CPU is that of all threads, those that have ended included. Wake-ups are voluntary context switches: a thread went to sleep
and was woken. Linux says the rest in /proc.

CPython has no count of bytes allocated, as Go has: most memory is freed by reference counting at once, and costs no pause. What
has the collector run is what reference counting does *not* free. So *garbage* is measured: the growth of traced memory while
the collector is switched off, which is what it would have had to look through.
"""

from __future__ import annotations

import gc
import os
import resource
import threading
import time
import tracemalloc
from typing import Any

PAGE = os.sysconf("SC_PAGE_SIZE")


class Collections:
    """Counts the collector's runs and how long each stopped everything."""

    def __init__(self) -> None:
        self.runs = 0
        self.paused = 0.0
        self.longest = 0.0
        self._began = 0.0
        gc.callbacks.append(self._heard)

    def _heard(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
            return
        pause = time.perf_counter() - self._began
        self.runs += 1
        self.paused += pause
        self.longest = max(self.longest, pause)

    def take(self) -> dict[str, float]:
        """Return the runs since the last call, with pauses in milliseconds."""
        found = {"gc_runs": self.runs, "gc_paused": self.paused * 1e3, "gc_longest": self.longest * 1e3}
        self.runs, self.paused, self.longest = 0, 0.0, 0.0
        return found


class Readings:
    """The readings of this process, from one ``mark`` to the next."""

    def __init__(self) -> None:
        self._collections = Collections()
        self._cpu = time.process_time()
        self._switches = switches()
        self._traced = 0

    def mark(self) -> dict[str, Any]:
        """Return what happened since the last call."""
        cpu, woken = time.process_time(), switches()
        found = {
            "cpu": cpu - self._cpu,
            "wakeups": woken - self._switches,
            "threads": threading.active_count(),
            "kernel_threads": len(os.listdir("/proc/self/task")),
            **self._collections.take(),
        }
        self._cpu, self._switches = cpu, woken
        return found

    def settle(self) -> dict[str, Any]:
        """Collect garbage and return the resident memory in KB."""
        gc.collect()
        with open("/proc/self/statm") as statm:
            return {"kilobytes": int(statm.read().split()[1]) * PAGE / 1024}

    def hoard(self) -> dict[str, Any]:
        """Switch the collector off and trace memory until :meth:`garbage`."""
        gc.collect()
        gc.disable()
        tracemalloc.start(1)
        self._traced = tracemalloc.get_traced_memory()[0]
        return {}

    def garbage(self) -> dict[str, Any]:
        """Return by how many bytes memory has grown since :meth:`hoard`, and switch the collector on again."""
        grown = tracemalloc.get_traced_memory()[0] - self._traced
        tracemalloc.stop()
        gc.enable()
        gc.collect()
        return {"garbage": max(0, grown)}


def switches() -> int:
    """Return the voluntary context switches of all threads so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw

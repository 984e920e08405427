"""What disturbs a process from inside: busy threads, stalls, and collections of garbage that take long."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable

_ballast: list[list[object]] = []


class Pulse:
    """A thread that wants to run every 10 ms, and notes by how much it was kept from that."""

    EVERY = 0.01

    def __init__(self) -> None:
        self._longest = 0.0
        self._taken = time.monotonic(), time.process_time()
        threading.Thread(target=self._run, daemon=True).start()

    def take(self) -> dict[str, float]:
        """Return, since the last call, the ``longest`` standstill of this process in seconds, and the ``cores`` it had."""
        before, self._taken = self._taken, (time.monotonic(), time.process_time())
        longest, self._longest = self._longest, 0.0
        return {"longest": longest, "cores": (self._taken[1] - before[1]) / (self._taken[0] - before[0])}

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(self.EVERY)
            now = time.monotonic()
            self._longest = max(self._longest, now - last - self.EVERY)
            last = now


def burn(seconds: float, threads: float) -> None:
    """Let threads compute for so many seconds, so that whoever wants the interpreter has to wait for each of them."""

    def compute() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sum(number * number for number in range(20_000))

    for _ in range(int(threads)):
        threading.Thread(target=compute, daemon=True).start()


def stall(pause: float, every: float, seconds: float, run: Callable[[float], None] | None = None) -> None:
    """Hold everything up for ``pause`` seconds, ``every`` so many: by ``run(pause)``, or by not letting the interpreter go."""
    _now_and_then(lambda: (run or hold_interpreter)(pause), every, seconds)


def hold_interpreter(seconds: float) -> None:
    """Let no other thread run for so many seconds: one long operation that is not Python's."""
    end = time.monotonic() + seconds
    size = 1 << 16
    while (left := end - time.monotonic()) > 0:
        began = time.monotonic()
        sum(range(size))
        took = max(1e-6, time.monotonic() - began)
        size = max(1 << 12, int(size * min(4.0, left / took)))


def fatten(pause: float) -> None:
    """Keep so many objects that to look through them takes ``pause`` seconds of CPU."""
    gc.disable()
    try:
        while (took := _cost_of_collection()) < pause and len(_ballast) < 20_000_000:
            missing = min(4.0, pause / max(took, 1e-3)) - 1
            _ballast.extend([] for _ in range(max(100_000, int(len(_ballast) * missing))))
    finally:
        gc.enable()


def collect(every: float, seconds: float) -> None:
    """Look through all objects, now and then."""
    _now_and_then(gc.collect, every, seconds)


def _now_and_then(act: Callable[[], object], every: float, seconds: float) -> None:
    def keep_acting() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            act()
            time.sleep(every)

    threading.Thread(target=keep_acting, daemon=True).start()


def _cost_of_collection() -> float:
    began = time.thread_time()
    gc.collect()
    return time.thread_time() - began

"""A process full of clients that count verdicts: ``python -m bench.detection.watcher EACH TARGET…``.

It holds so many heartbeats of each stack to each target and takes orders on its standard input: ``report`` answers with what
was told since the last report, by verdict. ``stall``, ``fatten`` and ``collect`` are those of :mod:`.node`, for this process.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc_heartbeat
import grpc_heartbeat.aio
from bench.detection.clients import POLICY as QUICK
from bench.detection.trouble import collect, fatten, stall
from bench.orders import answer
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat_events import BeatAcked, BeatMissed
from grpc_heartbeat.core.verdicts import VerdictChanged

POLICY = dataclasses.replace(QUICK, overloaded=0.03)
"""Threads that compute hand the interpreter on every 5 ms: four of them hold a server up by 20 ms, time and again."""

OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


class Watcher:
    """The heartbeats, and what they told."""

    def __init__(self, each: int, targets: list[str]) -> None:
        self._each = each
        self._targets = targets
        self._told: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._channels: list[Any] = []
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def open(self) -> None:
        """Open all, and wait until each peer is up."""
        for target in self._targets:
            for _ in range(self._each):
                self._channels.append(self._watched(grpc_heartbeat.insecure_channel, target))
        asyncio.run_coroutine_threadsafe(self._open_aio(), self._loop).result(60)
        give_up = time.monotonic() + 60
        while not all(channel.heartbeat.snapshot().state == "up" for channel in self._channels):
            assert time.monotonic() < give_up, "a heartbeat did not get up"
            time.sleep(0.01)
        self.report()

    async def _open_aio(self) -> None:
        for target in self._targets:
            for _ in range(self._each):
                self._channels.append(self._watched(grpc_heartbeat.aio.insecure_channel, target))

    def _watched(self, make: Callable[..., Any], target: str) -> Any:
        channel = make(target, OWN_CONNECTION, heartbeat=POLICY)
        channel.heartbeat.observers.add(self._heard)
        return channel

    def _heard(self, event: Event) -> None:
        name = "echoed" if isinstance(event, BeatAcked) else "missed" if isinstance(event, BeatMissed) else ""
        if isinstance(event, VerdictChanged):
            name = event.after.name
        if name:
            with self._lock:
                self._told[name] += 1

    def report(self) -> dict[str, int]:
        """Return what was told since the last report."""
        with self._lock:
            told, self._told = self._told, Counter()
        return dict(told)

    def obey(self) -> None:
        """Obey orders until there are no more."""
        orders: dict[str, Callable[..., None]] = {"stall": self._stall, "fatten": fatten, "collect": collect}
        for line in sys.stdin:
            order, *words = line.split()
            if order == "report":
                answer(**self.report())
            else:
                orders[order](*map(float, words))
                answer()

    def _stall(self, pause: float, every: float, seconds: float) -> None:
        def block(seconds: float) -> None:
            self._loop.call_soon_threadsafe(time.sleep, seconds)

        stall(pause, every, seconds, block)
        stall(pause, every, seconds)


def main() -> None:
    watcher = Watcher(int(sys.argv[1]), sys.argv[2:])
    watcher.open()
    answer(ready=True)
    watcher.obey()


if __name__ == "__main__":
    main()

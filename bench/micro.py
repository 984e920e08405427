"""Figures that are no ratios to bare grpcio: what one act costs, how fast and how exact it is.

Each function returns figures; a *limit* that belongs to a figure is what this project has promised for it.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter
from typing import Any

import grpc
import grpc.aio

import grpc_heartbeat
import grpc_heartbeat.aio
from bench import hops, telemetry_costs
from bench.figure import Figure, Micro
from bench.harness import collector_off
from grpc_heartbeat._current import current_scope
from grpc_heartbeat._timers import clock
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.core.timers import Timer, TimerQueue

METHOD = "/bench.Micro/Nowhere"
PATIENCE = 5.0
"""Seconds after which something counts as not having happened."""


class _Call(Timer):
    """A call that is its own timer, as the drivers have them."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def fire(self) -> None:
        pass


def _nothing() -> None:
    pass


def timers(times: int) -> list[Figure]:
    """Arm and disarm with 100,000 others armed; sweeps are made and timed apart, as they run on the driver's thread."""
    batch, pending = 1000, 100_000
    asked: list[bool] = []
    queue = TimerQueue(lambda: asked.append(True))
    lane = queue.lane(30.0)
    for _ in range(pending):
        _Call().start(lane, clock())
    restarted = queue.timeout(30.0, int)
    restarted.arm(clock())
    swept = [0.0]

    def calls() -> None:
        for _ in range(batch):
            call = _Call()
            call.start(lane, clock())
            call.when = None

    def callbacks() -> None:
        for _ in range(batch):
            timer = queue.timeout(30.0, int)
            timer.arm(clock())
            timer.cancel()

    def restarts() -> None:
        for _ in range(batch):
            restarted.arm(clock())
            restarted.cancel()

    def stock() -> None:
        for _ in range(batch // 100):
            timer = threading.Timer(30.0, int)
            timer.start()
            timer.cancel()

    def nothing() -> None:
        for _ in range(batch):
            _nothing()

    def sweep() -> None:
        if asked:
            asked.clear()
            began = time.thread_time()  # long enough to be interrupted by others
            while queue.next_wakeup() is not None:
                queue.wake(clock())
                if (queue.next_wakeup() or 0.0) > clock():
                    break
            swept.append(time.thread_time() - began)

    acts: list[tuple[str, Callable[[], None], int, float | None]] = [
        ("arm + disarm, the call is its timer", calls, batch, 0.6),
        ("arm + disarm, a timer with a callback", callbacks, batch, None),
        ("arm + disarm, restarted", restarts, batch, None),
        ("arm + disarm, threading.Timer", stock, batch // 100, None),
        ("for scale: a Python call", nothing, batch, None),
    ]
    found: dict[str, list[float]] = {name: [] for name, *_ in acts}
    for _ in range(times):
        for name, act, count, _most in acts:
            began = perf_counter()
            act()
            found[name].append((perf_counter() - began) / count * 1e6)
            sweep()
    figures = [
        Figure("timers", name, statistics.median(found[name]), "µs", times * count, most)
        for name, _act, count, most in acts
    ]
    per_timer = sum(swept) / (2 * batch * times) * 1e6
    return [*figures, Figure("timers", "sweeps, CPU per timer", per_timer, "µs", len(swept) - 1)]


def cancel(stack: str) -> Callable[[int], list[Figure]]:
    """From the client's ``cancel()`` to the handler of the third hop, a process each."""

    def run(times: int) -> list[Figure]:
        section = f"cancel {stack}"
        delays: list[float] = []
        with hops.chain(stack, 3) as (target, lines), _read(lines) as said, grpc.insecure_channel(target) as channel:
            hang: Any = channel.unary_unary(hops.HANG)
            for _ in range(times):
                call = hang.future(b"", timeout=60)
                if said(PATIENCE) is None:
                    raise RuntimeError("the call did not reach the last hop")
                began = monotonic()
                call.cancel()
                ended = said(1.0)
                if ended is not None:
                    delays.append((float(ended.split()[1]) - began) * 1e3)
        return [
            Figure(section, "over three hops, p50", _quantile(delays, 50), "ms", times, 2.0),
            Figure(section, "over three hops, p99", _quantile(delays, 99), "ms", times),
            Figure(section, "reached", 100 * len(delays) / times, "%", times, least=100.0),
        ]

    return run


def blocked(times: int) -> list[Figure]:
    """From the end of its scope to the return of a thread that is blocked in a call."""
    delays: list[float] = []
    with _silence() as target, grpc_heartbeat.insecure_channel(target) as channel:
        call = channel.unary_unary(METHOD)
        for _ in range(times):
            scope = Scope(monotonic() + 60, "bench")
            freed: list[float] = []

            def block(scope: Scope = scope, freed: list[float] = freed) -> None:
                current_scope.set(scope)
                try:
                    call(b"")
                except grpc.RpcError:
                    freed.append(perf_counter())

            thread = threading.Thread(target=block)
            thread.start()
            while not scope.members:
                time.sleep(0.001)
            time.sleep(0.005)  # until it is really blocked
            began = perf_counter()
            scope.cancel(Reason.CLIENT_CANCELLED)
            thread.join(PATIENCE)
            delays += [(end - began) * 1e3 for end in freed]
    return [
        Figure("blocked caller", "freed, p50", _quantile(delays, 50), "ms", len(delays), 0.5),
        Figure("blocked caller", "freed, p99", _quantile(delays, 99), "ms", len(delays)),
    ]


def connect(times: int) -> list[Figure]:
    """How much later than its limit a call to a peer that stays silent ends.

    ``wait_for_ready``, because gRPC itself fails later calls at once otherwise.
    """
    limit = 0.2
    late: dict[str, list[float]] = {"sync": [], "aio": []}
    limits = grpc_heartbeat.Timeouts(connect=limit)
    with _silence() as target:
        with grpc_heartbeat.insecure_channel(target, timeouts=limits) as channel:
            call = channel.unary_unary(METHOD)
            for _ in range(times):
                began = perf_counter()
                try:
                    call(b"", wait_for_ready=True)
                except grpc.RpcError:
                    late["sync"].append((perf_counter() - began - limit) * 1e3)

        async def run() -> None:
            async with grpc_heartbeat.aio.insecure_channel(target, timeouts=limits) as channel:
                call = channel.unary_unary(METHOD)
                for _ in range(times):
                    began = perf_counter()
                    try:
                        await call(b"", wait_for_ready=True)
                    except grpc.aio.AioRpcError:
                        late["aio"].append((perf_counter() - began - limit) * 1e3)

        asyncio.run(run())
    return [
        Figure("connect limit", f"{stack}, late by, {name}", _quantile(found, share), "ms", len(found), 10.0)
        for stack, found in late.items()
        for name, share in (("p50", 50), ("p99", 99))
    ]


def drift(stack: str) -> Callable[[int], list[Figure]]:
    """How far the hops of a chain of six differ about the instant of one deadline."""

    def run(times: int) -> list[Figure]:
        per_hop: list[float] = []
        whole: list[float] = []
        with hops.chain(stack, 6) as (target, _), grpc_heartbeat.insecure_channel(target) as channel:
            where = channel.unary_unary(hops.WHERE)
            for _ in range(times):
                with grpc_heartbeat.deadline.limit(100.0):
                    first = monotonic() + (grpc_heartbeat.deadline.remaining() or 0.0)
                    instants = [first, *_floats(where(b""))]
                per_hop += [(later - earlier) * 1e3 for earlier, later in pairwise(instants)]
                whole.append((instants[-1] - first) * 1e3)
        section = f"drift {stack}"
        return [
            Figure(section, "of 100 s, per hop, p50", _quantile(per_hop, 50), "ms", len(per_hop), 1.0),
            Figure(section, "of 100 s, per hop, p99", _quantile(per_hop, 99), "ms", len(per_hop)),
            Figure(section, "of 100 s, at the sixth hop, p50", _quantile(whole, 50), "ms", len(whole), 6.0),
        ]

    return run


MICROS = (
    Micro("timers", timers, 200, 3),
    Micro("cancel sync", cancel("sync"), 200, 3),
    Micro("cancel aio", cancel("aio"), 200, 3),
    Micro("blocked caller", blocked, 100, 3),
    Micro("connect limit", connect, 20, 1),
    Micro("drift sync", drift("sync"), 100, 3),
    Micro("drift aio", drift("aio"), 100, 3),
    Micro("telemetry", telemetry_costs.costs, 60, 3),
)


def run_micro(micro: Micro, quick: bool) -> list[Figure]:
    """Take the figures of one measurement."""
    with collector_off():
        return micro.run(micro.quick if quick else micro.times)


def _quantile(values: list[float], percent: int) -> float:
    if not values:
        return float("nan")
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def _floats(answer: bytes) -> list[float]:
    return [float(text) for text in answer.decode().strip("[]").split(",")]


@contextmanager
def _read(lines: Iterator[str]) -> Iterator[Callable[[float], str | None]]:
    """Read lines on a thread; what is yielded returns the next one, or ``None`` when it does not come in time."""
    found: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in lines:
            found.put(line)

    def following(seconds: float) -> str | None:
        try:
            return found.get(timeout=seconds)
        except Empty:
            return None

    threading.Thread(target=read, daemon=True).start()
    yield following


@contextmanager
def _silence() -> Iterator[str]:
    """A port at which the kernel accepts connections and nobody ever answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"127.0.0.1:{listening.getsockname()[1]}"

"""The faults, one after the other: when each was noticed, what was thought of it, and how long it took after its end."""

from __future__ import annotations

import os
import random
import signal
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from bench.comparison import Comparison
from bench.detection.clients import PATIENCE, POLICY, AioClient, Client, Keepalive, SyncClient
from bench.orders import Worker, worker

NODE, RELAY = "bench.detection.node", "bench.relay"
NOTICED, RECOVERED, USABLE = 0.8, 2 * POLICY.interval, 2.0
"""What was promised, in seconds."""

CONVICTED = ("DOWN", "STUCK")
WELL = ("UP", "OVERLOADED")
KEEPALIVE_MULTIPLE = 3.0
"""How many times as long as ours gRPC's keepalive is watched."""


@dataclass
class Sick:
    """A server, perhaps behind a relay, and the fault that it has now."""

    stack: str
    node: Worker
    relay: Worker | None
    restart: Callable[[], Worker]

    def freeze(self) -> float:
        at = time.monotonic()
        os.kill(self.node.pid, signal.SIGSTOP)
        return at

    def thaw(self) -> float:
        at = time.monotonic()
        os.kill(self.node.pid, signal.SIGCONT)
        return at

    def vanish(self) -> float:
        assert self.relay is not None
        at = time.monotonic()
        self.relay.ask("vanish")
        return at

    def reappear(self) -> float:
        assert self.relay is not None
        at = time.monotonic()
        self.relay.ask("return")
        return at

    def kill(self) -> float:
        at = time.monotonic()
        self.node.close()
        return at

    def come_back(self) -> float:
        self.node = self.restart()
        return time.monotonic()


@dataclass(frozen=True)
class Fault:
    """A fault.

    Args:
        stacks: Of the servers that it is tried on.
        begin: Makes the server sick; returns when.
        end: Heals it; returns when. ``None``: it heals by itself, ``lasts`` seconds after the beginning.
        verdicts: The right ones.
        lasts: Seconds until it ends.
        relayed: Whether the way goes over a relay.
        business: Whether calls must succeed soon after the end, and not only beats.
    """

    name: str
    stacks: Sequence[str]
    begin: Callable[[Sick], float]
    end: Callable[[Sick], float] | None
    verdicts: Sequence[str]
    lasts: float = 2.5
    relayed: bool = False
    business: bool = True


BLOCKED = 5.0


def _order(order: str) -> Callable[[Sick], float]:
    return lambda sick: float(sick.node.ask(order, BLOCKED)["at"])


FAULTS = (
    Fault("process frozen", ("sync", "aio"), Sick.freeze, Sick.thaw, ("DOWN",)),
    Fault("black hole", ("sync", "aio"), Sick.vanish, Sick.reappear, ("DOWN",), relayed=True),
    Fault("loop blocked", ("aio",), _order("block"), None, CONVICTED, lasts=BLOCKED),
    Fault("all workers stuck", ("sync",), _order("stick"), None, ("STUCK",), lasts=BLOCKED),
    Fault("server killed and restarted", ("sync", "aio"), Sick.kill, Sick.come_back, ("DOWN", "REOPEN")),
)


@dataclass
class Times:
    """Seconds by stack of the client, one for each repetition; ``None`` where nothing happened."""

    noticed: dict[str, list[float | None]] = field(default_factory=dict)
    recovered: dict[str, list[float | None]] = field(default_factory=dict)
    usable: dict[str, list[float | None]] = field(default_factory=dict)
    verdicts: dict[str, list[str]] = field(default_factory=dict)
    keepalive: list[float | None] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)

    def add(self, kind: str, stack: str, seconds: float | None) -> None:
        """Note a time."""
        getattr(self, kind).setdefault(stack, []).append(seconds)


def try_fault(fault: Fault, stack: str, times: Times) -> None:
    """Let the fault meet a server of ``stack`` once, and note what its clients see."""
    with ExitStack() as cleanup:
        sick, target = _server(fault, stack, cleanup)
        clients: list[Client] = []
        for kind in (SyncClient, AioClient):
            clients.append(kind(target))
            cleanup.callback(clients[-1].close)
        keepalive = cleanup.enter_context(closing(Keepalive(target)))
        _until(lambda: all(client.verdict() in WELL and client.call() for client in clients), PATIENCE)
        time.sleep(POLICY.interval * (1 + random.random()))  # the fault is not to wait for a beat
        began = fault.begin(sick)
        _notice(fault, clients, keepalive, began, times)
        ended = _heal(fault, sick, began)
        _recover(fault, clients, ended, times)


def _server(fault: Fault, stack: str, cleanup: ExitStack) -> tuple[Sick, str]:
    port = _free_port()

    def start() -> Worker:
        node = Worker(NODE, stack, port, environment={})
        cleanup.callback(node.close)
        return node

    relay = cleanup.enter_context(worker(RELAY, f"127.0.0.1:{port}")) if fault.relayed else None
    target = f"127.0.0.1:{relay.first['port'] if relay is not None else port}"
    return Sick(stack, start(), relay, start), target


def _notice(fault: Fault, clients: list[Client], keepalive: Keepalive, began: float, times: Times) -> None:
    _until(lambda: all(client.since(began, *CONVICTED) is not None for client in clients), fault.lasts)
    found = [client.since(began, *fault.verdicts) for client in clients]
    for client, seconds in zip(clients, found, strict=True):
        times.add("noticed", client.stack, seconds)
        names = [name for at, name in client.changes if at >= began and name in CONVICTED]
        times.verdicts.setdefault(client.stack, []).append(names[0] if names else client.verdict())
    watched = KEEPALIVE_MULTIPLE * max([seconds for seconds in found if seconds is not None], default=NOTICED)
    watched = min(watched, fault.lasts)
    _until(lambda: keepalive.noticed_at is not None, began + watched - time.monotonic())
    noticed = keepalive.noticed_at
    times.keepalive.append(None if noticed is None else noticed - began)
    times.watched.append(watched)


def _heal(fault: Fault, sick: Sick, began: float) -> float:
    time.sleep(max(0.0, began + fault.lasts - time.monotonic()))
    return began + fault.lasts if fault.end is None else fault.end(sick)


def _recover(fault: Fault, clients: list[Client], ended: float, times: Times) -> None:
    with ThreadPoolExecutor(len(clients)) as pool:
        usable = list(pool.map(lambda client: _usable(client, ended), clients))
    _until(lambda: all(client.told in WELL for client in clients), PATIENCE)
    for client, seconds in zip(clients, usable, strict=True):
        times.add("usable", client.stack, seconds)
        was_well = client.told in WELL and client.changes[-1][0] < ended
        times.add("recovered", client.stack, 0.0 if was_well else client.since(ended, *WELL))


def _usable(client: Client, ended: float) -> float | None:
    give_up = ended + PATIENCE / 2
    while time.monotonic() < give_up:
        if client.call():
            return time.monotonic() - ended
        time.sleep(0.02)
    return None


def _until(done: Callable[[], bool], seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while not done():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.005)
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def compare(fault: Fault, stack: str, times: Times) -> list[Comparison]:
    """Return what was found as lines to print."""
    section = f"{fault.name}, server {stack}"
    promises = (("noticed", NOTICED), ("recovered", RECOVERED), ("usable", USABLE))
    found: list[Comparison] = []
    for kind, most in promises:
        by_stack: dict[str, list[float | None]] = getattr(times, kind)
        for figure in ("p50", "max"):
            values = {f"client {name}": _figure(seconds, figure) for name, seconds in by_stack.items()}
            if kind == "noticed":
                values["gRPC's keepalive"] = _figure(times.keepalive, figure)
            else:
                values["gRPC's keepalive"] = None
            promised = {name: most for name in values if name.startswith("client")}
            found.append(
                Comparison(section, f"{kind}, {figure}", "s", values, None, promised if figure == "max" else {})
            )
    counts: dict[str, float | None] = {
        f"client {name}": sum(verdict not in fault.verdicts for verdict in verdicts)
        for name, verdicts in times.verdicts.items()
    }
    counts["gRPC's keepalive"] = None
    found.append(Comparison(section, "wrong verdicts", f"of {len(times.watched)}", counts))
    watched: dict[str, float | None] = dict.fromkeys(counts)
    watched["gRPC's keepalive"] = max(times.watched)
    found.append(Comparison(section, "watched for", "s", watched))
    return found


def _figure(seconds: Sequence[float | None], figure: str) -> float | None:
    """Return the median or the largest; ``None`` if one of them never came."""
    known = [second for second in seconds if second is not None]
    if len(known) < len(seconds) or not known:
        return None
    return statistics.median(known) if figure == "p50" else max(known)

"""All simulated connections under one clock: their fates, the network between their ends, and who was judged wrongly."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable
from itertools import count

from bench.simulation.ends import Connection
from bench.simulation.setting import (
    END,
    FAULTS,
    GUILTY,
    JUDGE,
    LONG,
    PAUSE,
    POLICY,
    SHARE,
    SHORT,
    SLOT,
    TINY,
    Fate,
    Outcome,
)
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat_server import PATIENCE
from grpc_heartbeat.core.lateness import LocalPauses
from grpc_heartbeat.core.verdicts import Verdict, VerdictChanged
from grpc_heartbeat.core.wheel import Wheel


class World:
    """All connections, their wheels and their clock."""

    def __init__(self, connections: int, seed: int = 1) -> None:
        self.dice = random.Random(seed)
        self.pauses = LocalPauses()
        self.clients, self.servers = Wheel(), Wheel()
        self.now = 0.0
        self.beats = 0
        self.outcome = Outcome(connections)
        self.convicted: set[Connection] = set()
        self.vanished: dict[Connection, float] = {}
        self._order = count()
        self._script: list[tuple[float, int, Callable[[float], None]]] = []
        self.connections = [Connection(self, self._draw()) for _ in range(connections)]
        for connection in self.connections:
            connection.tell(0.0)
            self.clients.add(connection, connection.next_wakeup(0.0))
            if connection.fate is not Fate.HEALTHY:
                self.at(self.dice.uniform(*FAULTS), self._strike(connection))
        self.outcome.fates = dict(Counter(connection.fate.name for connection in self.connections))

    def at(self, instant: float, act: Callable[[float], None]) -> None:
        """Have ``act(now)`` called at ``instant``, or when the clock has passed it."""
        heapq.heappush(self._script, (instant, next(self._order), act))

    def wake_at(self, connection: Connection, now: float) -> None:
        """Wake a connection to which something has happened when it says, or at once. (What is late already is no pause.)"""
        self.clients.add(connection, max(now, connection.next_wakeup(now)))

    def run(self) -> None:
        """Let time pass until ``END``."""
        while (now := self._next()) < END:
            if PAUSE[0] <= now < PAUSE[1]:
                now = PAUSE[1]
            self.now = now
            self._sweep(now)
            planned = self.clients.next_wakeup()
            awake = self.clients.wake(now)
            if awake and planned is not None:
                self.pauses.tick(planned, now)
            for connection in awake:
                due = connection.tick(now)
                if due is not None:
                    self.clients.add(connection, max(now + TINY, due))
            while self._script and self._script[0][0] <= now:
                heapq.heappop(self._script)[2](now)

    def _next(self) -> float:
        wakeup = self.clients.next_wakeup()
        script = self._script[0][0] if self._script else math.inf
        return max(self.now, min(math.inf if wakeup is None else wakeup, script))

    def _sweep(self, now: float) -> None:
        """Wake the servers' ends at their own times: they go on while the clients' process does not run."""
        wheel = self.servers
        while (slot := wheel.next_wakeup()) is not None and slot <= now:
            for server in wheel.wake(slot):
                due = server.tick(slot)
                if due is not None:
                    wheel.add(server, max(slot + TINY, due))

    def _draw(self) -> Fate:
        fates = list(Fate)
        drawn = int(self.dice.random() / SHARE)
        return fates[drawn + 1] if drawn < len(fates) - 1 else Fate.HEALTHY

    def _strike(self, connection: Connection) -> Callable[[float], None]:
        def strike(now: float) -> None:
            fate = connection.fate
            if fate in (Fate.DIES, Fate.FREEZES, Fate.HESITATES):
                connection.stops_at = now
                lasts = {Fate.DIES: math.inf, Fate.FREEZES: LONG, Fate.HESITATES: SHORT}
                connection.speaks_at = now + lasts[fate]
            elif fate is Fate.VANISHES:
                self.clients.remove(connection)
                self.vanished[connection] = now
            elif fate is Fate.DRAINS:
                connection.hear(connection.server.session.drain("deploying", now), connection.session, now)
            else:
                if fate is Fate.RESTARTS:
                    connection.refused_until = now + SHORT
                connection.session.stream_closed(now, "GOAWAY" if fate is Fate.GOES_AWAY else "reset by peer", "lost")
                connection.hear([], connection.session, now)

        return strike

    def judged(self, connection: Connection, event: Event) -> None:
        """Note a change of a judge's mind."""
        if not isinstance(event, VerdictChanged) or not event.after.convicts:
            return
        self.convicted.add(connection)
        if connection.fate not in GUILTY:
            self.blame(f"{connection.fate.name} was convicted at {event.at:.2f}: {event.why}")
        elif connection.fate is not Fate.RESTARTS and connection.asked_at is not None:
            took = event.at - connection.asked_at - self.pauses.excused(connection.asked_at, event.at)
            self.outcome.slowest_conviction = max(self.outcome.slowest_conviction, took)
            if took > JUDGE.limit + SLOT:
                self.blame(
                    f"{connection.fate.name} was convicted only {took:.2f} s after the first beat without an echo"
                )

    def swept(self, connection: Connection, now: float) -> None:
        """Note that a server has given its client up."""
        since = self.vanished.pop(connection, None)
        if since is None:
            self.blame(f"the client of {connection.fate.name} was given up by its server at {now:.2f}")
            return
        self.outcome.vanished += 1
        self.outcome.slowest_sweep = max(self.outcome.slowest_sweep, now - since)
        promised = POLICY.interval + POLICY.beat_timeout
        if now - since > PATIENCE * promised + SLOT:
            self.blame(f"a client that vanished was given up after {now - since:.2f} s only")

    def blame(self, what: str) -> None:
        """Note a wrong judgement; the first few suffice."""
        if len(self.outcome.wrong) < 10:
            self.outcome.wrong.append(what)

    def reckon(self) -> None:
        """See who was not convicted and should have been, and who is not up again."""
        self.outcome.beats, self.outcome.convicted = self.beats, len(self.convicted)
        for connection in self.connections:
            if connection.fate in GUILTY and connection not in self.convicted:
                self.blame(f"{connection.fate.name} was never convicted")
            dead = connection.fate in (Fate.DIES, Fate.VANISHES)
            if not dead and connection.judge.verdict is not Verdict.UP:
                self.blame(f"{connection.fate.name} ended {connection.judge.verdict.name}: {connection.judge.why}")
            if connection.fate is Fate.DIES and connection.judge.verdict is not Verdict.DOWN:
                self.blame(f"a dead peer ended {connection.judge.verdict.name}: {connection.judge.why}")
        if self.vanished:
            self.blame(f"{len(self.vanished)} clients that vanished were not given up")

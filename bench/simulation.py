"""A million connections in virtual time: the beat machines of both ends, the wheels that wake them, and the judge.

Nothing is simulated but the network and the clock: sessions, wheels and judges are those of the library. Every connection beats
every 10 s. Some meet a fate in between (:class:`Fate`), and once the whole client process does not run for longer than silence
convicts. At the end every peer that deserved it must have been convicted in time, and nobody else ever.

``python -m bench.simulation`` runs 10,000, 100,000 and 1,000,000 connections, each in a process of its own, and prints what a
beat costs and what a connection takes. The collector is off meanwhile: to look through a million living connections again and
again is its price, not theirs. What it finds at the end is printed: the machines leave nothing to it.
"""

from __future__ import annotations

import argparse
import enum
import gc
import heapq
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from bench import comparison, report
from bench.comparison import Comparison
from bench.orders import answer, worker
from bench.readings import Readings
from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.backoff import Backoff
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Frame
from grpc_heartbeat.core.heartbeat import ClientSession
from grpc_heartbeat.core.heartbeat_events import StreamOpening
from grpc_heartbeat.core.heartbeat_server import PATIENCE, Condition, Due, ServerSession
from grpc_heartbeat.core.judge import Judge
from grpc_heartbeat.core.lateness import LocalPauses
from grpc_heartbeat.core.verdicts import JudgePolicy, Verdict, VerdictChanged
from grpc_heartbeat.core.wheel import BASE, Member, Wheel, grain_of

RESULTS = Path(__file__).parent / "results" / "simulation.json"
SIZES = (10_000, 100_000, 1_000_000)

POLICY = HeartbeatPolicy(interval=10.0, timeout=10.0, misses=3)
JUDGE = JudgePolicy.of(POLICY)
CLIENT, SERVER = Identity("checkout", "a", "client"), Identity("orders", "b", "server")
SERVING = Condition()

SLOWEST = 0.04
"""Seconds that a round trip takes at the most; one takes half of that on average."""

FAULTS = (15.0, 25.0)
"""Instants between which fates begin."""

PAUSE = (40.01, 71.0)
"""When the client process does not run. It begins just behind a slot of the wheel, so that beats are in flight."""

END = 125.0
SLOT = 10 * BASE
TINY = 1e-6
"""A driver's clock goes on between a tick and the next; what is due by a rounding error later is done in the next slot."""

SHORT, LONG = 12.0, 85.0
"""Seconds of a freeze that convicts nobody, and of one that convicts even if it begins shortly before the pause."""


class Fate(enum.Enum):
    """What becomes of a connection."""

    HEALTHY = "nothing happens"
    DIES = "the peer dies, and nobody says so"
    FREEZES = "the peer is frozen for longer than silence convicts"
    HESITATES = "the peer is frozen for less than that, and answers late"
    RESTARTS = "the connection is reset, and refused for a while"
    GOES_AWAY = "the stream ends by a GOAWAY"
    DRAINS = "the server says goodbye"
    VANISHES = "the client dies, and nobody says so"


GUILTY = (Fate.DIES, Fate.FREEZES, Fate.RESTARTS)
"""Whose peers deserve to be convicted."""

SHARE = 0.005
"""Of all connections, for each fate but the first."""


@dataclass
class Outcome:
    """What a run found.

    ``wrong`` are the judgements that were: it must be empty. ``convicted`` and ``late`` say how many seconds after the first
    beat without an echo the dead were convicted, on average and at the most, own pauses deducted. CPU is in microseconds.
    """

    connections: int
    beats: int = 0
    cpu_per_beat: float = 0.0
    bytes_per_connection: float = 0.0
    seconds_to_make: float = 0.0
    seconds: float = 0.0
    garbage: int = 0
    fates: dict[str, int] = field(default_factory=dict)
    convicted: int = 0
    vanished: int = 0
    slowest_conviction: float = 0.0
    slowest_sweep: float = 0.0
    wrong: list[str] = field(default_factory=list)


class ServerSide(Member):
    """The server's end of one stream: it misses a client that does not beat as it promised."""

    __slots__ = ("client", "session")

    grain = grain_of(POLICY.interval)

    def __init__(self, client: Connection) -> None:
        self.slot = None
        self.client = client
        self.session = ServerSession(SERVER, now=client.world.now)

    def tick(self, now: float) -> float | None:
        if self.client.silent(now):  # it does not run either
            return self.client.speaks_at if self.client.speaks_at < math.inf else None
        if self.session.wake(now) is Due.CUT:
            self.client.world.swept(self.client, now)
            return None
        return self.session.next_wakeup()


class Connection(Member):
    """The client's end of one connection, its judge, and the peer that it talks to."""

    __slots__ = (
        "asked_at",
        "backoff",
        "fate",
        "judge",
        "refused_until",
        "server",
        "session",
        "speaks_at",
        "stops_at",
        "world",
    )

    grain = grain_of(POLICY.interval)

    def __init__(self, world: World, fate: Fate) -> None:
        self.slot = None
        self.world = world
        self.fate = fate
        self.stops_at = self.speaks_at = math.inf
        """From when to when the peer is silent."""
        self.refused_until = -math.inf
        self.asked_at: float | None = None
        """When the first beat was sent that the peer has not answered."""
        self.backoff: Backoff | None = None
        self.judge = Judge(JUDGE, world.pauses, 0.0)
        self.server = ServerSide(self)
        self.open(0.0, phase=world.dice.random())

    def silent(self, now: float) -> bool:
        """Tell whether the peer does not run."""
        return self.stops_at <= now < self.speaks_at

    def tick(self, now: float) -> float | None:
        """Do what the driver of a heartbeat does when it is woken."""
        session = self.session
        if session.over:
            self.open(now)
        else:
            session.wake(now)
            if session.beat_due(now) is not None:
                self.beat(now)
        self.tell(now)
        self.judge.wake(now)
        self.heed()
        return self.next_wakeup(now)

    def beat(self, now: float) -> None:
        """Send the beat that is due, and have it answered."""
        beat = self.session.send_beat(now)
        assert beat is not None
        self.session.written(beat.sequence, now)
        self.world.beats += 1
        if self.asked_at is None:
            self.asked_at = now
        self.send(beat, now)

    def open(self, now: float, phase: float = 0.0) -> None:
        """Open a stream, the first or the next."""
        self.session = ClientSession(POLICY, CLIENT, now, phase=phase)
        self.world.servers.remove(self.server)
        self.server = ServerSide(self)
        self.judge.apply(StreamOpening(now))
        if now < self.refused_until:
            self.session.stream_closed(now, "connection refused", "lost")
        else:
            self.send(self.session.hello(), now)

    def send(self, frame: Frame, now: float) -> None:
        """Let the peer answer: at once, after its freeze, or after ours."""
        delay = self.world.dice.random() * SLOWEST
        if self.silent(now):
            if self.speaks_at < math.inf:
                self.world.at(self.speaks_at, lambda then: self.answered(frame, self.session, then))
        elif now < PAUSE[0] <= now + delay:
            session, server = self.session, self.server
            answers = server.session.receive(frame, now, SERVING)
            self.world.at(PAUSE[1], lambda then: self.hear(answers, session, then))
        else:
            self.answered(frame, self.session, now + delay)

    def answered(self, frame: Frame, session: ClientSession, now: float) -> None:
        """Take the frame to the peer, and its answers back."""
        server = self.server
        answers = server.session.receive(frame, now, SERVING)
        server.session.take_events()
        wakeup = server.session.next_wakeup()
        if wakeup is not None:
            self.world.servers.add(server, wakeup)
        self.hear(answers, session, now)

    def hear(self, answers: list[Frame], session: ClientSession, now: float) -> None:
        """Hear the peer's answers, if the stream that they were given on still stands."""
        if session is self.session:
            for frame in answers:
                session.receive(frame, now)
            self.asked_at = None
            self.tell(now)
            self.heed()
            self.world.wake_at(self, now)

    def tell(self, now: float) -> None:
        """Tell the judge what happened to the stream."""
        for event in self.session.take_events():
            self.judge.apply(event)

    def heed(self) -> None:
        """Note what the judge says."""
        for event in self.judge.take_events():
            self.world.judged(self, event)

    def next_wakeup(self, now: float) -> float:
        """Return when to wake this connection again."""
        judge = self.judge.next_wakeup(now)
        stream = self.session.next_wakeup()
        if stream is None:
            self.backoff = self.backoff or Backoff(POLICY.reconnect_min, POLICY.reconnect_max, self.world.dice.random)
            stream = now + self.backoff.pause()
        elif self.judge.verdict is Verdict.UP:
            self.backoff = None
        return stream if judge is None else min(stream, judge)


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


def simulate(connections: int) -> Outcome:
    """Run so many connections from their opening to the end."""
    gc.collect()
    gc.disable()
    try:
        readings = Readings()
        before, began = readings.settle()["kilobytes"], time.perf_counter()
        world = World(connections)
        made = time.perf_counter()
        readings.mark()
        world.run()
        cpu = readings.mark()["cpu"]
        world.reckon()
        outcome = world.outcome
        outcome.cpu_per_beat = cpu / world.beats * 1e6
        outcome.garbage = gc.collect()
        outcome.bytes_per_connection = (readings.settle()["kilobytes"] - before) * 1024 / connections
        outcome.seconds_to_make, outcome.seconds = made - began, time.perf_counter() - made
        return outcome
    finally:
        gc.enable()


def apart(connections: int) -> Outcome:
    """Run ``simulate`` in a process of its own."""
    with worker("bench.simulation", "--one", connections) as running:
        return Outcome(**running.first)


def compare(outcomes: list[Outcome]) -> list[Comparison]:
    """Return the outcomes side by side, with how much the largest costs more than the smallest."""
    names = [f"{outcome.connections:,}" for outcome in outcomes]
    figures = {
        "beats": ("beats", ""),
        "cpu_per_beat": ("CPU per beat, both ends", "µs"),
        "bytes_per_connection": ("memory per connection, both ends", "B"),
        "seconds_to_make": ("to make", "s"),
        "seconds": ("to run", "s"),
        "garbage": ("objects that are left to the collector", ""),
        "convicted": ("convicted", ""),
        "slowest_conviction": ("slowest conviction, without own pauses", "s"),
        "vanished": ("vanished clients that were found", ""),
        "slowest_sweep": ("slowest of them", "s"),
    }
    scaled = ("cpu_per_beat", "bytes_per_connection")
    return [
        Comparison(
            "simulated connections",
            name,
            unit,
            {key: getattr(outcome, attribute) for key, outcome in zip(names, outcomes, strict=True)},
            (names[-1], names[0]) if attribute in scaled and len(names) > 1 else None,
        )
        for attribute, (name, unit) in figures.items()
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.simulation", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of connections (%(default)s)")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the results go (%(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.one:
        answer(**asdict(simulate(arguments.one)))
        return 0
    progress = report.Progress(len(arguments.sizes))
    outcomes: list[Outcome] = []
    for size in arguments.sizes:
        progress.section(f"{size:,} connections")
        outcomes.append(apart(size))
        progress.step()
    progress.close()
    found = compare(outcomes)
    whole: dict[str, Any] = {"environment": report.environment(), "outcomes": [asdict(outcome) for outcome in outcomes]}
    comparison.write_json(arguments.json, found, **whole)
    print(comparison.plain(found))
    wrong = [line for outcome in outcomes for line in outcome.wrong]
    print("\nno wrong judgement" if not wrong else "\n".join(["\nwrong judgements:", *wrong]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""A peer, a network and a clock that can be stopped, around one judge, in virtual time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Ack, Load
from grpc_heartbeat.core.heartbeat_events import BeatAcked, BeatMissed, BeatSent, LateEcho, StreamOpened, StreamOpening
from grpc_heartbeat.core.judge import Judge
from grpc_heartbeat.core.lateness import LocalPauses
from grpc_heartbeat.core.verdicts import JudgePolicy, SideChanged, Verdict, VerdictChanged

INTERVAL, MISSES = 0.2, 3
LIMIT = INTERVAL * MISSES
PROOF = 0.1
"""Seconds between proofs that the transport answers."""


@dataclass
class Peer:
    """How the other end behaves: its echoes take ``delay`` seconds, infinitely many if it is silent.

    ``stalled_until``: it answers nothing before that instant, as in a collection of garbage.
    """

    delay: float = 0.01
    stalled_until: float = 0.0
    transport: bool = True
    load: Load | None = None


class World:
    """Beats every ``INTERVAL``, one in flight, missed after ``INTERVAL``, as a heartbeat session tells of them."""

    def __init__(self, policy: JudgePolicy | None = None) -> None:
        self.now = 100.0
        self.peer = Peer()
        self.pauses = LocalPauses()
        self.judge = Judge(policy or JudgePolicy(LIMIT, accepted_pause=LIMIT - INTERVAL), self.pauses, self.now)
        self.events: list[Event] = []
        self.wakes = 0
        self.sequence = self.misses = 0
        self.slot = self.now + INTERVAL
        self.proof = self.now + PROOF
        self.sent_at: float | None = None
        self.echoes: dict[int, tuple[float, float]] = {}
        self.unechoed: dict[int, float] = {}
        self.apply(StreamOpening(self.now))
        self.apply(StreamOpened(self.now))

    def apply(self, event: Event) -> None:
        self.judge.apply(event)
        self.collect()

    def collect(self) -> None:
        self.events += self.judge.take_events()

    def run(self, seconds: float) -> Verdict:
        """Let time pass, one happening after the other."""
        end = self.now + seconds
        while True:
            due = min(self.slot, self.proof, self.timeout, self.wakeup, *(at for at, _ in self.echoes.values()))
            if due > end:
                self.now = end
                return self.judge.verdict
            self.now = max(self.now, due)
            self.happen()

    def pause(self, seconds: float) -> None:
        """Do not run for ``seconds``; afterwards look at the clock first and at the socket last."""
        start, self.now = self.now, self.now + seconds
        self.pauses.tick(start, self.now)
        self.happen()

    def verdicts(self) -> list[Verdict]:
        return [event.after for event in self.events if isinstance(event, VerdictChanged)]

    @property
    def timeout(self) -> float:
        return math.inf if self.sent_at is None else self.sent_at + INTERVAL

    @property
    def wakeup(self) -> float:
        wakeup = self.judge.next_wakeup(self.now)
        return math.inf if wakeup is None else wakeup

    def happen(self) -> None:
        now = self.now
        if now >= self.wakeup:
            self.wakes += 1
            self.judge.wake(now)
            assert self.wakeup > now, "the judge would be woken without end"
        if now >= self.timeout:
            self.sent_at = None
            self.misses += 1
            self.judge.apply(BeatMissed(now, self.sequence, self.misses, "not echoed"))
        for sequence, (at, sent_at) in tuple(self.echoes.items()):
            if now >= at:
                del self.echoes[sequence]
                self.echo(sequence, now - sent_at)
        if now >= self.proof:
            self.proof = now + PROOF
            if self.peer.transport:
                self.judge.transport_answered(now)
        if now >= self.slot:
            self.slot += INTERVAL * (1 + (now - self.slot) // INTERVAL)
            if self.sent_at is None:
                self.send()
        self.collect()

    def echo(self, sequence: int, rtt: float) -> None:
        if sequence == self.sequence and self.sent_at is not None:
            self.sent_at = None
            self.misses = 0
            self.judge.apply(BeatAcked(self.now, sequence, rtt, Ack(sequence, load=self.peer.load)))
        else:
            since = next((at for other, at in self.unechoed.items() if other > sequence), None)
            self.judge.apply(LateEcho(self.now, sequence, rtt, Ack(sequence), since))
        self.unechoed = {other: at for other, at in self.unechoed.items() if other > sequence}

    def send(self) -> None:
        self.sequence += 1
        self.sent_at = self.now
        self.unechoed[self.sequence] = self.now
        self.judge.apply(BeatSent(self.now, self.sequence))
        self.judge.written(self.now)
        if self.peer.delay < math.inf:
            self.echoes[self.sequence] = (max(self.now, self.peer.stalled_until) + self.peer.delay, self.now)


def check_story(world: World) -> None:
    """Each change follows the one before it, is a change, and the last one is the present."""
    told = {"verdict": Verdict.REOPEN.value, "write": "stale", "echo": "stale"}
    for event in world.events:
        if isinstance(event, VerdictChanged | SideChanged):
            about = "verdict" if isinstance(event, VerdictChanged) else event.side
            assert told[about] == event.before.value != event.after.value
            told[about] = event.after.value
    now = world.judge.judgement(world.now)
    assert told == {"verdict": now.verdict.value, "write": now.write.value, "echo": now.echo.value}
    assert now.operational == world.judge.operational == (told["write"] == told["echo"] == "alive")

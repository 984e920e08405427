"""The two ends of a simulated connection: the machines of the library, driven as its drivers drive them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.simulation.setting import CLIENT, JUDGE, PAUSE, POLICY, SERVER, SERVING, SLOWEST, Fate
from grpc_heartbeat.core.backoff import Backoff
from grpc_heartbeat.core.frames import Frame
from grpc_heartbeat.core.heartbeat import ClientSession
from grpc_heartbeat.core.heartbeat_events import StreamOpening
from grpc_heartbeat.core.heartbeat_server import Due, ServerSession
from grpc_heartbeat.core.judge import Judge
from grpc_heartbeat.core.verdicts import Verdict
from grpc_heartbeat.core.wheel import Member, grain_of

if TYPE_CHECKING:
    from bench.simulation.world import World


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

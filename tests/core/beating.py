"""A heartbeat with judge and breaker, its driver, a peer and a clock that can be stopped, in virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from grpc_heartbeat.config import BreakerPolicy, HeartbeatPolicy, Identity
from grpc_heartbeat.core.breaker import BreakerClosed, BreakerOpened, BreakerProbing
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Ack, Beat, Goodbye, GoodbyeReason, Hello, Load
from grpc_heartbeat.core.heartbeat import ClientSession
from grpc_heartbeat.core.heartbeat_client import HeartbeatClient
from grpc_heartbeat.core.heartbeat_events import FailureCause
from grpc_heartbeat.core.lateness import LocalPauses
from grpc_heartbeat.core.verdicts import SideChanged, Verdict, VerdictChanged

INTERVAL, MISSES = 0.2, 3
LIMIT = INTERVAL * MISSES
BEATS = HeartbeatPolicy(interval=INTERVAL, misses=MISSES, reconnect_min=0.05, reconnect_max=0.5)
BREAKER = BreakerPolicy()
CLIENT, PEER = Identity("client", "a", "1"), Identity("peer", "b", "1")


@dataclass
class Peer:
    """How the other end behaves.

    ``delay``: of its answers, infinite while it is silent. ``end``: how it ends each new stream. ``goodbye``: whether it
    says so first. ``transport``: whether a fresh connection is accepted though nothing is answered.
    """

    delay: float = 0.01
    load: Load | None = None
    end: FailureCause | None = None
    goodbye: bool = False
    transport: bool = False


@dataclass
class World:
    """A driver that does what ``HeartbeatClient`` asks of it, and nothing in time that is paused.

    ``guarded``: whether a channel moves the heartbeat to a fresh connection when its breaker opens; else it leaves by itself.
    """

    peer: Peer = field(default_factory=Peer)
    breaker: BreakerPolicy | None = BREAKER
    random: Callable[[], float] = lambda: 0.5
    now: float = 100.0
    guarded: bool = True

    def __post_init__(self) -> None:
        self.pauses = LocalPauses()
        self.client = HeartbeatClient(BEATS, CLIENT, self.now, self.random, pauses=self.pauses, breaker=self.breaker)
        self.events: list[Event] = []
        self.session: ClientSession | None = None
        self.open_at = self.now
        self.answers: list[tuple[float, int, object]] = []
        self.streams = self.connections = 0

    # What may be asked.

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def verdict(self) -> Verdict:
        return self.client.snapshot.verdict

    @property
    def closed(self) -> bool:
        assert self.client.breaker is not None
        return self.client.breaker.snapshot.closed

    # What may happen.

    def run(self, seconds: float) -> None:
        """Let time pass, one happening after the other."""
        end = self.now + seconds
        while (due := self.due()) <= end:
            self.now = max(self.now, due)
            self.happen()
        self.now = end

    def stop(self, seconds: float) -> None:
        """Do not run for ``seconds``."""
        start, self.now = self.now, self.now + seconds
        self.pauses.tick(start, self.now)
        self.happen()

    def cut(self) -> None:
        """Have the connection lost."""
        if self.session is not None:
            self.session.stream_closed(self.now, "connection reset", "lost")
            self.after()

    def due(self) -> float:
        session = None if self.session is None else self.session.next_wakeup()
        wakeups = (session, self.client.next_wakeup(self.now), self.open_at)
        return min([at for at in wakeups if at is not None] + [at for at, _, _ in self.answers], default=math.inf)

    def happen(self) -> None:
        now = self.now
        wakeup = self.client.next_wakeup(now)
        if wakeup is not None and now >= wakeup:
            self.deliver(self.client.wake(now))
            wakeup = self.client.next_wakeup(now)
            assert wakeup is None or wakeup > now, "would be woken without end"
        if self.session is not None:
            self.session.wake(now)
            beat = self.session.send_beat(now)
            if beat is not None:
                self.ask(beat)
            self.after()
        for answer in sorted(self.answers, key=lambda answer: answer[:2]):
            at, stream, frame = answer
            if at <= now and answer in self.answers:
                self.answers.remove(answer)
                if self.session is not None and stream == self.streams:
                    self.hear(frame)
        if now >= self.open_at:
            self.open()

    def open(self) -> None:
        self.open_at = math.inf
        self.session, opening = self.client.opening(self.now)
        self.streams += 1
        self.deliver(self.client.publish([opening]))
        if self.session is not None and self.peer.transport:
            self.deliver(self.client.transport_answered(self.now))
        if self.session is not None:
            self.ask(self.session.hello())

    def ask(self, frame: object) -> None:
        answer: object = Ack(frame.sequence, load=self.peer.load) if isinstance(frame, Beat) else Hello(PEER)
        if isinstance(frame, Hello) and self.peer.goodbye:
            answer = Goodbye(GoodbyeReason.DRAINING)
        elif isinstance(frame, Hello) and self.peer.end is not None:
            answer = self.peer.end
        if self.peer.delay < math.inf:
            self.answers.append((self.now + self.peer.delay, self.streams, answer))

    def hear(self, frame: object) -> None:
        assert self.session is not None
        if isinstance(frame, str):
            self.session.stream_closed(self.now, f"ended: {frame}", frame)  # type: ignore[arg-type]  # it is a cause
        else:
            self.session.receive(frame, self.now)  # type: ignore[arg-type]  # it is a frame
        self.after()

    def after(self) -> None:
        session = self.session
        if session is None:
            return
        self.deliver(self.client.publish(session.take_events()))
        if self.client.given_up and not session.over:
            session.close(self.now)
            self.deliver(self.client.publish(session.take_events()))
        if session.over and self.session is session:
            self.session = None
            if self.open_at == math.inf:
                pause = self.client.pause()
                self.open_at = math.inf if pause is None else self.now + pause

    def deliver(self, events: Iterable[Event]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, BreakerOpened) and self.guarded:
                self.move(event.pause)

    def move(self, after: float) -> None:
        """Leave the connection for a fresh one."""
        session, self.session = self.session, None
        self.connections += 1
        self.open_at = self.now + after
        if session is not None and not session.over:
            session.close(self.now)
            self.deliver(self.client.publish(session.take_events()))


def check_story(world: World) -> None:
    """Each change follows the one before it, is a change, and the last one is the present."""
    told = {"verdict": Verdict.REOPEN.value, "write": "stale", "echo": "stale"}
    before: Event | None = None
    generation = opened = 0
    for event in world.events:
        if isinstance(event, VerdictChanged | SideChanged):
            about = "verdict" if isinstance(event, VerdictChanged) else event.side
            assert told[about] == event.before.value != event.after.value
            told[about] = event.after.value
        elif isinstance(event, BreakerOpened):
            assert event.again == isinstance(before, BreakerProbing)
            assert event.again or before is None or isinstance(before, BreakerClosed)
            generation += 1
            opened += not event.again
            assert event.generation == generation, "each dead connection is given up once"
            before = event
        elif isinstance(event, BreakerProbing | BreakerClosed):
            assert isinstance(before, BreakerOpened if isinstance(event, BreakerProbing) else BreakerProbing)
            before = event
    now = world.client.snapshot_at(world.now)
    assert told == {"verdict": now.verdict.value, "write": now.write.value, "echo": now.echo.value}
    if world.client.breaker is not None:
        breaker = world.client.breaker.snapshot
        assert (breaker.generation, breaker.opened) == (generation, opened)
        assert world.connections == generation or not world.guarded
        assert breaker.closed == (before is None or isinstance(before, BreakerClosed))
        assert not (breaker.closed and now.verdict.convicts)

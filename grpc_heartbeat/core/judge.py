"""What the heartbeats of one connection say about its peer; no I/O, ``now`` is an argument.

Two sides
---------
The *write* side is alive while the transport takes what is written, the *echo* side while answers come in time. Each is ALIVE,
STALE (nothing in time) or WRITE_FAILED (the transport refused; for the echo side: nothing was asked, so nothing can be heard).
The connection is *operational* only if both are alive.

Verdicts
--------
    UP          the last beat was echoed
    LATE        an echo is overdue, nobody is convicted yet, and no overload explains it
    STUCK       silence for too long, though the transport answers; or echoes, but work waited as long for a worker
    OVERLOADED  echoes come, and say that the queue or the event loop is slow
    DOWN        silence for too long from everything, or the peer could not be reached
    REOPEN      no stream at the moment, for an everyday reason (GOAWAY, maximum age, drain, refusal): no alarm

A connection begins in REOPEN, with both sides stale. UP and OVERLOADED are said by an echo only; that a stream was opened is
not enough. DOWN and STUCK are convictions (``Verdict.convicts``), which an echo in time, a goodbye or a refusal lifts: each of
them is an answer. REOPEN turns into DOWN if no answer comes within ``limit``, counted from the opening of the stream after an
answer, or from the silence that was there when the stream was lost.

A conviction is *silent* if nothing but silence led to it: the connection still stands, and whatever waits on it waits in vain.
Of the others, that it was lost or refused, gRPC tells the calls that are concerned.

Silence begins with the first beat that was not echoed, and the peer is convicted after ``min(limit, φ)`` of it: ``limit`` is
the hard maximum, φ-accrual (:mod:`.phi`) may convict earlier where echoes are regular. What is LATE is decided by φ without
the accepted pause, and by each missed beat. An echo that comes after its beat was missed is a sample of φ and proof that the
transport answers. It lifts nothing, because it did not come in time, though what it says of an overload counts. But a peer
answers beats in their order, so silence begins anew with the next beat after the one that was echoed: a peer that is slower
than a beat may take, but never silent for too long, is LATE, or OVERLOADED if it says so, and not convicted.

Time in which this process itself did not run is deducted (:mod:`.lateness`), and a miss that is found in a pause or its grace
makes nobody late. If that alone keeps a peer from being convicted, the judgement is *suspended* and says so.

What the driver does
--------------------
It hands in the events of the heartbeat (``apply``), each report of the transport (``written``, ``write_failed``), and every
proof that the transport answers, such as a PING's acknowledgement (``transport_answered``); it calls ``wake(now)`` at
``next_wakeup(now)``, and delivers ``take_events()`` after each call. Reports may repeat; each change is told once. One thread
at a time; ``verdict``, ``since``, ``why`` and ``silent`` may be read by any. ``pauses`` may be replaced before the first event.
"""

from __future__ import annotations

from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Load
from grpc_heartbeat.core.heartbeat_events import (
    BeatAcked,
    BeatMissed,
    BeatSent,
    HeartbeatClosed,
    LateEcho,
    PeerLeft,
    StreamClosed,
    StreamFailed,
    StreamOpened,
    StreamOpening,
)
from grpc_heartbeat.core.lateness import LocalPauses, PauseCause
from grpc_heartbeat.core.load import worst_delay
from grpc_heartbeat.core.phi import PhiDetector
from grpc_heartbeat.core.verdicts import (
    CONVICTED,
    Judgement,
    JudgementSuspended,
    JudgePolicy,
    Side,
    SideChanged,
    SideName,
    Verdict,
    VerdictChanged,
)


class Judge:
    """The judge of one connection, from ``now`` on. ``pauses`` are those of this process; all judges share them."""

    __slots__ = (
        "_answered_at",
        "_echo",
        "_events",
        "_loaded",
        "_opening_at",
        "_opening_since",
        "_over",
        "_phi",
        "_policy",
        "_silent_since",
        "_told_suspended",
        "_write",
        "_writing_since",
        "pauses",
        "silent",
        "since",
        "verdict",
        "why",
    )

    def __init__(self, policy: JudgePolicy, pauses: LocalPauses, now: float) -> None:
        self._policy = policy
        self.pauses = pauses
        self._phi = PhiDetector(
            0.0, accepted_pause=policy.accepted_pause, min_deviation=policy.min_deviation, maximum=policy.limit
        )
        self._events: list[Event] = []
        self._write = self._echo = Side.STALE
        self._silent_since: float | None = None
        self._writing_since: float | None = None
        self._opening_since: float | None = None
        self._opening_at: float | None = None
        self._answered_at: float | None = None
        self._loaded = 0
        self._told_suspended = False
        self._over = False
        self.verdict = Verdict.REOPEN
        self.since = now
        self.silent = False
        self.why = "no stream was opened yet"

    @property
    def operational(self) -> bool:
        """Whether both sides are alive."""
        return self._write is Side.ALIVE and self._echo is Side.ALIVE

    def judgement(self, now: float) -> Judgement:
        """Return what is thought at ``now``."""
        silent = self._silent_since
        excused = 0.0 if silent is None else self.pauses.excused(silent, now)
        phi = 0.0 if silent is None else self._phi.phi(now - silent - excused)
        return Judgement(self.verdict, self.since, self.why, self._write, self._echo, phi, excused)

    @property
    def news(self) -> bool:
        """Whether something changed since the last :meth:`take_events`."""
        return bool(self._events)

    def take_events(self) -> list[Event]:
        """Return what changed since the last call, oldest first."""
        if not self._events:
            return []
        events, self._events = self._events, []
        return events

    def next_wakeup(self, now: float) -> float | None:
        """Return the instant at which to call :meth:`wake`; ``None`` while nothing is awaited."""
        if self._over or (self._silent_since is self._writing_since is self._opening_since is None):
            return None
        if self._silent_since is not None and self._echo is Side.ALIVE and self._opening_since is None:
            # The way of each beat: its echo becomes unusually late before anything else can be.
            unusual = self._phi.patience(self._policy.threshold, accept_pause=False)
            return self._due(self._silent_since, unusual, now)
        return min(self._pending(now), default=None)

    def wake(self, now: float) -> None:
        """Judge what is overdue at ``now``."""
        if self._over:
            return
        if self._opening_since is not None and now >= self._due(self._opening_since, self._policy.limit, now):
            self._opening_since = None
            self._enter(now, Verdict.DOWN, f"no answer for {self._policy.limit:g} s", silent=True)
        unusual = self._phi.patience(self._policy.threshold, accept_pause=False)
        if self._writing_since is not None and now >= self._due(self._writing_since, unusual, now):
            self._turn(now, "write", Side.STALE)
        if self._silent_since is not None:
            self._judge_silence(self._silent_since, unusual, now)

    def apply(self, event: Event) -> None:
        """Take in an event of the heartbeat; those that say nothing about the peer are ignored."""
        now = event.at
        if self._over:
            return
        if isinstance(event, BeatAcked):
            self._acked(event)
        elif isinstance(event, BeatSent):
            self._writing_since = now
            if self._silent_since is None:
                self._silent_since = now
        elif isinstance(event, BeatMissed):
            if self.pauses.suspended_by(now) is None:
                self._turn(now, "write" if event.why == "not written" else "echo", Side.STALE)
                self._suspect(now, f"{event.consecutive} in a row {event.why}")
            self.wake(now)
        elif isinstance(event, LateEcho):
            self._phi.add(event.rtt)
            self.transport_answered(now)
            self._silent_since = event.waiting_since
            if event.waiting_since is None:
                self._writing_since = None
            self._judge_late_load(now, event.ack.load)
        elif isinstance(event, StreamOpening):
            self._opening_at = now
            if self._opening_since is None and not self.verdict.convicts:
                self._opening_since = now
        elif isinstance(event, StreamOpened):
            self._answered_at = now
            self._turn_both(now, Side.ALIVE)
        elif isinstance(event, StreamFailed):
            self._failed(event)
            self._end_stream(now)
        elif isinstance(event, PeerLeft):
            self._answered(now, f"the peer said goodbye: {event.message or event.reason.name.lower()}")
            self._end_stream(now)
        elif isinstance(event, StreamClosed):
            self._end_stream(now)
        elif isinstance(event, HeartbeatClosed):
            self._over = True

    def written(self, now: float) -> None:
        """Note that the transport took what was written last."""
        self._writing_since = None
        if self._write is Side.STALE:
            self._turn(now, "write", Side.ALIVE)

    def write_failed(self, now: float, why: str) -> None:
        """Note that the transport refused a write. Both sides are out until a new stream is opened."""
        self._writing_since = None
        self._turn_both(now, Side.WRITE_FAILED)
        self._suspect(now, f"a beat could not be written: {why}")

    def transport_answered(self, now: float) -> None:
        """Note proof that the peer's transport is alive, whatever its application does."""
        self._answered_at = now
        if self.verdict is Verdict.DOWN and (self._opening_at is not None or self._silent_since is not None):
            self._enter(now, Verdict.STUCK, "silence, but the transport answers", silent=True)

    def gave_up(self, now: float, why: str) -> None:
        """Note that the driver has waited long enough for the first answer on the present stream."""
        self._opening_since = None
        self._convict(now, why)

    def _acked(self, event: BeatAcked) -> None:
        now = event.at
        self._phi.add(event.rtt)
        self._answered_at = now
        self._silent_since = self._writing_since = self._opening_since = None
        self._told_suspended = False
        self._turn_both(now, Side.ALIVE)
        self._judge_load(now, event.ack.load)

    def _judge_load(self, now: float, load: Load | None) -> None:
        worst, what = worst_delay(load)
        if self._workers_stuck(now, worst, what):
            return
        calm = worst < self._policy.overloaded / (2 if self.verdict is Verdict.OVERLOADED else 1)
        self._loaded = 0 if calm else self._loaded + 1
        if calm:
            self._enter(now, Verdict.UP, "the last beat was echoed")
        elif self.verdict is not Verdict.OVERLOADED:
            loaded = self._loaded >= self._policy.persist
            self._enter(now, Verdict.OVERLOADED if loaded else Verdict.UP, f"{what} {worst:.2g} s")

    def _judge_late_load(self, now: float, load: Load | None) -> None:
        """What a late echo says of the load may explain why it was late; it never says that all is well."""
        worst, what = worst_delay(load)
        if self._workers_stuck(now, worst, what) or worst < self._policy.overloaded:
            return
        self._loaded += 1
        if self.verdict in (Verdict.UP, Verdict.LATE) and self._loaded >= self._policy.persist:
            self._enter(now, Verdict.OVERLOADED, f"echoes come late, {what} {worst:.2g} s")

    def _workers_stuck(self, now: float, worst: float, what: str) -> bool:
        if what != "queue delay" or worst < self._policy.limit:
            return False
        self._enter(now, Verdict.STUCK, f"echoes come, but work has waited for a worker for {worst:.2g} s", silent=True)
        return True

    def _judge_silence(self, silent: float, unusual: float, now: float) -> None:
        patience = self._phi.patience(self._policy.threshold)
        if now >= self._due(silent, patience, now):
            self._convict(now, f"no echo for {now - silent:.2g} s")
            return
        if now >= self._due(silent, unusual, now):
            self._turn(now, "echo", Side.STALE)
            self._suspect(now, f"no echo for {now - silent:.2g} s, which is unusual")
        if now >= silent + patience:
            self._suspend(now, silent)

    def _suspend(self, now: float, silent: float) -> None:
        if not self._told_suspended:
            self._told_suspended = True
            last = self.pauses.last
            cause: PauseCause = "late tick" if last is None else last.cause
            self._events.append(JudgementSuspended(now, self.pauses.excused(silent, now), cause))

    def _convict(self, now: float, why: str) -> None:
        if self._write is not Side.WRITE_FAILED:
            self._turn(now, "echo", Side.STALE)
        answered = self._answered_at is not None and self._fresh(self._answered_at, now)
        if answered:
            self._enter(now, Verdict.STUCK, f"{why}, but the transport answers", silent=True)
        else:
            self._enter(now, Verdict.DOWN, why, silent=True)

    def _fresh(self, answered_at: float, now: float) -> bool:
        """Tell whether the transport has answered since the silence began, within the limit, or since the stream was opened."""
        silent = self._silent_since
        if silent is None and self._opening_at is not None:
            return answered_at >= self._opening_at
        return (silent is None or answered_at > silent) and now < self._due(answered_at, self._policy.limit, now)

    def _failed(self, event: StreamFailed) -> None:
        now, why = event.at, event.why
        if event.cause == "silent":
            self._failed_silently(now, why)
        elif event.cause == "unsupported":
            self._settle()
            self._enter(now, Verdict.UP, "the peer answers and knows no heartbeats")
        elif event.cause == "refused":
            self._answered(now, why)
        elif event.cause == "unclear":
            self._reopen(now, why, unless=(*CONVICTED, Verdict.LATE))
        elif not event.opened:
            self._enter(now, Verdict.DOWN, why)
        else:
            self._reopen(now, why, unless=CONVICTED)

    def _failed_silently(self, now: float, why: str) -> None:
        since, patience = self._silent_since, self._phi.patience(self._policy.threshold)
        if since is None:
            since, patience = self._opening_at, self._policy.limit
        if since is not None and self.pauses.excused(since, now) > 0 and now < self._due(since, patience, now):
            self._suspend(now, since)
            self._reopen(now, f"{why}, while this process did not run", unless=CONVICTED)
        else:
            self._convict(now, why)

    def _answered(self, now: float, why: str) -> None:
        """The peer wants no stream at present: an answer, which starts the wait for the next one anew."""
        self._settle()
        self._enter(now, Verdict.REOPEN, why)

    def _reopen(self, now: float, why: str, *, unless: tuple[Verdict, ...]) -> None:
        if self.verdict not in unless:
            waiting = self._silent_since if self._opening_since is None else self._opening_since
            self._settle()
            self._opening_since = waiting
            self._enter(now, Verdict.REOPEN, why)

    def _end_stream(self, now: float) -> None:
        self._silent_since = self._writing_since = None
        self._opening_at = None
        if self._write is not Side.WRITE_FAILED:
            self._turn_both(now, Side.STALE)

    def _settle(self) -> None:
        self._silent_since = self._writing_since = self._opening_since = None
        self._told_suspended = False

    def _suspect(self, now: float, why: str) -> None:
        if self.verdict in (Verdict.UP, Verdict.LATE):  # an overload explains it
            self._enter(now, Verdict.LATE, why)

    def _due(self, since: float, seconds: float, now: float) -> float:
        """Return when ``seconds`` have passed since ``since`` in which this process ran, as far as is known at ``now``."""
        return since + seconds + self.pauses.excused(since, now)

    def _pending(self, now: float) -> list[float]:
        """Return when each thing that is awaited becomes overdue; what is overdue already is not among them."""
        due: list[float] = []
        if self._opening_since is not None:
            due.append(self._due(self._opening_since, self._policy.limit, now))
        unusual = self._phi.patience(self._policy.threshold, accept_pause=False)
        if self._writing_since is not None and self._write is Side.ALIVE:
            due.append(self._due(self._writing_since, unusual, now))
        if self._silent_since is not None:
            if self._echo is Side.ALIVE:
                due.append(self._due(self._silent_since, unusual, now))
            if self.verdict is not Verdict.DOWN:
                due.append(self._conviction(self._silent_since, now))
        return due

    def _conviction(self, silent: float, now: float) -> float:
        """Return when silence convicts, or when a peer that is convicted of being stuck is convicted of being down."""
        convicted = self._due(silent, self._phi.patience(self._policy.threshold), now)
        if self.verdict is Verdict.STUCK and self._answered_at is not None:
            return max(convicted, self._due(self._answered_at, self._policy.limit, now))
        return convicted

    def _turn_both(self, now: float, after: Side) -> None:
        self._turn(now, "write", after)
        self._turn(now, "echo", after)

    def _turn(self, now: float, side: SideName, after: Side) -> None:
        before = self._write if side == "write" else self._echo
        if before is after:
            return
        if side == "write":
            self._write = after
        else:
            self._echo = after
        self._events.append(SideChanged(now, side, before, after))

    def _enter(self, now: float, verdict: Verdict, why: str, *, silent: bool = False) -> None:
        self.why = why
        self.silent = silent
        if verdict is not self.verdict:
            before, self.verdict, self.since = self.verdict, verdict, now
            self._events.append(VerdictChanged(now, before, verdict, why))

"""The circuit breaker of one channel, moved by its heartbeats; no I/O, ``now`` is an argument.

    CLOSED ──(misses in a row, or a conviction)──▶ OPEN ──(back-off is over)──▶ HALF_OPEN ──(probes echoed)──▶ CLOSED
                                                    ▲                              │
                                                    └────────(a probe failed)──────┘

Only heartbeats and probes move it. The outcome of a business call never does: a call that was cancelled, or ended by a deadline
that it inherited, says nothing about the peer, and of the rest the heartbeat knows sooner.

Each time it opens, a new *generation* begins: the connection of the one before is given up, and a fresh one is made for the
next probe. Everything that is reported carries the generation of the connection it was seen on, and reports of an older one
are ignored, however late they come. So each effect happens once: however many misses and convictions tell of one dead
connection, there is one :class:`BreakerOpened`.

What the driver does
--------------------
- It reports ``acked``, ``missed`` and ``convict`` with the generation under which the beat's connection was made.
- Before each call it looks at ``snapshot``, an attribute that holds a frozen value: no lock. While ``closed`` the call goes on.
  Else it fails with :meth:`Breaker.refusal`, or waits for ``BreakerClosed`` within its own budget (``policy.when_open``).
- It calls ``wake(now)`` at ``next_wakeup()``. In HALF_OPEN it asks ``probe(now)``: if that returns a :class:`Probe`, it sends a
  beat on a fresh connection (of ``probe.generation``) and hands the outcome to ``probed``, once. A probe that is given up for
  reasons of our own is handed in as CANCELLED: nothing is counted. One probe is under way at a time.
- It delivers ``take_events()`` after each call, and does what they ask: on ``BreakerOpened`` drop the connections older than
  ``generation``, end the calls in flight on them with its reason if they would hang (``silent``), and tell health board and
  registry; on ``BreakerClosed`` tell them the contrary and let waiting calls go.

One thread at a time calls the methods; ``snapshot`` may be read by any.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace

from grpc_heartbeat.config import BreakerPolicy
from grpc_heartbeat.core.backoff import Backoff
from grpc_heartbeat.core.events import Event


class BreakerState(enum.Enum):
    """Whether calls are let through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class ProbeOutcome(enum.Enum):
    """How a probe ended. CANCELLED: by ourselves, or by a deadline that it inherited; says nothing about the peer."""

    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Probe:
    """Leave to ask the peer once, on a connection of ``generation``."""

    generation: int
    number: int


@dataclass(frozen=True, slots=True)
class BreakerOpened(Event):
    """Calls are not let through any more. ``generation`` is that of the connections to make from now on.

    ``pause``: seconds until the next probe. ``again``: a probe failed; the breaker was not closed in between. ``silent``: the
    connection still stands and says nothing, so that calls on it would hang; else it was lost or refused.
    """

    generation: int
    why: str
    pause: float
    again: bool
    silent: bool = True


@dataclass(frozen=True, slots=True)
class BreakerProbing(Event):
    """The breaker is half open: probes of ``generation`` may be made."""

    generation: int


@dataclass(frozen=True, slots=True)
class BreakerClosed(Event):
    """Calls are let through again, after ``open_for`` seconds."""

    generation: int
    open_for: float


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """A breaker at one instant. Instants are monotonic seconds.

    ``since``: when ``state`` was entered. ``opened_at``: when it left CLOSED, ``None`` while closed. ``why``: the last reason
    to open, or ``""``. ``misses``: in a row. ``retry_at``: when the next probe may be made, while OPEN. ``opened``: how often
    it has left CLOSED.
    """

    state: BreakerState
    since: float
    generation: int = 0
    misses: int = 0
    opened_at: float | None = None
    why: str = ""
    retry_at: float | None = None
    opened: int = 0

    @property
    def closed(self) -> bool:
        """Whether calls are let through."""
        return self.state is BreakerState.CLOSED


class Breaker:
    """A breaker, closed at ``now``.

    Args:
        random: Returns a number in [0, 1), for the jitter of the back-off.
    """

    __slots__ = ("_backoff", "_echoed", "_events", "_policy", "_probes", "_under_way", "snapshot")

    def __init__(self, policy: BreakerPolicy, random: Callable[[], float], now: float) -> None:
        self._policy = policy
        self._backoff = Backoff(policy.open_min, policy.open_max, random)
        self._events: list[Event] = []
        self._probes = 0
        self._under_way: Probe | None = None
        self._echoed = 0
        self.snapshot = BreakerSnapshot(BreakerState.CLOSED, now)

    @property
    def generation(self) -> int:
        """The generation of connections that are made now."""
        return self.snapshot.generation

    def take_events(self) -> list[Event]:
        """Return what happened since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    def refusal(self, now: float) -> str:
        """Return what a call is told that is not let through: since when, why, and when the peer is asked again."""
        known = self.snapshot
        opened_at = now if known.opened_at is None else known.opened_at
        if known.retry_at is None:
            following = "it is being probed now"
        else:
            following = f"it is probed again in {max(0.0, known.retry_at - now):.2g} s"
        return f"the heartbeat breaker has been open for {now - opened_at:.2g} s ({known.why}); {following}"

    def acked(self, generation: int, now: float) -> None:
        """Note an echo in time on a connection of ``generation``."""
        known = self.snapshot
        if generation != known.generation:
            return
        if known.state is BreakerState.CLOSED:
            if known.misses:
                self.snapshot = replace(known, misses=0)
        elif known.state is BreakerState.HALF_OPEN:
            self._count_echo(now)

    def missed(self, generation: int, now: float, why: str = "not echoed") -> None:
        """Note a beat that was missed on a connection of ``generation``."""
        known = self.snapshot
        if generation != known.generation or known.state is BreakerState.OPEN:
            return
        misses = known.misses + 1
        self.snapshot = replace(known, misses=misses)
        if misses >= self._policy.misses or not known.closed:
            self._open(now, f"{misses} beat{'s' if misses > 1 else ''} in a row {why}")

    def convict(self, generation: int, now: float, why: str, *, silent: bool = True) -> None:
        """Open because the peer was convicted, on a connection of ``generation``, for the reason ``why``."""
        if generation == self.snapshot.generation and self.snapshot.state is not BreakerState.OPEN:
            self._open(now, why, silent=silent)

    def next_wakeup(self) -> float | None:
        """Return the instant at which to call :meth:`wake`; ``None`` unless the breaker is open."""
        return self.snapshot.retry_at

    def wake(self, now: float) -> None:
        """Let probes through if the back-off is over at ``now``."""
        known = self.snapshot
        if known.retry_at is not None and now >= known.retry_at:
            self._echoed = 0
            self.snapshot = replace(known, state=BreakerState.HALF_OPEN, since=now, misses=0, retry_at=None)
            self._events.append(BreakerProbing(now, known.generation))

    def probe(self, now: float) -> Probe | None:
        """Return leave to probe, if a probe is due and none is under way."""
        self.wake(now)
        known = self.snapshot
        if known.state is not BreakerState.HALF_OPEN or self._under_way is not None:
            return None
        self._probes += 1
        self._under_way = probe = Probe(known.generation, self._probes)
        return probe

    def probed(self, probe: Probe, outcome: ProbeOutcome, now: float, why: str = "the probe was not echoed") -> None:
        """Take the outcome of ``probe``. Only the first one counts, and only while its generation does."""
        if probe != self._under_way:
            return
        self._under_way = None
        if outcome is ProbeOutcome.OK:
            self._count_echo(now)
        elif outcome is ProbeOutcome.FAILED:
            self._open(now, why)

    def _count_echo(self, now: float) -> None:
        self._echoed += 1
        if self._echoed >= self._policy.successes:
            self._close(now)

    def _open(self, now: float, why: str, *, silent: bool = True) -> None:
        known = self.snapshot
        again = not known.closed
        pause = self._backoff.pause()
        self._under_way = None
        self.snapshot = BreakerSnapshot(
            BreakerState.OPEN,
            now,
            known.generation + 1,
            known.misses,
            known.opened_at if again else now,
            why,
            now + pause,
            known.opened + (not again),
        )
        self._events.append(BreakerOpened(now, known.generation + 1, why, pause, again, silent))

    def _close(self, now: float) -> None:
        known = self.snapshot
        open_for = 0.0 if known.opened_at is None else now - known.opened_at
        self._backoff.reset()
        self._under_way = None
        self.snapshot = BreakerSnapshot(BreakerState.CLOSED, now, known.generation, opened=known.opened)
        self._events.append(BreakerClosed(now, known.generation, open_for))

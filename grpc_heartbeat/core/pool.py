"""Which connection of a pool gets a call, and which of them are still alive, without I/O.

Theory of operation
-------------------
A pool has ``size`` seats with a *member* on each: one connection, from its making to its end. It is made by its first call.

A call goes to the member with the fewest calls in flight. Among equals one that has been proven comes first, so that a pool has
no more connections than are needed at a time, and one to be replaced before one that was never there; of those, the one whose
turn it is.

A *sign of life* is a call that the peer answered, or a probe. A member without one for ``idle`` seconds is given no call. So it
is *probed* so long before that the answer, or its absence, is there in time. A call that ended without an answer puts its
member in *doubt*: it is probed at once and given calls only where there is no other. A member whose probe is not answered is
*stale*, for good. The next call that wants it, or that finds nothing better, has it *rebuilt*: a new member takes its seat,
the old one is *retired* and to be closed once its last call has ended.

What else the driver knows about a member, such as its heartbeat's verdict, it may say by *shunning* it: then it is given calls
only where there is no other, but neither probed nor rebuilt for that.

A peer that is down answers nobody. So a member that replaces one which never showed life is trusted for twice as long before it
is doubted, at most ``idle`` seconds: rebuilding is not to be a way around gRPC's own pauses between its attempts to connect.

If this process was stopped for a while, probes come too late and nobody is proven any more: then one member is rebuilt, and the
probes of the others tell. A probe that was out meanwhile is repeated, and convicts nobody.

What the driver does, under a lock of its own: ``pick`` before a call and ``done`` after it; at ``next_wakeup`` it sends a probe
to each member of ``due`` and reports by ``probed``; it closes what ``take_retired`` returns. What the driver
keeps for each member is made by ``hold``, at once, so it must be cheap to make.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from grpc_heartbeat.config import PoolPolicy

Held = TypeVar("Held")

_FREE = (0, 0, 0)
"""What a call costs on a live member without others."""


class Outcome(enum.Enum):
    """What the end of a call says about its connection."""

    ANSWERED = "the peer answered"
    UNANSWERED = "the peer did not answer"
    UNKNOWN = "nothing"


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """A pool at one instant, and what it has done so far.

    Attributes:
        size: Seats.
        unused: Seats whose connection was never asked for.
        live: Connections that have shown a sign of life within the policy's ``idle`` seconds and are not in doubt.
        stale: Connections that did not answer their probe and will be replaced.
        in_flight: Calls that have not ended.
        calls: Calls so far.
        reused: Those that went out on a connection which was live then.
        probes: Probes that were sent.
        answered: Those that were answered.
        silent: Those that were not.
        put_off: Those that were not, but in which this process did not run, so that they are repeated.
        rebuilds: Connections that replaced others.
        connections: Connections that were asked for, replaced ones included.
        retired: Connections that were replaced and have calls that have not ended.
        ready: Those that the transport says are established now; ``None`` where it cannot be asked.
    """

    size: int
    unused: int
    live: int
    stale: int
    in_flight: int
    calls: int
    reused: int
    probes: int
    answered: int
    silent: int
    put_off: int
    rebuilds: int
    connections: int
    retired: int
    ready: int | None = None

    @property
    def reuse_rate(self) -> float:
        """Share of the calls, from 0 to 1, that found a live connection; 0 before the first."""
        return self.reused / self.calls if self.calls else 0.0


class PoolMember(Generic[Held]):
    """One connection. ``seat``, ``held`` and ``in_flight`` are the driver's to read, the rest is the pool's."""

    __slots__ = (
        "doubted",
        "held",
        "in_flight",
        "probed_at",
        "proven",
        "retired",
        "seat",
        "seen",
        "shunned",
        "stale",
        "trusted",
    )

    def __init__(self, seat: int, held: Held, trusted: float) -> None:
        self.seat = seat
        self.held = held
        self.trusted = trusted
        """Seconds after a sign of life in which calls that are not answered raise no doubt."""
        self.in_flight = 0
        self.seen = math.inf
        """When it last showed a sign of life, at first when it was asked for; endless before that."""
        self.proven = self.doubted = self.stale = self.retired = False
        self.shunned = False
        """Whether the driver would rather see no calls there now; set by it at any time."""
        self.probed_at: float | None = None
        """When the probe that is out was sent."""


class Pool(Generic[Held]):
    """The seats and the counts.

    Args:
        hold: Makes what a new member has, without blocking.
    """

    def __init__(self, policy: PoolPolicy, hold: Callable[[], Held]) -> None:
        self._idle = policy.idle
        self._patience = policy.probe_timeout
        self._hold = hold
        self.members = [PoolMember(seat, hold(), self._patience) for seat in range(policy.size)]
        """Those that sit, one on each seat."""
        self.retired: set[PoolMember[Held]] = set()
        """Those that do not, and have calls in flight."""
        self._ended: list[PoolMember[Held]] = []
        self._turn = 0
        self._calls = self._reused = self._rebuilds = self._connections = 0
        self._probes = self._answered = self._silent = self._put_off = 0

    def pick(self, now: float) -> PoolMember[Held]:
        """Return the member for a call that starts now, rebuilt if need be. Each pick is followed by one ``done``."""
        member = self._best(now)
        if member.stale or self._unproven(member, now):
            member = self._rebuild(member)
        elif member.proven:
            self._reused += 1
        if member.seen == math.inf:
            member.seen = now
            self._connections += 1
        self._calls += 1
        member.in_flight += 1
        self._turn = (member.seat + 1) % len(self.members)
        return member

    def done(self, member: PoolMember[Held], now: float, outcome: Outcome) -> None:
        """Note that a call of ``member`` ended."""
        member.in_flight -= 1
        if outcome is Outcome.ANSWERED:
            self._alive(member, now)
        elif outcome is Outcome.UNANSWERED and now - member.seen >= member.trusted:
            member.doubted = True
        if member.retired and not member.in_flight:
            self.retired.discard(member)
            self._ended.append(member)

    def next_wakeup(self) -> float | None:
        """Return the instant at which to ask ``due``; -inf for at once, ``None`` for when nothing changes."""
        return min((self._due_at(member) for member in self.members if self._waits(member)), default=None)

    def due(self, now: float) -> list[PoolMember[Held]]:
        """Return the members to be probed now. Each is reported by one ``probed``."""
        found = [member for member in self.members if self._waits(member) and self._due_at(member) <= now]
        for member in found:
            member.probed_at = now
        self._probes += len(found)
        return found

    def probed(self, member: PoolMember[Held], now: float, answered: bool, excused: float = 0.0) -> None:
        """Note the outcome of a probe. ``excused``: seconds of those it took in which this process did not run."""
        if member.probed_at is None:
            return
        member.probed_at = None
        if answered:
            self._answered += 1
            self._alive(member, now)
        elif excused > 0:
            self._put_off += 1
            member.doubted = True
        else:
            self._silent += 1
            member.stale = True

    def take_retired(self) -> list[PoolMember[Held]]:
        """Return the members to be closed: retired since the last call, and without calls in flight."""
        ended, self._ended = self._ended, []
        return ended

    def snapshot(self, now: float) -> PoolSnapshot:
        """Return what is known now."""
        members = self.members
        return PoolSnapshot(
            size=len(members),
            unused=sum(member.seen == math.inf for member in members),
            live=sum(self._live(member, now) for member in members),
            stale=sum(member.stale for member in members),
            in_flight=sum(member.in_flight for member in (*members, *self.retired)),
            calls=self._calls,
            reused=self._reused,
            probes=self._probes,
            answered=self._answered,
            silent=self._silent,
            put_off=self._put_off,
            rebuilds=self._rebuilds,
            connections=self._connections,
            retired=len(self.retired),
        )

    def _best(self, now: float) -> PoolMember[Held]:
        turn = self._turn
        best, least = None, _FREE
        for member in (*self.members[turn:], *self.members[:turn]):
            cost = self._cost(member, now)
            if cost == _FREE:
                return member
            if best is None or cost < least:
                best, least = member, cost
        assert best is not None
        return best

    def _cost(self, member: PoolMember[Held], now: float) -> tuple[int, int, int]:
        """Return how dear a call is there: by trust, then by load, then by what there is to do first."""
        if member.stale:
            return 0, 0, 1
        if self._unproven(member, now):
            return 2, 0, 0
        return int(member.doubted or member.shunned), member.in_flight, 0 if member.proven else 2

    def _unproven(self, member: PoolMember[Held], now: float) -> bool:
        """Whether nothing was heard of it for so long that it is given no call."""
        return now >= member.seen + self._idle

    def _live(self, member: PoolMember[Held], now: float) -> bool:
        bad = member.stale or member.doubted or member.shunned or self._unproven(member, now)
        return member.proven and not bad

    def _waits(self, member: PoolMember[Held]) -> bool:
        return member.seen != math.inf and member.probed_at is None and not member.stale

    def _due_at(self, member: PoolMember[Held]) -> float:
        return -math.inf if member.doubted else member.seen + self._idle - self._patience

    def _alive(self, member: PoolMember[Held], now: float) -> None:
        member.seen = now
        member.proven = True
        member.doubted = False

    def _rebuild(self, old: PoolMember[Held]) -> PoolMember[Held]:
        old.retired = True
        if old.in_flight:
            self.retired.add(old)
        else:
            self._ended.append(old)
        self._rebuilds += 1
        trusted = self._patience if old.proven else min(2 * old.trusted, self._idle)
        self.members[old.seat] = new = PoolMember(old.seat, self._hold(), trusted)
        return new

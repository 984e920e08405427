"""The connections of one pooled channel: what the drivers of both stacks share.

A member's channel is a ``Channel`` of ours with everything that was asked for, made by its first call. Calls are counted around
blocking ones, and from start to end for those with call objects. The pool is one member of the wheel (``_ticks.py``), whatever
its size: there it probes what has been idle for too long.

A probe is a heartbeat Ping on the member's own channel; where the peer knows none, a health Check. Any answer will do, even
that neither is known: who says so is the peer's application, over that connection. A member whose own heartbeat is up needs
none.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._ticks import Ticks
from grpc_heartbeat._timers import clock
from grpc_heartbeat.channel.pools import remember
from grpc_heartbeat.config import PoolPolicy
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.pool import Outcome, Pool, PoolMember, PoolSnapshot
from grpc_heartbeat.core.verdicts import VerdictChanged
from grpc_heartbeat.core.wheel import Member, grain_of
from grpc_heartbeat.errors import EndedCall
from grpc_heartbeat.heartbeat.calls import PING

CHECK = "/grpc.health.v1.Health/Check"

_CLOSED = Outcome.UNKNOWN
_CODES = {
    grpc.StatusCode.UNAVAILABLE: Outcome.UNANSWERED,
    grpc.StatusCode.DEADLINE_EXCEEDED: Outcome.UNANSWERED,
    grpc.StatusCode.CANCELLED: _CLOSED,  # here or there; who closes a channel has its calls end so, too
}


class _Connected(Protocol):
    """A channel of ours, of either stack."""

    @property
    def connection(self) -> Any:
        """What is known of its connection."""


ChannelT = TypeVar("ChannelT", bound=_Connected)


def outcome_of(code: object) -> Outcome:
    """Return what a call's status says about its connection."""
    return _CODES.get(code, Outcome.ANSWERED) if isinstance(code, grpc.StatusCode) else Outcome.UNKNOWN


def outcome_of_call(call: Any) -> Outcome:
    """Return what a sync call that is over says about its connection; one that was not sent says nothing."""
    sent = isinstance(call, grpc.Call) and not isinstance(call, EndedCall)
    return outcome_of(call.code()) if sent else Outcome.UNKNOWN


class Held(Generic[ChannelT]):
    """What a member has: its channel, made when it is first asked for, and what it is probed by."""

    __slots__ = ("_began", "_closed", "_lock", "_make", "made", "probe")

    def __init__(self, make: Callable[[], ChannelT], began: Callable[[ChannelT], None]) -> None:
        self._make = make
        self._began = began
        self._lock = threading.Lock()
        self._closed = False
        self.made: ChannelT | None = None
        self.probe = PING

    def channel(self) -> ChannelT:
        """Return the channel.

        Raises:
            ValueError: the pool was closed before it was made.
        """
        if self.made is None:
            with self._lock:
                if self._closed:
                    raise ValueError("Cannot invoke RPC on closed channel!")  # grpcio's own words
                begins = self.made is None
                if self.made is None:
                    self.made = self._make()
            if begins:
                self._began(self.made)
        return self.made

    def close(self) -> ChannelT | None:
        """Have no channel made any more; return the one to be closed."""
        with self._lock:
            self._closed = True
            return self.made


class ChannelPool(Generic[ChannelT]):
    """The connections behind a pooled channel, as its ``pool`` attribute: ask it for a :meth:`snapshot`.

    Args:
        make: Makes a member's channel.
        policy: How many there are and when they are probed.
        target: What they are connections to, for metrics.

    Attributes:
        policy: The policy.
        target: The target.
        closed: Whether the channel was closed.
    """

    def __init__(self, make: Callable[[], ChannelT], policy: PoolPolicy, target: str = "") -> None:
        self.policy = policy
        self.target = target
        self.closed = False
        self._pool: Pool[Held[ChannelT]] = Pool(policy, lambda: Held(make, self._began))
        self._lock = threading.Lock()
        self._dropped: deque[PoolMember[Held[ChannelT]]] = deque()
        self._prober = _Prober(self)
        self._wheel: Ticks | None = None
        remember(self)

    def snapshot(self) -> PoolSnapshot:
        """Return the state of the connections and what the pool has done so far."""
        return replace(self.counts(), ready=self._ready())

    def counts(self) -> PoolSnapshot:
        """Return the same without asking gRPC what is established; from any thread."""
        with self._lock:
            self._count_dropped()
            return self._pool.snapshot(clock())

    def channels(self) -> list[ChannelT]:
        """Return the members' channels, as far as they were needed yet."""
        return [member.held.made for member in list(self._pool.members) if member.held.made is not None]

    def take(self) -> PoolMember[Held[ChannelT]]:
        """Return the member for a call that starts now; it counts until :meth:`give_back`."""
        if self.closed:
            return self._pool.members[0]  # whose channel is closed: the call ends as on any closed channel
        with self._lock:
            member = self._pool.pick(clock())
            ended = self._pool.take_retired()
        if self._prober.slot is None:
            self._wake_prober()
        if ended:
            self._close_ended(ended)
        return member

    def give_back(self, member: PoolMember[Held[ChannelT]], outcome: Outcome) -> None:
        """Note that a call of ``member`` ended."""
        if self.closed:
            return
        with self._lock:
            self._pool.done(member, clock(), outcome)
            if self._dropped:
                self._count_dropped()
            doubted = member.doubted
            ended = self._pool.take_retired()
        if doubted:
            self._wake_prober()
        if ended:
            self._close_ended(ended)

    def dropped(self, member: PoolMember[Held[ChannelT]]) -> None:
        """Have a call of ``member`` counted as ended that the application has dropped, soon and without taking a lock.

        For the garbage collector, which may run in a thread that is in here already.
        """
        self._dropped.append(member)

    def _count_dropped(self) -> None:
        while self._dropped:
            self._pool.done(self._dropped.popleft(), clock(), Outcome.UNKNOWN)

    def turn(self) -> float | None:
        """Send the probes that are due; return when there will be others."""
        with self._lock:
            self._count_dropped()
            due = [] if self.closed else self._pool.due(clock())
            ended = [] if self.closed else self._pool.take_retired()
        if ended:
            self._close_ended(ended)
        for member in due:
            try:
                self._begin_probe(member)
            except Exception as error:  # a channel that is being closed, interceptors of the application's
                self._probed(member, Outcome.UNANSWERED)
                if not (self.closed or member.retired):
                    _faults.record("pool.probe", error)
        return self._next_turn()

    def _next_turn(self) -> float | None:
        with self._lock:
            due = None if self.closed else self._pool.next_wakeup()
        return None if due is None else max(due, clock())

    def _begin_probe(self, member: PoolMember[Held[ChannelT]]) -> None:
        heartbeat: Any = getattr(member.held.made, "heartbeat", None)
        if heartbeat is not None and heartbeat.snapshot().state == "up":
            self._probed(member, Outcome.ANSWERED)
        else:
            # An empty context: it is no request's call and no span's.
            Context().run(self._probe, member)

    def _probe(self, member: PoolMember[Held[ChannelT]]) -> None:
        """Send a probe, whose code is told to :meth:`_answered`."""
        raise NotImplementedError

    def _answered(self, member: PoolMember[Held[ChannelT]], code: object) -> None:
        """Take in the status of a probe."""
        if code is grpc.StatusCode.UNIMPLEMENTED:
            member.held.probe = CHECK
        self._probed(member, outcome_of(code))

    def _probed(self, member: PoolMember[Held[ChannelT]], outcome: Outcome) -> None:
        sent = member.probed_at
        if self.closed or sent is None:
            return
        now = clock()
        excused = 0.0 if self._wheel is None else self._wheel.pauses.excused(sent, now)
        with self._lock:
            self._pool.probed(member, now, outcome is Outcome.ANSWERED, excused)
        self._wake_prober()

    def _wake_prober(self) -> None:
        due = self._next_turn()
        if due is not None:
            if self._wheel is None:
                self._wheel = self._ticks()
            self._wheel.add(self._prober, due)

    def _stop(self) -> list[ChannelT]:
        """Send no probe and count no call any more; return the channels to close, one at least."""
        with self._lock:
            self.closed = True
            members = {*self._pool.members, *self._pool.retired, *self._pool.take_retired()}
        if self._wheel is not None:
            self._wheel.remove(self._prober)
        self._pool.members[0].held.channel()  # which then says that it is closed
        channels = [member.held.close() for member in members]
        return [channel for channel in channels if channel is not None]

    def _began(self, channel: ChannelT) -> None:
        """Note that a member's channel was made: heed its heartbeat, if it has one."""
        heartbeat: Any = getattr(channel, "heartbeat", None)
        if heartbeat is None:
            return
        for member in self._pool.members:
            if member.held.made is channel:
                heartbeat.observers.add(partial(_heed, member))
                member.shunned = heartbeat.snapshot().verdict.convicts

    def _ticks(self) -> Ticks:
        """Return the wheel that turns for this pool."""
        raise NotImplementedError

    def _ready(self) -> int | None:
        """Return how many members' channels are READY, if that can be seen."""
        states: list[str | None] = [channel.connection.state() for channel in self.channels()]
        return None if None in states else states.count(grpc.ChannelConnectivity.READY.name)

    def _close_ended(self, members: list[PoolMember[Held[ChannelT]]]) -> None:
        """Close the channels of retired members, without waiting for it."""
        raise NotImplementedError


def _heed(member: PoolMember[Any], event: Event) -> None:
    if isinstance(event, VerdictChanged):
        member.shunned = event.after.convicts


class _Prober(Member):
    """Has a pool look after its members, as long as somebody has the pool."""

    __slots__ = ("_pool", "grain")

    def __init__(self, pool: ChannelPool[Any]) -> None:
        self.slot = None
        self.grain = grain_of(pool.policy.probe_timeout)
        self._pool = weakref.ref(pool)

    def tick(self, now: float) -> float | None:
        pool = self._pool()
        return None if pool is None else pool.turn()


class Pooled(Generic[ChannelT]):
    """What methods of all kinds share: a multicallable on each member's channel, made when it is needed.

    Args:
        owner: The pooled channel, which a program may hold by its methods only.
        method: What the multicallables are made of.
    """

    kind = ""

    def __init__(self, owner: Any, *method: Any) -> None:
        self._owner = owner
        self._pool = owner.pool
        self._method = method
        self._made: list[tuple[PoolMember[Held[ChannelT]], Any] | None] = [None] * owner.pool.policy.size

    def on(self, member: PoolMember[Held[ChannelT]]) -> Any:
        """Return the multicallable of ``member``."""
        made = self._made[member.seat]
        if made is None or made[0] is not member:
            made = (member, getattr(member.held.channel(), self.kind)(*self._method))
            self._made[member.seat] = made
        return made[1]

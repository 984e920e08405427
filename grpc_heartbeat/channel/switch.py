"""Lets the calls of a channel through, or not, and replaces its connection, as the breaker of its heartbeat says.

Theory of operation
-------------------
A *passage* is one connection: the channel that was made for it, and the scope of the calls that run on it. ``Switch.passage``
is the one that calls take, or ``None`` while the breaker is open: each call looks at it once, and takes no lock. It is replaced
as a whole, by the events of the breaker:

- *opened*: no passage. If the old connection stands and is silent, the calls on it are ended with the reason. A fresh passage
  is made, the heartbeat moves there, and its first beat is the probe. The old channel is closed when its last call is done.
- *closed*: the fresh passage is the one that calls take, and those that waited go on.

Where no fresh connection can be made (``wrap_channel``), the fresh passage is a new scope on the same channel.

A heartbeat that is closed while its channel lives on (a fault of ours) cannot close the breaker any more: then calls are let
through. Events come one after the other; calls come from any thread.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from grpc_heartbeat import _faults
from grpc_heartbeat.channel.breaker_face import ChannelBreaker
from grpc_heartbeat.config import BreakerPolicy
from grpc_heartbeat.core.breaker import BreakerClosed, BreakerOpened
from grpc_heartbeat.core.connection_scope import ConnectionScope
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat_events import HeartbeatClosed

AnyChannel = TypeVar("AnyChannel")
Waiter = Callable[[], None]


class Passage(Generic[AnyChannel]):
    """One connection: ``channel``, and the ``scope`` of the calls on it."""

    __slots__ = ("channel", "generation", "scope")

    def __init__(self, channel: AnyChannel, generation: int) -> None:
        self.channel = channel
        self.generation = generation
        self.scope = ConnectionScope()


class Fitter(Protocol[AnyChannel]):
    """How a stack makes, moves to, and closes channels."""

    def make(self, generation: int, /) -> AnyChannel | None:
        """Return a channel with a connection of its own, or ``None`` if none can be made."""

    def moved(self, old: AnyChannel, new: AnyChannel, after: float) -> None:
        """Have the heartbeat, and who watches the channel's state, go on on ``new``; open the stream in ``after`` seconds."""

    def close(self, channel: AnyChannel) -> None:
        """Close a channel on which no call is left; from any thread, and soon."""


class Switch(Generic[AnyChannel]):
    """The switch of one channel, whose first connection is ``first``.

    Attributes:
        over: Whether the channel was closed.
        passage: Where calls go; ``None`` while they may not.
        current: The newest passage, whether calls go there or not.
    """

    def __init__(self, first: AnyChannel, fitter: Fitter[AnyChannel]) -> None:
        self._fitter = fitter
        self._lock = threading.RLock()  # a dropped call may be found, and so end, while it is held
        self._waiters: set[Waiter] = set()
        self._retired: set[Passage[AnyChannel]] = set()
        self.over = False
        self.current: Passage[AnyChannel] = Passage(first, 0)
        self.passage: Passage[AnyChannel] | None = self.current

    def hear(self, event: Event) -> None:
        """Do what an event of the heartbeat asks for. Never raises."""
        try:
            if isinstance(event, BreakerOpened):
                self._open(event)
            elif isinstance(event, (BreakerClosed, HeartbeatClosed)):
                self._let_through()
        except Exception as error:
            _faults.record("channel.switch", error)

    def wait(self, waiter: Waiter) -> bool:
        """Call ``waiter`` once when calls are let through; return False, and do nothing, if they are."""
        with self._lock:
            if self.passage is not None:
                return False
            self._waiters.add(waiter)
            return True

    def leave(self, waiter: Waiter) -> None:
        """Forget ``waiter``."""
        with self._lock:
            self._waiters.discard(waiter)

    def close(self) -> list[AnyChannel]:
        """Say that the channel is being closed, before anything else is. Calls that wait are told, and find ``over``.

        Returns:
            The channels that are left to close, the newest last.
        """
        with self._lock:
            self.over = True
            retired, self._retired = self._retired, set()
        self._let_through()
        return [*(passage.channel for passage in retired), self.current.channel]

    def _open(self, event: BreakerOpened) -> None:
        old = self.current
        with self._lock:
            if self.over:
                return
            self.passage = None
        if event.silent:
            for error in old.scope.convict(event.why):
                _faults.record("channel.convict", error)
        made = self._make(event.generation)
        fresh = Passage(old.channel if made is None else made, event.generation)
        with self._lock:
            over = self.over
            if not over:
                self.current = fresh
                if made is not None:
                    self._retired.add(old)
        if over:  # meanwhile
            if made is not None:
                self._fitter.close(made)
            return
        self._fitter.moved(old.channel, fresh.channel, event.pause)
        if made is not None:
            old.scope.retire(lambda: self._idle(old))

    def _make(self, generation: int) -> AnyChannel | None:
        try:
            return self._fitter.make(generation)
        except Exception as error:
            _faults.record("channel.make", error)
            return None

    def _idle(self, passage: Passage[AnyChannel]) -> None:
        with self._lock:
            mine = passage in self._retired
            self._retired.discard(passage)
        if mine:
            self._fitter.close(passage.channel)

    def _let_through(self) -> None:
        with self._lock:
            self.passage = self.current
            waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            try:
                waiter()
            except Exception as error:
                _faults.record("channel.let_through", error)


class Ears:
    """Hears the events of a heartbeat for the switch, and then for the face of the breaker."""

    __slots__ = ("_breaker", "_switch")

    def __init__(self, switch: Switch[Any], breaker: ChannelBreaker) -> None:
        self._switch = switch
        self._breaker = breaker

    def __call__(self, event: Event) -> None:
        if isinstance(event, (BreakerOpened, BreakerClosed, HeartbeatClosed)):
            self._switch.hear(event)
            self._breaker.hear(event)


def moved_by(heartbeat: Any, channel: Any, policy: BreakerPolicy, name: str) -> ChannelBreaker:
    """Have ``heartbeat`` open and close the switch of ``channel``, until nobody has that channel any more."""
    switch = channel.switch  # what hears for it must not keep the channel, which may be dropped
    breaker = ChannelBreaker(heartbeat, policy, name)
    heartbeat.guard = Ears(switch, breaker)
    heartbeat.unconnected = lambda: switch.current.channel.connection.waited()
    channel.connection.made = weakref.WeakMethod(heartbeat.connected_anew)
    heartbeat.owner = weakref.ref(channel)
    return breaker


def bind(kind: str, arguments: tuple[Any, ...]) -> Callable[[Any], Any]:
    """Return what makes the multicallable of ``kind`` on a channel."""
    return lambda channel: getattr(channel, kind)(*arguments)

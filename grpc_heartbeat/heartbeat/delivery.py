"""Delivery of events in the order in which they happened, outside of any lock, when several threads make them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from grpc_heartbeat import _faults
from grpc_heartbeat._ticks import ticks
from grpc_heartbeat._timers import clock
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.wheel import Member

Source = TypeVar("Source")


class OrderedDelivery(Generic[Source]):
    """A queue that whichever thread comes first empties; others leave their events to it.

    Queue under the lock that orders the events; deliver after releasing it. The receiver gets each event with its source and
    must not raise.
    """

    __slots__ = ("_delivering", "_receiver", "_waiting")

    def __init__(self, receiver: Callable[[Event, Source], None]) -> None:
        self._receiver = receiver
        self._waiting: deque[tuple[Event, Source]] | None = None
        self._delivering = threading.Lock()

    def queue(self, events: Iterable[Event], source: Source) -> None:
        """Add events behind those that wait."""
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.extend((event, source) for event in events)

    def deliver(self) -> None:
        """Hand all waiting events to the receiver, unless another thread (or a caller further up) is doing so."""
        while self._waiting and self._delivering.acquire(blocking=False):
            try:
                while self._waiting:
                    self._receiver(*self._waiting.popleft())
            finally:
                self._delivering.release()


class Teller(Member):
    """Calls what observers wait for on the timer thread, in the order in which it was given, some milliseconds later.

    A heartbeat hears of many things on the thread that serves all calls of a channel. What an application's observer does
    there would hold up those calls, and closing the channel would wait for itself.
    """

    __slots__ = ("_coming", "_thread", "_waiting")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget what waits. In a forked child that is the parent's."""
        self.slot = None
        self._waiting: deque[Callable[[], None]] = deque()
        self._coming = False
        self._thread: int | None = None

    def tell(self, call: Callable[[], None]) -> None:
        """Have ``call`` called; from any thread."""
        self._waiting.append(call)
        if not self._coming:
            self._coming = True
            ticks().add(self, clock())

    def flush(self, limit: float) -> None:
        """Wait until all that was given before has been called, for ``limit`` seconds at most."""
        if self._waiting or self._thread is not None:
            called = threading.Event()
            self.tell(called.set)
            called.wait(limit)

    def telling(self) -> bool:
        """Tell whether the calling thread is just in such a call."""
        return self._thread == threading.get_ident()

    def tick(self, now: float) -> None:
        self._coming = False
        self._thread = threading.get_ident()
        try:
            while self._waiting:
                try:
                    self._waiting.popleft()()
                except Exception as error:
                    _faults.record("heartbeat.tell", error)
        finally:
            self._thread = None


teller = Teller()
"""This process's."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=teller.forget)

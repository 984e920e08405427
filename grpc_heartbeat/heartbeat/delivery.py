"""Delivery of events in the order in which they happened, outside of any lock, when several threads make them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from grpc_heartbeat.core.events import Event

Source = TypeVar("Source")


class OrderedDelivery(Generic[Source]):
    """A queue that whichever thread comes first empties; others leave their events to it.

    Queue under the lock that orders the events; deliver after releasing it. The receiver gets each event with its source and
    must not raise.
    """

    def __init__(self, receiver: Callable[[Event, Source], None]) -> None:
        self._receiver = receiver
        self._waiting: deque[tuple[Event, Source]] = deque()
        self._delivering = threading.Lock()

    def queue(self, events: Iterable[Event], source: Source) -> None:
        """Add events behind those that wait."""
        self._waiting.extend((event, source) for event in events)

    def deliver(self) -> None:
        """Hand all waiting events to the receiver, unless another thread (or a caller further up) is doing so."""
        while self._waiting and self._delivering.acquire(blocking=False):
            try:
                while self._waiting:
                    self._receiver(*self._waiting.popleft())
            finally:
                self._delivering.release()

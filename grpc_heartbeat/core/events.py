"""Events: what the core tells the outside world, and how observers hear of it.

Theory of operation. The core never logs, measures or traces. It describes what happened as a frozen value and hands it to
an ``Observers`` list; telemetry, callbacks and tests are observers of the same values. An observer that raises is removed
after its first failure, because a broken exporter must not slow or break every later beat; the failure is handed to
``on_failure`` so that the driver can log it. An empty list costs one truth test: call ``if observers: observers.emit(...)``,
or on the way of every call ``if observers.listening: ...``, which is no function call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at the monotonic instant ``at`` (seconds)."""

    at: float


Observer: TypeAlias = Callable[[Event], None]
FailureHandler: TypeAlias = Callable[[Observer, Exception], None]


class Observers:
    """The observers of one source of events. Safe to change while an event is being delivered, from any thread.

    Attributes:
        listening: The observers now, in order.
    """

    __slots__ = ("_on_failure", "listening")

    def __init__(self, on_failure: FailureHandler | None = None) -> None:
        self.listening: tuple[Observer, ...] = ()
        self._on_failure = on_failure

    def __bool__(self) -> bool:
        return bool(self.listening)

    def __len__(self) -> int:
        return len(self.listening)

    def add(self, observer: Observer) -> Observer:
        """Deliver later events to ``observer``; returns it, so that this can be used as a decorator."""
        self.listening = (*self.listening, observer)
        return observer

    def remove(self, observer: Observer) -> None:
        """Stop delivering to ``observer``; unknown observers are ignored."""
        self.listening = tuple(other for other in self.listening if other != observer)

    def emit(self, event: Event) -> None:
        """Deliver ``event`` to every observer, in the order in which they were added."""
        for observer in self.listening:
            try:
                observer(event)
            except Exception as error:
                self.remove(observer)
                if self._on_failure is not None:
                    self._on_failure(observer, error)

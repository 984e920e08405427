"""Events: what the core tells the outside world, and how observers hear of it.

Theory of operation. The core never logs, measures or traces. It describes what happened as a frozen value and hands it to
an ``Observers`` list; telemetry, callbacks and tests are observers of the same values. An observer that raises is removed
after its first failure, because a broken exporter must not slow or break every later beat; the failure is handed to
``on_failure`` so that the driver can log it. An empty list costs one truth test: call ``if observers: observers.emit(...)``,
or on the way of every call ``if observers.listening: ...``, which is no function call.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at the monotonic instant ``at`` (seconds)."""

    at: float


Observer: TypeAlias = Callable[[Event], None]
FailureHandler: TypeAlias = Callable[[Observer, Exception], None]
Listener = TypeVar("Listener")


class Listening(Generic[Listener]):
    """Who listens to something. Safe to change while somebody goes through them, from any thread, without a lock.

    The list is changed by single operations of the interpreter. Whoever has changed it copies it until the copy is what the
    list holds *after* the copy was stored; so the copy that is stored last misses nobody's change.

    Attributes:
        listening: They, in order; replaced as a whole.
    """

    __slots__ = ("_all", "listening")

    def __init__(self) -> None:
        self._all: list[Listener] = []
        self.listening: tuple[Listener, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.listening)

    def __len__(self) -> int:
        return len(self.listening)

    def add(self, listener: Listener) -> Listener:
        """Tell ``listener``, too, from now on; returns it, so that this can be used as a decorator."""
        self._all.append(listener)
        self._copy()
        return listener

    def remove(self, listener: Listener) -> None:
        """Tell ``listener`` no more; unknown ones are ignored."""
        with suppress(ValueError):  # raised when it is not there any more
            while True:
                self._all.remove(listener)
        self._copy()

    def _copy(self) -> None:
        self.listening = tuple(self._all)
        while self.listening != tuple(self._all):
            self.listening = tuple(self._all)


class Observers(Listening[Observer]):
    """The observers of one source of events."""

    __slots__ = ("_on_failure",)

    def __init__(self, on_failure: FailureHandler | None = None) -> None:
        super().__init__()
        self._on_failure = on_failure

    def emit(self, event: Event) -> None:
        """Deliver ``event`` to every observer, in the order in which they were added."""
        for observer in self.listening:
            try:
                observer(event)
            except Exception as error:
                self.remove(observer)
                if self._on_failure is not None:
                    self._on_failure(observer, error)

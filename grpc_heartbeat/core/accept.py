"""Which RPCs have run for so long that their client should hear of it: a FIFO of those that began lately.

Theory of operation. A server accepts an RPC *lazily*: only one that still runs some milliseconds after it began is worth a
frame of its own. Nearly all have ended by then, so an RPC pays for one append, and nothing when it ends. One alarm serves all:
when it rings, what has ended is dropped in passing, and the alarm is set anew: for the oldest that has not ended, or else, as
long as RPCs keep coming, for one delay later. So a busy server's driver wakes up once per delay, and by itself: to have it
woken when an RPC begins would cost that RPC more than all the rest.

Any thread may ``add``; one driver calls ``due``. An adder appends first and looks whether the alarm is set afterwards; the
driver forgets the alarm first and looks at the queue afterwards. One of the two always sees the other. If both set the alarm
at once, the later of the two may stand, which is late by less than one delay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Candidate(Protocol):
    """An RPC that may have to be accepted early."""

    began: float
    """When it began, on the driver's clock."""

    @property
    def pending(self) -> bool:
        """Whether it runs and its client has heard nothing of it."""
        ...


_C = TypeVar("_C", bound=Candidate)


class AcceptQueue(Generic[_C]):
    """The RPCs of one delay.

    Args:
        after: Seconds after its beginning at which a pending RPC is due.
        set_alarm: Asks the driver to call ``due`` at an instant; called from whatever thread adds.

    Attributes:
        entries: Those that began, oldest first.
        attended: Whether the alarm is set.
    """

    def __init__(self, after: float, set_alarm: Callable[[float], object]) -> None:
        self.after = after
        self._set_alarm = set_alarm
        self.entries: deque[_C] = deque()
        self.attended = False

    def add(self, candidate: _C) -> None:
        """Return it from ``due`` if it is still pending then."""
        self.entries.append(candidate)
        if not self.attended:
            self.attend(candidate)

    def attend(self, candidate: _C) -> None:
        """Set the alarm for ``candidate``, which was added when it was not set."""
        self.attended = True
        self._set_alarm(candidate.began + self.after)

    def due(self, now: float) -> list[_C]:
        """Return what is due, each once. Early calls do no harm."""
        self.attended = False
        due: list[_C] = []
        entries = self.entries
        again = now + self.after if entries else None
        while entries:
            oldest = entries[0]
            if oldest.pending:
                if oldest.began + self.after > now:
                    again = oldest.began + self.after
                    break
                due.append(oldest)
            entries.popleft()
        if again is not None:
            self.attended = True
            self._set_alarm(again)
        return due

    def __len__(self) -> int:
        """RPCs held, those that have ended since the last alarm included."""
        return len(self.entries)

"""What a process says about itself, and what each watcher still has to hear of it; no I/O.

Three names are known from the start. ``liveness`` asks whether the process works at all: what only a restart can heal belongs
there. ``""`` and ``readiness`` both ask whether it accepts work, and always have the same answer: the worst of what was said
about ``""``, ``readiness`` and ``liveness``, and of the checks that count for them. Every other name answers for itself.

Worst means: ``NOT_SERVING``, else ``UNKNOWN``, else ``SERVING``.

A drain shows ``NOT_SERVING`` for every known name and is a latch: nothing that is said later changes anything.

Watchers. Each has one slot (:class:`WatchSlot`) that holds the newest status. A status that is replaced before it could be
sent is never sent, and one that equals the last one sent is not sent again, so a slow reader costs one slot and a watcher
never hears the same thing twice in a row.

What the driver does: it applies what is said and tells its watchers about the names that come back as changed
(:meth:`WatchTable.tell`, with the status that the name has *then*). Each slot that comes back is one whose sender rests; the
driver starts it, and it sends what ``take`` returns until that is ``None``. A driver with several threads calls under a lock.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from grpc_heartbeat.core.frames import ServingStatus

WHOLE = ""
"""The name that stands for the whole process."""

LIVENESS = "liveness"
READINESS = "readiness"

LIST_LIMIT = 100
"""Most names that List may return (gRFC A90); with more it fails with RESOURCE_EXHAUSTED."""

SERVICE_UNKNOWN = 3
"""What Watch says about a name that is not known; Check and List have no such status."""

_ACCEPTS_WORK = frozenset({WHOLE, READINESS})
_WHOLE_GROUP = frozenset({WHOLE, READINESS, LIVENESS})
_BY_SEVERITY = (ServingStatus.NOT_SERVING, ServingStatus.UNKNOWN)

Changes: TypeAlias = dict[str, ServingStatus]
"""Names whose status has changed, with the new one."""


class Statuses:
    """Statuses by name. :meth:`status` and :meth:`all` may be called while another thread changes something."""

    def __init__(self) -> None:
        self._said: dict[str, ServingStatus] = dict.fromkeys((WHOLE, LIVENESS, READINESS), ServingStatus.SERVING)
        self._checks: dict[str, tuple[frozenset[str], ServingStatus]] = {}
        self._shown = self._said.copy()
        self.drained = False

    def status(self, name: str) -> ServingStatus | None:
        """Return what ``name`` shows; ``None`` if nothing was ever said about it."""
        return self._shown.get(name)

    def all(self) -> dict[str, ServingStatus]:
        """Return what every known name shows."""
        return self._shown.copy()

    def set(self, name: str, status: ServingStatus) -> Changes:
        """Say ``status`` about ``name``."""
        self._said[name] = status
        return self._show((name,))

    def check(self, check: str, names: Iterable[str], status: ServingStatus) -> Changes:
        """Let the result of ``check`` count for ``names``; one that is new becomes known by it."""
        counts = frozenset(names)
        for name in counts:
            self._said.setdefault(name, ServingStatus.SERVING)
        before, _ = self._checks.get(check, (counts, None))
        self._checks[check] = (counts, status)
        return self._show(counts | before)

    def forget_check(self, check: str) -> Changes:
        """Let ``check`` count no more."""
        names, _ = self._checks.pop(check, (frozenset(), None))
        return self._show(names)

    def drain(self) -> Changes:
        """Show ``NOT_SERVING`` everywhere, for good."""
        changes = {
            name: ServingStatus.NOT_SERVING for name, shown in self._shown.items() if shown is not _BY_SEVERITY[0]
        }
        self.drained = True
        self._shown.update(changes)
        return changes

    def _show(self, names: Iterable[str]) -> Changes:
        if self.drained:
            return {}
        affected = set(names)
        if affected & _WHOLE_GROUP:
            affected |= _ACCEPTS_WORK
        news = {name: self._worst(name) for name in affected}
        changes = {name: status for name, status in news.items() if self._shown.get(name) is not status}
        if self.drained:  # by a signal handler, just now
            return {}
        self._shown.update(changes)
        return changes

    def _worst(self, name: str) -> ServingStatus:
        group = _WHOLE_GROUP if name in _ACCEPTS_WORK else frozenset({name})
        found = {self._said[member] for member in group}
        found.update(status for names, status in self._checks.values() if names & group)
        return next((status for status in _BY_SEVERITY if status in found), ServingStatus.SERVING)


class _End(enum.Enum):
    END = "end"


END: Final = _End.END
"""What :meth:`WatchSlot.take` returns last: end the stream."""


class WatchSlot:
    """The newest status that one watcher has not heard, and whether its sender is at work."""

    __slots__ = ("_ending", "_newest", "_sending", "_sent")

    def __init__(self) -> None:
        self._newest: int | None = None
        self._sent: int | None = None
        self._sending = False
        self._ending = False

    def offer(self, status: int) -> bool:
        """Put ``status`` in the place of what waits; returns whether the sender has to be started."""
        self._newest = status
        return self._start(status != self._sent)

    def end(self) -> bool:
        """Have the stream ended after the newest status; returns whether the sender has to be started."""
        self._ending = True
        return self._start(True)

    def take(self) -> int | Literal[_End.END] | None:
        """Return what the sender does next: send a status, end the stream, or rest (``None``)."""
        if self._newest != self._sent:
            self._sent = self._newest
            return self._newest
        if self._ending:
            return END
        self._sending = False
        return None

    def _start(self, wanted: bool) -> bool:
        start = wanted and not self._sending
        self._sending = self._sending or wanted
        return start


class WatchTable:
    """The watchers of all names."""

    def __init__(self) -> None:
        self._slots: dict[str, set[WatchSlot]] = {}
        self.over = False
        """Whether watching has ended for good; then a driver turns new watchers away."""

    def __len__(self) -> int:
        return sum(len(slots) for slots in self._slots.values())

    def add(self, name: str, slot: WatchSlot, status: ServingStatus | None) -> bool:
        """Let ``slot`` watch ``name``, which has ``status`` now; returns whether its sender has to be started."""
        self._slots.setdefault(name, set()).add(slot)
        return slot.offer(_watched(status))

    def drop(self, name: str, slot: WatchSlot) -> None:
        """Forget ``slot``; one that is not there is ignored."""
        slots = self._slots.get(name)
        if slots is not None:
            slots.discard(slot)
            if not slots:
                del self._slots[name]

    def tell(self, name: str, status: ServingStatus | None) -> list[WatchSlot]:
        """Offer ``status`` to those who watch ``name``; returns the slots whose senders have to be started."""
        return [slot for slot in self._slots.get(name, ()) if slot.offer(_watched(status))]

    def end(self) -> list[WatchSlot]:
        """End every stream; returns the slots whose senders have to be started."""
        self.over = True
        return [slot for slots in self._slots.values() for slot in slots if slot.end()]


def _watched(status: ServingStatus | None) -> int:
    return SERVICE_UNKNOWN if status is None else int(status)

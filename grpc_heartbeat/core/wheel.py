"""A timing wheel: what is due at about the same time is done by one waking up.

Theory of operation
-------------------
To wake a thread or a loop costs more than what is then done for one heartbeat, so instants are rounded *up* to slots. Slot
``n`` is at ``n · BASE`` on the driver's clock, for ever: nothing drifts. A member says how coarse it may be rounded by its
``grain``, in slots; members of one grain meet in the multiples of it, and a coarse slot is a fine one, too.

The wheel of G. Varghese and T. Lauck ("Hashed and Hierarchical Timing Wheels", SOSP 1987) is an array that instants far ahead
go round several times. Here the slots are a dictionary, which is as far round as anybody needs, with a heap of the numbers
in use: O(1) per member, and one heap operation per *slot*.

A member is in the wheel once, at its ``slot``. Moving it to an earlier slot leaves the old place behind, which is skipped
when its time comes, and so is that of a member that was taken out. Once most places are such, all of them are cleared away.
A member that is wanted later than it is queued is looked at early, and says then when to come again. So a member's ``tick``
must look at the time itself.

What the driver does: for each member of ``wake(now)``: ``due = member.tick(now)``, and ``add(member, due)`` unless that is
``None``; sleep until ``next_wakeup()``, or until ``add`` said that this is earlier now; and again. One thread at a time.
"""

from __future__ import annotations

import heapq
import math

BASE = 0.005
"""Seconds between slots."""

COARSEST = 10
"""Slots that a member is rounded up to at the most: 50 ms."""

_FEW = 64
"""Places of nobody that are not worth clearing away."""

_SHARE = 0.05
"""How much of its interval a member may be late."""


def grain_of(interval: float) -> int:
    """Return the grain that fits what happens every ``interval`` seconds: a twentieth of it, 5 ms to 50 ms."""
    return max(1, min(COARSEST, int(interval * _SHARE / BASE)))


class Member:
    """Something that a wheel wakes: derive from it, set ``grain`` where 5 ms are finer than is needed."""

    __slots__ = ("slot",)

    grain = 1
    """Slots that its instants are rounded up to."""

    slot: int | None
    """Where it is queued. Only the wheel stores it, but for the ``None`` that a new member begins with."""

    def tick(self, now: float) -> float | None:
        """Do what is due at ``now``, if anything is; return when to be called again, or ``None``."""
        raise NotImplementedError(f"{type(self).__name__}.tick")


class Wheel:
    """The slots in use, and who is in them."""

    __slots__ = ("_left", "_numbers", "_slots", "members")

    def __init__(self) -> None:
        self.members = 0
        """How many are queued."""
        self._left = 0
        self._slots: dict[int, list[Member]] = {}
        self._numbers: list[int] = []

    def add(self, member: Member, due: float) -> bool:
        """Have ``member`` woken at ``due``, or in the slot after it; one that is queued earlier stays there.

        Returns:
            Whether ``next_wakeup`` is earlier than before.
        """
        grain = member.grain
        number = math.ceil(due / (BASE * grain)) * grain
        queued = member.slot
        if queued is not None and queued <= number:
            return False
        member.slot = number
        if queued is None:
            self.members += 1
        else:
            self._leave_place()
        members = self._slots.get(number)
        if members is not None:
            members.append(member)
            return False
        self._slots[number] = [member]
        heapq.heappush(self._numbers, number)
        return self._numbers[0] == number

    def remove(self, member: Member) -> None:
        """Have ``member`` woken no more."""
        if member.slot is None:
            return
        member.slot = None
        self._fewer(1)
        if self.members:
            self._leave_place()

    def wake(self, now: float) -> list[Member]:
        """Return the members whose slots have come, each once, in the order of the slots."""
        numbers = self._numbers
        awake: list[Member] = []
        while numbers and numbers[0] * BASE <= now:
            number = heapq.heappop(numbers)
            for member in self._slots.pop(number):
                if member.slot == number:
                    member.slot = None
                    awake.append(member)
                else:
                    self._left -= 1
        self._fewer(len(awake))
        return awake

    def _fewer(self, members: int) -> None:
        self.members -= members
        if not self.members:  # what members left behind would pass for slots in use
            self._slots.clear()
            self._numbers.clear()
            self._left = 0

    def queued(self) -> list[Member]:
        """Return the members that are queued, soonest first."""
        return [
            member
            for number, members in sorted(self._slots.items())
            for member in dict.fromkeys(members)
            if member.slot == number
        ]

    def next_wakeup(self) -> float | None:
        """Return the instant of the first slot in use, or ``None``."""
        return self._numbers[0] * BASE if self._numbers else None

    def _leave_place(self) -> None:
        self._left += 1
        if self._left > self.members + _FEW:
            for number, members in list(self._slots.items()):
                members[:] = dict.fromkeys(member for member in members if member.slot == number)
                if not members:
                    del self._slots[number]
            self._numbers[:] = sorted(self._slots)  # which is a heap
            self._left = 0

    def __len__(self) -> int:
        """Places in the slots, those of members that were moved or taken out included."""
        return sum(map(len, self._slots.values()))

"""When the next beat is due. Pure: ``now`` is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Beats at ``origin``, ``origin + interval``, ``origin + 2 * interval`` and so on, in seconds.

    Due times are computed from the origin, so the time that a beat takes does not push later ones away. One beat is in
    flight at a time: the instants that pass while a slow beat is waited for are left out, not made up for.
    """

    origin: float
    interval: float

    def next_due(self, now: float) -> float:
        """Return the first due time after ``now``."""
        due = self.origin + self.interval * (math.floor((now - self.origin) / self.interval) + 1)
        return due if due > now else due + self.interval  # the division may round up to the instant itself

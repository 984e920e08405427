"""How long a call of a method should be waited for, from how long its calls took of late; no I/O, ``now`` is an argument.

Theory of operation
-------------------
    total = quantile * (1 + load * load_share) + headroom, at least ``least``, at most what the method's policy says

``quantile`` is that of the answers of the last ``window`` seconds (p95 of five minutes), ``load`` what the server says of
itself, from 0 to 1. With fewer than ``samples`` answers nothing is known, and the policy's total holds.

*Getting slower fast.* Where calls of the last :data:`RECENT` seconds took longer than those of the whole window, theirs is the
quantile: a database that fails over shall not have to be slow for a twentieth of five minutes before anybody waits for it.

*Calls that were cut off* by the very total took longer than is known. To leave them out would show only the quick ones, and
the total would shrink until none is answered. Each counts as twice the time it was given, so the total doubles, step by step,
until calls are answered again or the policy's total is reached; that is TCP's rule for the same question (RFC 6298, 5.5).

What the driver does: it tells of each call's end by ``answered`` or ``expired``, asks ``adapt`` once ``due``, and has the calls
from then on limited by ``total``. One thread at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

from grpc_heartbeat.config import check_count, check_seconds
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.latency import LatencyWindow

RECENT = 10.0
"""Seconds in which calls that have become slower count by themselves, if there are :data:`RECENT_SAMPLES`."""

RECENT_SAMPLES = 5

_WHOLE = 0.9
"""Share of the present total from which a call that ran out of time is known to have been cut off by it."""

_WORTH = 0.05
"""Share by which a total must differ from the present one to be worth a change."""


@dataclass(frozen=True, slots=True)
class Adaptation:
    """The numbers of the rule; see ``AdaptiveTimeouts``."""

    window: float = 300.0
    quantile: float = 0.95
    load_share: float = 0.8
    headroom: float = 0.3
    least: float = 0.1
    samples: int = 100
    every: float = 2.0

    def __post_init__(self) -> None:
        for name in ("window", "least", "every"):
            check_seconds(f"AdaptiveTimeouts.{name}", getattr(self, name))
        for name in ("load_share", "headroom"):
            check_seconds(f"AdaptiveTimeouts.{name}", getattr(self, name), inclusive=True)
        if check_seconds("AdaptiveTimeouts.quantile", self.quantile) >= 1:
            raise ValueError(f"AdaptiveTimeouts.quantile must be a share below 1, such as 0.95; got {self.quantile!r}")
        check_count("AdaptiveTimeouts.samples", self.samples)

    def total(self, quantile: float, load: float, most: float) -> float:
        """Return the seconds to wait for a call, by the rule."""
        wanted = quantile * (1 + load * self.load_share) + self.headroom
        return min(most, max(self.least, wanted))


@dataclass(frozen=True, slots=True)
class TotalAdapted(Event):
    """The calls of a method are given another total.

    Attributes:
        method: Its full name, ``/package.Service/Method``.
        before: The total until now, in seconds.
        after: The total of the calls from now on.
        quantile: The latency that it was made from, in seconds; 0 where too few answers are known.
        load: The server's load that it was made from, 0 to 1.
        samples: Calls of the window.
    """

    method: str
    before: float
    after: float
    quantile: float
    load: float
    samples: int


class AdaptingTotal:
    """The total of one method, whose policy allows ``most`` seconds, from ``now`` on."""

    __slots__ = ("_due_at", "_method", "_most", "_recent", "_rules", "_window", "total")

    def __init__(self, method: str, most: float, rules: Adaptation, now: float) -> None:
        self._method = method
        self._most = most
        self._rules = rules
        self._window = LatencyWindow(rules.window)
        self._recent = LatencyWindow(min(RECENT, rules.window))
        self._due_at = now + rules.every
        self.total = most
        """Seconds for the calls from now on."""

    def answered(self, seconds: float, now: float) -> None:
        """Note a call that was answered after so many seconds."""
        self._window.add(seconds, now)
        self._recent.add(seconds, now)

    def expired(self, seconds: float, now: float) -> None:
        """Note a call whose time was up after so many seconds; nothing is learnt from one that had less than the total."""
        if seconds >= _WHOLE * self.total:
            self.answered(min(2 * seconds, self._most), now)

    def observed(self, now: float) -> dict[str, float]:
        """Return the quantiles ``p50``, ``p95`` and ``p99`` of the window, in seconds, and the ``count`` of its calls."""
        quantiles = {f"p{share * 100:.0f}": self._window.quantile(share, now) for share in (0.5, 0.95, 0.99)}
        return {**quantiles, "count": self._window.count(now)}

    def due(self, now: float) -> bool:
        """Tell whether it is time to :meth:`adapt`."""
        return now >= self._due_at

    def adapt(self, load: float, now: float) -> TotalAdapted | None:
        """Work the total out anew; return the change, if it is worth one.

        Args:
            load: What the server says of itself, 0 to 1; 0 where it says nothing.
        """
        self._due_at = now + self._rules.every
        samples, quantile = self._window.count(now), 0.0
        after = self._most
        if samples >= self._rules.samples:
            quantile = self._quantile(now)
            after = self._rules.total(quantile, load, self._most)
        before = self.total
        if after == before or (after != self._most and abs(after - before) <= _WORTH * before):
            return None
        self.total = after
        return TotalAdapted(now, self._method, before, after, quantile, load, samples)

    def _quantile(self, now: float) -> float:
        share = self._rules.quantile
        quantile = self._window.quantile(share, now)
        if self._recent.count(now) >= RECENT_SAMPLES:
            quantile = max(quantile, self._recent.quantile(share, now))
        return quantile

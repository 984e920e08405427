"""Totals that follow how long the calls of a method take: long enough to be answered, and no longer.

The rule is in ``core/adapting.py``. Here is what it costs nothing to leave out: only channels that are given
:class:`AdaptiveTimeouts` look at how long their calls take.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from grpc_heartbeat import _faults
from grpc_heartbeat._timers import clock
from grpc_heartbeat.config import Timeouts
from grpc_heartbeat.core.adapting import Adaptation, AdaptingTotal, TotalAdapted
from grpc_heartbeat.core.events import Event, Observer, Observers
from grpc_heartbeat.core.heartbeat_events import BeatAcked, LateEcho
from grpc_heartbeat.core.limits import Limits
from grpc_heartbeat.core.steering import heat
from grpc_heartbeat.policy import TimeoutPolicy

__all__ = ["AdaptiveTimeouts", "TotalAdapted"]

Limit = Callable[[Limits], None]
"""Has the calls of a multicallable limited from now on."""


class AdaptiveTimeouts(TimeoutPolicy):
    """A policy whose totals are shortened to what calls need, by what was seen of their latencies.

    A call of a method with one response, for which ``policy`` says a total, gets

        p95 of the answers of the last 5 minutes * (1 + load * 0.8) + 300 ms

    but never more than ``policy`` says. ``load`` is what the server says in its echoes where the channel has a heartbeat: how
    near it is to being overloaded, 0 to 1. Calls that were cut off count as twice their time, so that a method that has become
    slower gets its time back within a few adaptations. All else is as ``policy`` says it.

    It holds what was learnt: give one to the channel, or the channels, of one service, with ``timeouts=``. Client
    interceptors, and asyncio channels that are given other interceptors, take ``policy`` as it is.

    Args:
        policy: The most that calls may take.
        window: Seconds that are looked back at. Default 300.
        quantile: Share of the answers that must fit. Default 0.95.
        load_share: How much longer calls to a server are given that says it is at its limit, as a share. Default 0.8.
        headroom: Seconds on top. Default 0.3.
        least: No total is shorter than this, in seconds. Default 0.1.
        samples: Calls of the window that it takes to know a method. Default 100.
        every: Seconds between adaptations of a method's total. Default 2.

    Attributes:
        observers: Those who hear of changes: ``TotalAdapted`` values, in the thread of the call that brought them about.

    Raises:
        TypeError: an argument is not of its kind.
        ValueError: an argument is out of its range; the message names it.
    """

    __slots__ = ("_learnt", "_lock", "_rules", "_state", "observers")

    def __init__(
        self,
        policy: Timeouts | TimeoutPolicy,
        *,
        window: float = 300.0,
        quantile: float = 0.95,
        load_share: float = 0.8,
        headroom: float = 0.3,
        least: float = 0.1,
        samples: int = 100,
        every: float = 2.0,
    ) -> None:
        if not isinstance(policy, (Timeouts, TimeoutPolicy)):
            raise TypeError(f"policy must be Timeouts or a TimeoutPolicy, not {type(policy).__name__} ({policy!r})")
        said: Any = (policy if isinstance(policy, TimeoutPolicy) else TimeoutPolicy(policy))._said()
        name_of_policy, default, services, methods = said
        super().__init__(default, services=services, methods=methods, name=name_of_policy)
        self._rules: Adaptation
        self._learnt: dict[str, MethodTotal]
        self._lock: Any
        self._state: list[float]
        self.observers: Observers
        set_once = object.__setattr__
        set_once(self, "_rules", Adaptation(window, quantile, load_share, headroom, least, samples, every))
        set_once(self, "_learnt", {})
        set_once(self, "_lock", threading.RLock())
        set_once(self, "_state", [0.0])
        set_once(self, "observers", Observers(_failed))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AdaptiveTimeouts:
        """Read the policy from a file, as ``TimeoutPolicy.load`` does; the other arguments have their defaults."""
        return cls(TimeoutPolicy.load(path))

    @property
    def server_load(self) -> float:
        """What the server said last of how near it is to being overloaded, 0 to 1; 0 if it said nothing."""
        return self._state[0]

    def totals(self) -> dict[str, float]:
        """Return the present totals, in seconds, of the methods for which there are or were stubs, by full name."""
        with self._lock:
            return {method: learnt.total for method, learnt in self._learnt.items()}

    def observed(self) -> dict[str, dict[str, float]]:
        """Return how long the calls of each method took of late: ``p50``, ``p95`` and ``p99`` in seconds, and their ``count``.

        Calls that were cut off are in it with twice the time that they were given. Methods without calls are left out.
        """
        with self._lock:
            learnt = dict(self._learnt)
        found = {method.removeprefix("/"): total.observed() for method, total in learnt.items()}
        return {method: observed for method, observed in found.items() if observed["count"]}

    def follow(self, heartbeat: Any) -> None:
        """Take the server's load from the echoes of ``heartbeat``; a channel with a heartbeat does so by itself."""
        heartbeat.observers.add(self._heard)

    def method(self, method: str) -> MethodTotal | None:
        """Return the total that the calls of ``method`` share; ``None`` if the policy sets none for it. For channels."""
        limits = self.limits(method, streams=False)
        if limits.total is None:
            return None
        with self._lock:
            learnt = self._learnt.get(method)
            if learnt is None:
                learnt = self._learnt[method] = MethodTotal(self, method, limits, limits.total, self._rules)
            return learnt

    def _heard(self, event: Event) -> None:
        if isinstance(event, (BeatAcked, LateEcho)) and event.ack.load is not None:
            self._state[0] = min(1.0, heat(event.ack.load))

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("AdaptiveTimeouts cannot be pickled or copied: it holds what this process has learnt")

    def __repr__(self) -> str:
        return f"AdaptiveTimeouts({super().__repr__()}, {self._rules!r})"


_MANY = 1000
"""Ends of calls that wait to be counted, at the most."""


class MethodTotal:
    """The total of one method. Safe to be used by several threads.

    The end of a call is only put down; all that were are counted when the total is due to be adapted. What is done once for
    many calls is cheap, and what is done for each between other things is five times as dear as in a loop.
    """

    def __init__(self, owner: AdaptiveTimeouts, method: str, limits: Limits, most: float, rules: Adaptation) -> None:
        self._owner = owner
        self._limits = limits
        self._source = f"adaptive:{limits.source('total')}"
        self._adapting = AdaptingTotal(method, most, rules, clock())
        self._every = rules.every
        self._due_at = clock() + rules.every
        self._ends: deque[tuple[bool, float, float]] = deque()
        """Of each call: whether it was answered, how long it took, and when it ended."""
        self._members: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.RLock()  # a signal handler may make a call

    @property
    def total(self) -> float:
        """Seconds for the calls from now on."""
        return self._adapting.total

    def observed(self) -> dict[str, float]:
        """Return how long calls took of late."""
        with self._lock:
            self._count()
            return self._adapting.observed(clock())

    def join(self, multicallable: Any) -> None:
        """Have the calls of ``multicallable`` limited, by its ``limit``, now and whenever the total changes."""
        with self._lock:
            self._members.add(multicallable)
            multicallable.limit(self._present())

    def answered(self, started: float) -> None:
        """Note that a call that began at ``started`` was answered now. Never raises."""
        now = clock()
        self._ends.append((True, now - started, now))
        if now >= self._due_at or len(self._ends) >= _MANY:
            self._learn(now)

    def failed(self, status: str, started: float) -> None:
        """Note that a call that began at ``started`` failed with this status now. Never raises."""
        now = clock()
        if status == "DEADLINE_EXCEEDED":
            self._ends.append((False, now - started, now))
        if now >= self._due_at or len(self._ends) >= _MANY:
            self._learn(now)

    def _learn(self, now: float) -> None:
        try:
            with self._lock:
                adapted = self._adapt(now)
            if adapted is not None and self._owner.observers:
                self._owner.observers.emit(adapted)
        except Exception as error:
            _faults.record("adaptive.learn", error)

    def _adapt(self, now: float) -> TotalAdapted | None:
        self._count()
        if not self._adapting.due(now):
            return None
        self._due_at = now + self._every
        adapted = self._adapting.adapt(self._owner.server_load, now)
        if adapted is not None:
            limits = self._present()
            for multicallable in self._members:
                multicallable.limit(limits)
        return adapted

    def _count(self) -> None:
        """Count the calls that have ended; those that end meanwhile may wait."""
        for _ in range(len(self._ends)):
            if not self._ends:
                return
            answered, seconds, at = self._ends.popleft()
            if answered:
                self._adapting.answered(seconds, at)
            else:
                self._adapting.expired(seconds, at)

    def _present(self) -> Limits:
        total = self._adapting.total
        return self._limits if total == self._limits.total else self._limits.changed({"total": total}, self._source)


def _failed(_observer: Observer, error: Exception) -> None:
    _faults.record("adaptive.observer", error)

"""How busy a server is, put together for its acks; no I/O, ``now`` is an argument.

Theory of operation
-------------------
Figures are *read* when an ack wants them, but no more often than every :data:`CACHED` seconds: the acks in between repeat the
last reading. A reading covers the time since the one before. Where several samples fall into that time the worst counts
(:class:`Worst`), so that a short trouble is told once; and what is still going on counts as if it ended now, so that a pool
that is stuck, or a loop that was blocked until this moment, shows before its sample is complete. Of what was told already while
it went on, only the rest is told when it has ended: or else a pool that is free again would seem to be stuck once more.

*Queue delay* is measured by a no-op that is handed to the workers and looks at the clock when it runs (:class:`QueueProbe`).
There is one at a time: while it waits its age is the delay, and stuck workers do not collect no-ops. And while it does,
readings are made every :data:`PRESSED` seconds: who asks just when it becomes too long is to hear so.

*Loop lag* is how late the loop calls something that was due (:class:`LagProbe`).

Both need something done between the acks, by a tick. :class:`Rhythm` says when: four times between two readings, every
:data:`QUICKEST` to :data:`SLOWEST` seconds, and not at all once nobody has asked for a while. What happens between two looks
shows as that much less.

What the driver does: for an ack, if the last reading is older than :data:`CACHED`, it tells the rhythm (``asked``) and reads
the meter. From the first reading on it looks at the probes, at the instants that the rhythm names. Readings, looks and the
no-op may be on different threads: what that can cost is one sample.
"""

from __future__ import annotations

import math

from grpc_heartbeat.core.frames import Load

CACHED = 0.1
"""Seconds for which a reading serves all acks."""

PRESSED = 0.02
"""The same, while work waits for a worker."""

QUICKEST = 0.05
SLOWEST = 0.1

LINGER = 2.5
"""How many of its callers' intervals a meter goes on without being asked."""

LONGEST_LINGER = 15.0
"""Seconds that it goes on at the most."""

_FIRST_INTERVAL = 1.0
_TICKS_PER_READING = 4


def worst_delay(load: Load | None) -> tuple[float, str]:
    """Return the worse of queue delay and loop lag in seconds, and its name. What was not measured is no delay."""
    if load is None:
        return 0.0, ""
    queue, lag = load.queue_delay or 0.0, load.loop_lag or 0.0
    return (queue, "queue delay") if queue >= lag else (lag, "loop lag")


class Worst:
    """The greatest of the samples since it was last taken."""

    __slots__ = ("_worst",)

    def __init__(self) -> None:
        self._worst = 0.0

    def add(self, value: float) -> None:
        """Take a sample into account."""
        if value > self._worst:
            self._worst = value

    def take(self) -> float:
        """Return the greatest sample, 0 if there was none, and begin anew."""
        worst, self._worst = self._worst, 0.0
        return worst


class QueueProbe:
    """How long a no-op waits for a worker.

    The driver asks ``begin``, and if it says yes hands a no-op to the workers that calls ``ran``; if they refuse, ``refused``.
    """

    __slots__ = ("_out_since", "_refused", "_told_at", "_worst")

    def __init__(self) -> None:
        self._out_since: float | None = None
        self._told_at = -math.inf
        self._refused = False
        self._worst = Worst()

    def begin(self, now: float) -> bool:
        """Return whether a no-op is to be handed over at ``now``: not while one is out, nor to workers that refused one."""
        if self._refused or self._out_since is not None:
            return False
        self._out_since = now
        return True

    def ran(self, now: float) -> None:
        """Note that the no-op was run."""
        since, self._out_since = self._out_since, None
        if since is not None:
            self._worst.add(now - max(since, self._told_at))

    def refused(self) -> None:
        """Note that the workers take nothing any more; there is no way back."""
        self._refused, self._out_since = True, None

    def waits(self, now: float) -> bool:
        """Tell whether the no-op has been waiting for longer than a worker that is at leisure needs to come."""
        since = self._out_since
        return since is not None and now - since >= QUICKEST

    def take(self, now: float) -> float | None:
        """Return the longest wait since the last call, one that is going on included; ``None`` if there are no workers."""
        worst, since = self._worst.take(), self._out_since
        self._told_at = now
        if self._refused:
            return None
        return worst if since is None else max(worst, now - since)


class LagProbe:
    """How late a loop runs what is to be run by a certain instant."""

    __slots__ = ("_due", "_told_at", "_worst")

    def __init__(self) -> None:
        self._due: float | None = None
        self._told_at = -math.inf
        self._worst = Worst()

    def expect(self, due: float) -> None:
        """Note the instant by which the loop is to call."""
        self._due = due

    def called(self, now: float) -> None:
        """Note that it did, or that nothing is expected any more."""
        due, self._due = self._due, None
        if due is not None:
            self._worst.add(now - max(due, self._told_at))

    def take(self, now: float) -> float:
        """Return the worst lateness since the last call, one that is going on included."""
        worst, due = self._worst.take(), self._due
        self._told_at = now
        return worst if due is None else max(worst, now - due)


class Rhythm:
    """When to look between readings: often enough for those who ask, and not for anybody else."""

    __slots__ = ("_asked_at", "_interval")

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._interval = _FIRST_INTERVAL

    def asked(self, now: float) -> None:
        """Note a reading."""
        if self._asked_at is not None:
            self._interval = max(CACHED, now - self._asked_at)
        self._asked_at = now

    def next(self, now: float) -> float | None:
        """Return when to look again; ``None`` once nobody has asked for so long that nobody may ask again."""
        if self._asked_at is None or now - self._asked_at > min(LONGEST_LINGER, LINGER * self._interval):
            self._asked_at = None
            self._interval = _FIRST_INTERVAL
            return None
        return now + min(SLOWEST, max(QUICKEST, self._interval / _TICKS_PER_READING))


class Meter:
    """The figures of one server, from ``now`` on.

    Args:
        cpu: Seconds of CPU that the process has used so far.
        queue: How long work waits for a worker. Default: there are no workers that we know of.
        lag: How late the loop runs. Default: there is no loop.
        pauses: The collector's pauses, in seconds.
    """

    __slots__ = ("_cpu", "_lag", "_pauses", "_queue", "_read_at")

    def __init__(self, now: float, cpu: float, queue: QueueProbe | None, lag: LagProbe | None, pauses: Worst) -> None:
        self._read_at = now
        self._cpu = cpu
        self._queue = queue
        self._lag = lag
        self._pauses = pauses

    def freshness(self, now: float) -> float:
        """Return the seconds for which a reading made at ``now`` serves all acks."""
        return CACHED if self._queue is None or not self._queue.waits(now) else PRESSED

    def read(self, now: float, cpu: float, in_flight: int | None) -> Load:
        """Return the figures since the last reading.

        Args:
            cpu: Seconds of CPU that the process has used so far.
            in_flight: RPCs being handled, if somebody counts them.
        """
        passed, used = now - self._read_at, cpu - self._cpu
        self._read_at, self._cpu = now, cpu
        return Load(
            in_flight,
            None if self._queue is None else self._queue.take(now),
            None if self._lag is None else max(0.0, self._lag.take(now)),
            max(0.0, used / passed) if passed > 0 else None,
            self._pauses.take(),
        )

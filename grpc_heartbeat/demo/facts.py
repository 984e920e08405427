"""What the demo found out, act by act; each act's facts know what was expected of them. Durations are seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from grpc_heartbeat.demo.topology import CHAIN, ORDERS, PLACE, STOCK
from grpc_heartbeat.demo.traces import SpanRecord, Trace, answered, complete, missed, unlabelled

CANCEL_LIMIT = 1.0
"""Seconds after which a cancel that reaches the last hop counts as not having reached it: a loaded machine is slow too."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that was expected, and whether it came true."""

    text: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Link:
    """The beats between two neighbours so far."""

    source: str
    target: str
    acked: int
    missed: int
    rtt_min: float | None
    rtt_avg: float | None


@dataclass(frozen=True, slots=True)
class Flow:
    """Requests that all went well. ``hops`` belongs to the last one: each service and what was left when it arrived."""

    budget: float
    sent: int
    answered: int
    hops: list[tuple[str, float | None]]
    links: list[Link]

    def checks(self) -> Iterator[Check]:
        """Yield what was expected."""
        yield Check(f"{self.answered} of {self.sent} requests were answered", self.answered == self.sent)
        left = [self.budget, *(remaining for _, remaining in self.hops)]
        shrinks = len(left) == len(CHAIN) and all(_less(after, before) for before, after in pairwise(left))
        yield Check("each hop had less time left than the one before", shrinks)
        beating = all(link.acked > 0 and link.rtt_avg is not None for link in self.links)
        yield Check("every link's beats were answered", beating and len(self.links) == len(CHAIN) - 1)


def _less(after: float | None, before: float | None) -> bool:
    return after is not None and before is not None and after < before


@dataclass(frozen=True, slots=True)
class Ending:
    """How one service's part of a request ended.

    ``after``: seconds since the client cancelled or sent. ``how``: the status code or the exception. ``reason``: what
    ``deadline.reason()`` said. ``limit``: ``layer``, ``source``, ``limit`` and ``elapsed`` of the limit that ended it, where
    an error told them.
    """

    service: str
    after: float
    how: str
    details: str
    reason: str | None
    limit: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """A request that the client cancelled while the last hop worked on it."""

    endings: list[Ending]

    def checks(self) -> Iterator[Check]:
        """Yield what was expected."""
        last = next((ending for ending in self.endings if ending.service == STOCK.service), None)
        yield Check("the cancel reached the last hop", last is not None and last.after < CANCEL_LIMIT)
        yield Check("every hop stopped working on it", len(self.endings) == len(CHAIN) - 1)


@dataclass(frozen=True, slots=True)
class StateChange:
    """The heartbeat of orders → stock entered ``state``, ``after`` seconds from the freeze."""

    state: str
    after: float
    misses: int
    why: str


@dataclass(frozen=True, slots=True)
class Freeze:
    """What happened while stock was frozen for ``lasted`` seconds, and after it."""

    lasted: float
    budget: float
    endings: list[Ending]
    states: list[StateChange]
    misses: int
    up_after_thaw: float | None
    request_after_thaw: float | None

    def checks(self) -> Iterator[Check]:
        """Yield what was expected."""
        yield Check("the client got DEADLINE_EXCEEDED at its deadline", self._in_time(self._ending("client")))
        orders = self._ending(ORDERS.service)
        source = orders.limit["source"] if orders is not None and orders.limit else ""
        text = f"orders was stopped by the deadline of its own caller ({source or 'none'})"
        yield Check(text, source == f"inherited:{PLACE}" and self._in_time(orders))
        names = [change.state for change in self.states]
        noticed = "late" in names and "down" in names and names.index("late") < names.index("down")
        yield Check("the heartbeat noticed: up → late → down", noticed and self.misses >= 1)
        yield Check("the heartbeat was up again after the freeze", self.up_after_thaw is not None)
        yield Check("a request was answered again after the freeze", self.request_after_thaw is not None)

    def _ending(self, service: str) -> Ending | None:
        return next((ending for ending in self.endings if ending.service == service), None)

    def _in_time(self, ending: Ending | None) -> bool:
        return ending is not None and ending.how == "DEADLINE_EXCEEDED" and ending.after < self.budget + CANCEL_LIMIT


@dataclass(frozen=True, slots=True)
class Traces:
    """The spans: ``ended`` in the nodes, ``delivered`` by their exporters, and those received, as traces."""

    ended: int
    delivered: int
    received: int
    traces: list[Trace]
    endpoint: str = ""
    """Where they went instead of to the demo's own receiver."""

    @property
    def spans(self) -> list[SpanRecord]:
        """All spans that were received."""
        return [span for trace in self.traces for span in trace.spans()]

    @property
    def beats(self) -> list[Trace]:
        """The traces of beats."""
        return [trace for trace in self.traces if trace.beat]

    @property
    def orphans(self) -> int:
        """How many spans have a parent that was not received."""
        return sum(len(trace.orphans) for trace in self.traces)

    def checks(self) -> Iterator[Check]:
        """Yield what was expected; of spans that went elsewhere only that they were taken."""
        yield Check(f"all {self.ended} spans were delivered over OTLP", self.ended == self.delivered > 0)
        if self.endpoint:
            return
        yield Check(
            "every delivered span was received, none is an orphan", self.received == self.delivered and not self.orphans
        )
        echoed = [trace for trace in self.beats if answered(trace)]
        yield Check(
            "every answered beat is a client's and a server's span of one trace",
            bool(echoed) and all(map(complete, echoed)),
        )
        yield Check(
            "a missed beat is marked as an error", any(missed(trace) and trace.root.failed for trace in self.beats)
        )
        labels = "service.name, heartbeat.type and upstream.zone are on every span of a beat"
        yield Check(labels, bool(self.beats) and not unlabelled(self.spans))


@dataclass(slots=True)
class Facts:
    """The whole performance, as far as it got."""

    seconds: float = 0.0
    flow: Flow | None = None
    cancel: Cancel | None = None
    freeze: Freeze | None = None
    traces: Traces | None = None
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything that was expected came true."""
        return bool(self.checks) and all(check.ok for check in self.checks)

"""A database fails over and becomes slow: which time-outs give its queries up, and how long callers wait for what is lost.

Queries have a median latency of 0.31 s, and of 0.77 s after the fail-over, which takes 5 s; the load that the server tells
rises from 0.1 to 0.9. One query in a thousand is never answered. Simulated in virtual time: with fixed totals, and with one
that adapts. With ``--live`` the same is done over real channels to a real server, too (``failover_live.py``).
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import comparison, report
from bench.comparison import Comparison
from grpc_heartbeat.core.adapting import Adaptation, AdaptingTotal

RESULTS = Path(__file__).parent / "results" / "failover.json"
MOST = 8.0
"""Seconds that the method's policy allows."""

FIXED = {"fixed, 0.8 s": 0.8, "fixed, 8 s": MOST}
ADAPTIVE = "adaptive"
RATE = 50.0
"""Queries a second."""

MEDIANS, LOADS, SPREAD = (0.306, 0.77), (0.1, 0.9), 0.25
"""Before and after; the latencies are log-normal with this spread."""

LOST = 0.001


@dataclass(frozen=True)
class Scene:
    """When the fail-over ``begins``, how long it ``takes``, and when all ``ends``, in seconds from the start."""

    begins: float = 120.0
    takes: float = 5.0
    ends: float = 240.0

    def share(self, at: float) -> float:
        """Return how far the fail-over is, from 0 to 1."""
        return min(1.0, max(0.0, (at - self.begins) / self.takes))

    def load(self, at: float) -> float:
        """Return the load that the server tells."""
        return LOADS[0] + self.share(at) * (LOADS[1] - LOADS[0])

    def queries(self, seed: int) -> Iterator[Query]:
        """Return all queries, in order."""
        chance, at = random.Random(seed), 0.0
        while (at := at + chance.expovariate(RATE)) < self.ends:
            median = MEDIANS[0] + self.share(at) * (MEDIANS[1] - MEDIANS[0])
            latency = median * math.exp(chance.gauss(0.0, SPREAD))
            yield Query(at, math.inf if chance.random() < LOST else latency)


@dataclass(frozen=True)
class Query:
    """A query: when it is made, and how long it takes; ``inf`` if it is never answered."""

    at: float
    latency: float


@dataclass
class Outcome:
    """What became of the queries."""

    answered: int = 0
    given_up: int = 0
    """Those that would have been answered."""

    waits: list[float] = field(default_factory=list)
    """Seconds that were waited for those that never are."""

    totals: list[tuple[float, float]] = field(default_factory=list)
    """Each total, and since when."""

    def note(self, query: Query, total: float) -> None:
        """Note a query that was given so many seconds."""
        if query.latency <= total:
            self.answered += 1
        elif query.latency == math.inf:
            self.waits.append(total)
        else:
            self.given_up += 1

    @property
    def failures(self) -> float:
        """How many of 10,000 queries that would have been answered were not."""
        return 10_000.0 * self.given_up / max(1, self.answered + self.given_up)

    def rose(self, before: float, after: float) -> float | None:
        """Return how many seconds after the fail-over began the total was ``after``; ``None`` if it never was."""
        return next((at - before for at, total in self.totals if at >= before and total >= after), None)


def simulate(scene: Scene, seed: int, fixed: float | None) -> Outcome:
    """Make the queries in virtual time, with a fixed total or, where that is ``None``, one that adapts."""
    outcome, ends = Outcome(), list[tuple[float, Query, float]]()
    adapting = None if fixed is not None else AdaptingTotal("", MOST, Adaptation(), 0.0)
    for query in scene.queries(seed):
        while ends and ends[0][0] <= query.at:
            at, ended, given = heapq.heappop(ends)
            _learn(adapting, scene.load(at), at, ended, given, outcome)
        total = adapting.total if adapting is not None else fixed or MOST
        outcome.note(query, total)
        heapq.heappush(ends, (query.at + min(query.latency, total), query, total))
    return outcome


def _learn(
    adapting: AdaptingTotal | None, load: float, at: float, query: Query, given: float, outcome: Outcome
) -> None:
    if adapting is None:
        return
    if query.latency <= given:
        adapting.answered(query.latency, at)
    else:
        adapting.expired(given, at)
    if adapting.due(at) and adapting.adapt(load, at) is not None:
        outcome.totals.append((at, adapting.total))


def compare(section: str, scene: Scene, outcomes: dict[str, Outcome]) -> list[Comparison]:
    """Return what became of the queries as lines to print."""
    adaptive = outcomes[ADAPTIVE]
    before = [total for at, total in adaptive.totals if at < scene.begins]
    settled = adaptive.totals[-1][1] if adaptive.totals else MOST
    means = {name: sum(one.waits) / len(one.waits) if one.waits else None for name, one in outcomes.items()}

    def only(value: float | None) -> dict[str, float | None]:
        return {name: value if name == ADAPTIVE else None for name in outcomes}

    return [
        Comparison(section, "given up in vain", "of 10,000", {name: one.failures for name, one in outcomes.items()}),
        Comparison(section, "mean wait for what is lost", "s", means),
        Comparison(section, "total before", "s", only(before[-1] if before else None)),
        Comparison(section, "total after", "s", only(settled)),
        Comparison(
            section, "from the fail-over to nine tenths of that", "s", only(adaptive.rose(scene.begins, 0.9 * settled))
        ),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the queries (%(default)s)")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the results go (%(default)s)")
    parser.add_argument("--live", action="store_true", help="over real channels to a real server, too")
    arguments = parser.parse_args(argv)
    scene = Scene()
    outcomes = {name: simulate(scene, arguments.seed, total) for name, total in {**FIXED, ADAPTIVE: None}.items()}
    found = compare("simulated", scene, outcomes)
    if arguments.live:
        from bench.failover_live import live

        print("live: a minute and a half …", file=sys.stderr)
        scene = Scene(30.0, 5.0, 90.0)
        found += compare("live", scene, live(scene, arguments.seed))
    comparison.write_json(arguments.json, found, environment=report.environment(), totals=outcomes[ADAPTIVE].totals)
    print(comparison.plain(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

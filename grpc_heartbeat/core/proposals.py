"""What a policy should say otherwise, from the calls that its limits ended and from how long calls take. No I/O.

Rules
-----
- Only limits of the policy count: what a call, an inbound deadline or a server had set is not for a policy to change.
- A limit that ended fewer than ``least`` calls is let alone.
- A *total* is to be what the adaptive rule gives at full load (``adapting.py``), of the p99 that was measured. If it is longer
  than that already, the calls that it ended were lost and not slow: a longer one would only make callers wait. If nothing was
  measured, nobody knows how long the calls would have taken, so it is doubled, as it would be step by step (RFC 6298, 5.5).
- *Header*, *idle* and *write* limits are doubled: how long they would have taken is not measured.
- A *connect* limit stays: it ends what is cured in the network, and not by waiting.
- A total that is :data:`TOO_LONG` times as long as the rule says is to be shortened, if enough was measured: callers wait that
  long for what is lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from grpc_heartbeat.config import MAX_SECONDS
from grpc_heartbeat.core.adapting import Adaptation
from grpc_heartbeat.core.contract import Observed
from grpc_heartbeat.core.limits import PARTS, Limits, Part

RULE = Adaptation()
TOO_LONG = 4.0

ENOUGH = 1000
"""Calls whose p99 is good enough to shorten a total by."""

_OURS = ("policy:", "adaptive:")


@dataclass(slots=True)
class Ended:
    """The calls of one method that one part of its limits ended."""

    calls: int = 0
    limit: float = 0.0
    """The longest limit that did, in seconds."""


@dataclass(slots=True)
class Evidence:
    """What the records of calls that ended early say.

    Attributes:
        ended: By method, without its leading slash, and part.
        foreign: Records of limits that are not a policy's.
        unreadable: What is no such record.
    """

    ended: dict[tuple[str, Part], Ended] = field(default_factory=dict)
    foreign: int = 0
    unreadable: int = 0

    def add(self, record: Any) -> None:
        """Take in a record, as the log of time-outs writes it. Nothing in it is trusted."""
        if not isinstance(record, Mapping):
            self.unreadable += 1
            return
        method, layer, limit, source = (record.get(name) for name in ("method", "layer", "limit", "source"))
        if not (isinstance(method, str) and isinstance(layer, str) and isinstance(source, str) and "/" in method):
            self.unreadable += 1
        elif layer not in PARTS or not source.startswith(_OURS) or (seconds := _seconds(limit)) is None:
            self.foreign += 1
        else:
            ended = self.ended.setdefault((method.removeprefix("/"), layer), Ended())
            ended.calls += 1
            ended.limit = max(ended.limit, seconds)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one limit should be.

    Attributes:
        method: Its full name without a leading slash.
        part: The limit's.
        calls: How many calls it ended.
        limit: Seconds now.
        proposed: Seconds that it should have; ``None``: it is right, or the cure is elsewhere.
        why: In words.
    """

    method: str
    part: Part
    calls: int
    limit: float
    proposed: float | None
    why: str


def propose(
    evidence: Evidence,
    observed: Mapping[str, Observed],
    limits: Mapping[str, Limits],
    *,
    least: int = 10,
) -> list[Proposal]:
    """Return what should change, by method.

    Args:
        observed: What was measured, by method.
        limits: What the policy says now, by method; empty where it is not known.
        least: Calls that a limit must have ended.
    """
    found = [
        _of_ended(method, part, ended, observed.get(method))
        for (method, part), ended in evidence.ended.items()
        if ended.calls >= least
    ]
    told = {(proposal.method, proposal.part) for proposal in found}
    found += _shortened(((m, o) for m, o in observed.items() if (m, "total") not in told), limits, evidence)
    return sorted(found, key=lambda proposal: (proposal.method, PARTS.index(proposal.part)))


def wanted_total(observed: Observed) -> float:
    """Return the total that the adaptive rule gives at full load, of the p99; rounded up to two digits."""
    return rounded_up(RULE.total(observed.p99, 1.0, math.inf))


def rounded_up(seconds: float) -> float:
    """Return ``seconds`` with two digits, rounded up."""
    step = 10.0 ** (math.floor(math.log10(seconds)) - 1)
    return float(f"{math.ceil(seconds / step - 1e-9) * step:.12g}")


def _of_ended(method: str, part: Part, ended: Ended, observed: Observed | None) -> Proposal:
    limit = ended.limit
    if part == "connect":
        proposed, why = None, "the cure is in the network: nothing was sent"
    elif part != "total" or observed is None:
        proposed, why = rounded_up(2 * limit), "how long they would have taken is not known"
    else:
        wanted, need = wanted_total(observed), f"99 of 100 calls take up to {observed.p99:.3g} s"
        if wanted > limit:
            proposed, why = wanted, need
        elif limit >= TOO_LONG * wanted and _enough(observed):
            proposed, why = wanted, f"{need}: these were lost, and waited for too long"
        else:
            proposed, why = None, f"{need}: these were lost, not slow"
    return Proposal(method, part, ended.calls, limit, proposed, why)


def _shortened(
    observed: Iterable[tuple[str, Observed]], limits: Mapping[str, Limits], evidence: Evidence
) -> list[Proposal]:
    found: list[Proposal] = []
    for method, measured in observed:
        total = limits[method].total if method in limits else None
        if total is None or not _enough(measured):
            continue
        wanted = wanted_total(measured)
        if total >= TOO_LONG * wanted:
            why = f"99 of 100 calls take up to {measured.p99:.3g} s: what is lost is waited for too long"
            calls = evidence.ended.get((method, "total"), Ended()).calls
            found.append(Proposal(method, "total", calls, total, wanted, why))
    return found


def _enough(observed: Observed) -> bool:
    return observed.count is None or observed.count >= ENOUGH


def _seconds(value: Any) -> float | None:
    """Return ``value`` if it can be a limit."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= MAX_SECONDS:
        return float(value)
    return None

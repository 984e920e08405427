"""The rules that one method's contract, its clients' limits and what was measured of it must keep.

Theory of operation. Each function looks at one method and yields what it finds; it is handed all that it judges by. A limit of
the policy that only repeats the contract is not blamed a second time for the contract's own faults.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from grpc_heartbeat.core.contract import LIMITS, Finding, MethodContract, Observed, Place, Severity, longer, same, say
from grpc_heartbeat.core.limits import PARTS, UNLIMITED, Limits, Part, meant

FOREIGN = ("google.", "grpc.", "grpc_heartbeat.")
"""Packages whose methods owe no contract: their ``.proto`` files are not the user's."""


@dataclass(frozen=True, slots=True)
class Client:
    """What a client's policy says of one method.

    Args:
        limits: Its limits.
        places: Where each is written, as far as that is known.
    """

    limits: Limits = UNLIMITED
    places: Mapping[Part, Place] = field(default_factory=dict)


def is_foreign(name: str) -> bool:
    """Return whether the method or service ``name`` owes no contract."""
    return name.startswith(FOREIGN)


def contract_findings(contract: MethodContract) -> Iterator[Finding]:
    """Judge a contract by itself."""
    if not contract.declared:
        yield _of(contract, "error", "no-contract", "it has no contract", "declare (grpc_heartbeat.v1.timeout)")
        return
    yield from _length_findings(contract)
    yield from _use_findings(contract)
    if contract.total is not None and contract.p99 is not None and longer(contract.p99, contract.total):
        what = f"its total of {say(contract.total)} is shorter than the p99 that it promises, {say(contract.p99)}"
        yield _of(contract, "error", "total-below-p99", what, _enough(contract.total, contract.p99, "total_ms"))


def _length_findings(contract: MethodContract) -> Iterator[Finding]:
    """Judge whether a call cannot last for ever."""
    if contract.total is None and not (contract.streams_responses and contract.idle is not None):
        wanted = "total_ms or idle_ms" if contract.streams_responses else "total_ms"
        yield _of(contract, "error", "no-limit", "its contract sets no limit to a call's length", f"say {wanted}")
    if contract.total is not None and contract.idle is None and contract.streams_responses:
        what = f"it streams responses and has a total of {say(contract.total)} but no idle limit"
        yield _of(contract, "warning", "stream-without-idle", f"{what}: a silent stream is noticed late", "say idle_ms")


def _use_findings(contract: MethodContract) -> Iterator[Finding]:
    """Judge whether each limit can end a call."""
    limits = contract.limits()
    for part in LIMITS:
        if part in limits and not _applies(contract, part):
            of = "responses" if part == "idle" else "requests"
            what = f"its {part} limit does nothing: it does not stream {of}"
            yield _of(contract, "warning", "no-effect", what, f"leave out {part}_ms")
    for part in _beyond_total(limits):
        what = f"its {part} limit of {say(limits[part])} can end no call: its total is {say(contract.total)}"
        yield _of(contract, "error", "beyond-total", what, f"make {part}_ms less than total_ms, or leave it out")


def policy_findings(contract: MethodContract, client: Client) -> Iterator[Finding]:
    """Judge a client's limits by the contract."""
    for part, agreed in contract.limits().items():
        if _applies(contract, part):
            yield from _compared(contract, client, part, agreed)
    for part in _beyond_total(_said(client.limits)):
        yield from _unreachable(contract, client, part)
    if contract.p99 is not None and _shorter_than(contract, client, contract.p99):
        total = client.limits.total or 0.0
        what = f"the policy's total of {say(total)} is shorter than the p99 that it promises, {say(contract.p99)}"
        advice = _enough(total, contract.p99, "total")
        yield _of(contract, "error", "total-below-p99", what, advice, client.places.get("total"))


def _compared(contract: MethodContract, client: Client, part: Part, agreed: float) -> Iterator[Finding]:
    limit, total, place = getattr(client.limits, part), client.limits.total, client.places.get(part)
    if limit is None and (total is None or longer(total, agreed)):
        what = f"the policy sets no {part} limit, its contract says {say(agreed)}"
        yield _of(contract, "warning", "not-limited", what, f"set {part} to {agreed:g}", place)
    elif limit is not None and longer(limit, agreed):
        source = client.limits.source(part)
        what = f"the {part} limit of {say(limit)} ({source}) is longer than its contract's {say(agreed)}"
        yield _of(contract, "error", "longer-than-contract", what, f"set {part} to at most {agreed:g}", place)


def _unreachable(contract: MethodContract, client: Client, part: Part) -> Iterator[Finding]:
    """Say that a limit is not below the total, where it applies and does not only repeat the contract."""
    limits, limit = client.limits, getattr(client.limits, part)
    repeats = same(limit, contract.limits().get(part)) and same(limits.total, contract.total)
    if _applies(contract, part) and not repeats:
        what = f"the {part} limit of {say(limit)} ({limits.source(part)}) can end no call"
        what += f": the total is {say(limits.total)} ({limits.source('total')})"
        advice = f"set {part} below the total, or to none"
        yield _of(contract, "warning", "beyond-total", what, advice, client.places.get(part))


def observed_findings(contract: MethodContract, client: Client, observed: Observed) -> Iterator[Finding]:
    """Judge contract and limits by what was measured. From fewer than 100 calls, nothing is more than a warning."""
    severity: Severity = "warning" if observed.few else "error"
    seen = f"the observed p99 of {say(observed.p99)}"
    if observed.few:
        seen += f" (from {observed.count} calls only)"
    if contract.total is not None and longer(observed.p99, contract.total):
        what = f"its total of {say(contract.total)} is shorter than {seen}"
        advice = _enough(contract.total, observed.p99, "total_ms")
        yield _of(contract, severity, "total-below-observed", what, advice)
    if _shorter_than(contract, client, observed.p99):
        total = client.limits.total or 0.0
        what = f"the policy's total of {say(total)} is shorter than {seen}"
        advice = _enough(total, observed.p99, "total")
        yield _of(contract, severity, "total-below-observed", what, advice, client.places.get("total"))
    if contract.p99 is not None and longer(observed.p99, contract.p99):
        what = f"it promises a p99 of {say(contract.p99)}; {seen} is longer"
        yield _of(contract, "warning", "promise-broken", what, "make it faster, or promise less")


def name_findings(
    severity: Severity, kind: str, names: Iterable[str], known: Iterable[str], places: Mapping[str, Place]
) -> Iterator[Finding]:
    """Find names of a policy, or of measurements, that no descriptor has; ``kind`` is ``method`` or ``service``."""
    there = tuple(sorted(known))
    for name in names:
        if name not in there and not is_foreign(name):
            what = f"no descriptor has this {kind}{meant(name, there)}"
            advice = "write its full name as the .proto file has it, or remove it"
            yield Finding(severity, f"unknown-{kind}", name, what, advice, places.get(name))


def _of(
    contract: MethodContract, severity: Severity, rule: str, message: str, advice: str, place: Place | None = None
) -> Finding:
    return Finding(severity, rule, contract.method, message, advice, place or contract.place)


def _applies(contract: MethodContract, part: Part) -> bool:
    return {"idle": contract.streams_responses, "write": contract.streams_requests}.get(part, True)


def _said(limits: Limits) -> dict[Part, float]:
    return {part: seconds for part in PARTS if (seconds := getattr(limits, part)) is not None}


def _beyond_total(limits: Mapping[Part, float]) -> list[Part]:
    """Return the parts that end no call, because the total is over first or at the same time."""
    total = limits.get("total")
    return [part for part in PARTS[1:] if total is not None and part in limits and limits[part] >= total]


def _shorter_than(contract: MethodContract, client: Client, wanted: float) -> bool:
    """Return whether the client's total is a shorter one than ``wanted``, and not the contract's."""
    total = client.limits.total
    return total is not None and not same(total, contract.total) and longer(wanted, total)


def _enough(total: float, needed: float, name: str) -> str:
    """Say what total would do; ten times the present one does, too, where a zero was forgotten."""
    unit = 1000 if name.endswith("_ms") else 1
    advice = f"set {name} above {needed * unit:.10g}"
    return advice if longer(needed, total * 10) else f"{advice}, or was {total * 10 * unit:.10g} meant?"

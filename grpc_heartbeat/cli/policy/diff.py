"""A policy as text in one form, and what proposals change in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from grpc_heartbeat.core.limits import PARTS, Part
from grpc_heartbeat.core.proposals import Proposal
from grpc_heartbeat.policy import TimeoutPolicy


def policy_diff(policy: TimeoutPolicy, proposals: Iterable[Proposal], name: str) -> list[str]:
    """Return the lines of a unified diff of the entries of methods; none where nothing changes."""
    before = {method: dict(parts) for method, parts in policy.methods.items()}
    after = {method: dict(parts) for method, parts in before.items()}
    for proposal in proposals:
        if proposal.proposed is not None:
            after.setdefault(proposal.method, {})[proposal.part] = proposal.proposed
    lines = difflib.unified_diff(_lines(before), _lines(after), name, f"{name} (proposed)", lineterm="")
    return [line.rstrip() for line in lines]


def _lines(methods: Mapping[str, Mapping[Part, float | None]]) -> list[str]:
    lines = ["methods:"]
    for method in sorted(methods):
        lines.append(f"  {method}:")
        parts = methods[method]
        lines += [f"    {part}: {_seconds(parts[part])}" for part in PARTS if part in parts]
    return lines


def _seconds(seconds: float | None) -> str:
    return "none" if seconds is None else f"{seconds:g}s"

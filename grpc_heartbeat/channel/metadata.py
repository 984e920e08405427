"""Adds this library's one entry to the metadata of an outbound call. gRPC metadata is a multimap: every entry is kept."""

from __future__ import annotations

from grpc_heartbeat._types import Metadata
from grpc_heartbeat.core.deadline import BUDGET_KEY


def with_budget(metadata: Metadata | None, budget: str) -> tuple[tuple[str, str | bytes], ...]:
    """Return ``metadata`` with the exact budget at its end.

    A budget that is already there is replaced: it was copied from an inbound RPC, or set by an outer layer of ours.
    """
    entry = (BUDGET_KEY, budget)
    if metadata is None:
        return (entry,)
    return (*[other for other in metadata if other[0] != BUDGET_KEY], entry)

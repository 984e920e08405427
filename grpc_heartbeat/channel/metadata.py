"""Adds this library's one entry to the metadata of an outbound call. gRPC metadata is a multimap: every other entry is kept."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat._types import Metadata
from grpc_heartbeat.core.deadline import BUDGET_KEY


def with_own_budget(metadata: Any, budget: str | None, limit: float | None) -> Any:
    """Return the metadata of a call with the budget that it is sent with, and no other; ``limit`` is its time-out."""
    if budget is not None:
        return with_budget(metadata, budget)
    return None if metadata is None else without_stale_budget(metadata, limit)


def with_budget(metadata: Metadata | None, budget: str) -> tuple[tuple[str, str | bytes], ...]:
    """Return ``metadata`` with the exact budget at its end.

    A budget that is already there is replaced: it was copied from an inbound RPC, or set by an outer layer of ours.
    """
    entry = (BUDGET_KEY, budget)
    if metadata is None:
        return (entry,)
    return (*[other for other in metadata if other[0] != BUDGET_KEY], entry)


def without_stale_budget(metadata: Any, limit: float | None) -> Any:
    """Return the metadata of a call that is sent without a budget: one that was copied from an inbound RPC is taken out.

    Handlers pass on what they got, and a call that inherits nothing would end when the inbound RPC's time is up. A budget
    that is exactly the call's time-out, ``limit`` seconds, was set by an outer layer of ours and stays. What is no metadata
    is left to gRPC to refuse.
    """
    try:
        if not isinstance(metadata, _LOOKED_THROUGH_AGAIN):
            metadata = tuple(metadata)
        for entry in metadata:
            if entry[0] == BUDGET_KEY and (limit is None or entry[1] != str(int(limit * 1e6))):
                others = [other for other in metadata if other[0] != BUDGET_KEY]
                return grpc.aio.Metadata(*others) if isinstance(metadata, grpc.aio.Metadata) else others
    except (TypeError, LookupError):
        pass
    return metadata


_LOOKED_THROUGH_AGAIN = (tuple, list, grpc.aio.Metadata)

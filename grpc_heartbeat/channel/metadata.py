"""Adds this library's one entry to the metadata of an outbound call. gRPC metadata is a multimap: every entry is kept."""

from __future__ import annotations

from grpc_heartbeat._types import Metadata
from grpc_heartbeat.core.deadline import BUDGET_KEY


def with_budget(metadata: Metadata | None, budget: str) -> tuple[tuple[str, str | bytes], ...]:
    """Return ``metadata`` with the exact budget at its end; every other entry is kept as it is."""
    entry = (BUDGET_KEY, budget)
    return (entry,) if metadata is None else (*metadata, entry)

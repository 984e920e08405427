"""Calls that may not start: why, and who hears of it."""

from __future__ import annotations

from typing import Any

from grpc_heartbeat._call_events import call_events, tell_ended
from grpc_heartbeat.core.limits import Limits
from grpc_heartbeat.core.outgoing import refuse
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.core.wording import Verdict


def refused(
    method: str, timeout: object, limits: Limits, scope: Scope | None, limit: float | None, line: Any = None
) -> Verdict:
    """Return what ``refuse`` says, and tell observers. ``line`` is the channel's connection, if there is one to name."""
    verdict = refuse(method, timeout, limits, scope, limit)
    if call_events:
        tell_ended(method, verdict, limit, line)
    return verdict

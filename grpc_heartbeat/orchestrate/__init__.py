"""What to do when time runs out: a fallback, a degraded answer, or to undo what was done.

- ``fallback`` and ``fallback_sync``: limit a piece of work, and do something else if it does not come to an end.
- ``answer_within`` and ``answer_within_sync``: a degraded answer at the soft limit, while the work goes on in the background.
- ``Saga`` and ``AsyncSaga``: several calls under one budget, of which all are done, or what was done is undone, newest first.

All of them tighten the current deadline (``deadline``) and are for handlers and clients alike. None of them tries a call again.
"""

from __future__ import annotations

from grpc_heartbeat.orchestrate.fallbacks import FAILS, fallback, fallback_sync
from grpc_heartbeat.orchestrate.saga import AsyncSaga, Saga, Undone
from grpc_heartbeat.orchestrate.soft_limit import Background, answer_within, answer_within_sync

__all__ = [
    "FAILS",
    "AsyncSaga",
    "Background",
    "Saga",
    "Undone",
    "answer_within",
    "answer_within_sync",
    "fallback",
    "fallback_sync",
]

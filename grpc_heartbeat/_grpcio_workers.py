"""The thread pool of a server, which grpcio's API takes and does not give back.

The name that is asked is private to grpcio. Where it is missing, or the server is somebody else's, nothing is found, and the
application can name its pool itself (``workers=`` of ``add_to_server``). ``GRPC_HEARTBEAT_PUBLIC_API_ONLY=1`` forces that.
"""

from __future__ import annotations

import os
from concurrent.futures import Executor

_PUBLIC_API_ONLY = os.environ.get("GRPC_HEARTBEAT_PUBLIC_API_ONLY", "") not in ("", "0")


def workers_of(server: object) -> Executor | None:
    """Return the pool on which the synchronous ``server`` runs its handlers, or ``None`` if that cannot be seen."""
    if _PUBLIC_API_ONLY:
        return None
    pool = getattr(getattr(server, "_state", None), "thread_pool", None)
    return pool if isinstance(pool, Executor) else None

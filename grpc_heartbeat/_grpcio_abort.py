"""How an inbound RPC of the sync stack is ended with a status of our choice, from beside its handler.

grpcio's API lets only the handler's thread choose the status. With ``GRPC_HEARTBEAT_PUBLIC_API_ONLY=1`` in the environment, or
a grpcio whose names are not these, the caller is left with ``context.cancel``.
"""

from __future__ import annotations

from typing import Any

import grpc

from grpc_heartbeat import _faults, _grpcio


def abort_rpc(context: Any, code: grpc.StatusCode, details: str) -> bool:
    """End an inbound RPC of the sync stack with this status, from beside its handler; return whether that is possible.

    ``context.abort`` can only be called by the handler, and ``context.cancel`` gives no status. An RPC that has ended already
    is left as it is. One that is ended here looks to its handler as if its client had cancelled it.
    """
    if _grpcio._PUBLIC_API_ONLY:
        return False
    try:
        from grpc import _server

        state, call = context._state, context._rpc_event.call
        with state.condition:
            if state.client is not _server._CANCELLED and not state.statused:
                state.code = code
                state.details = details.encode()
                _server._abort(state, call, code, state.details)
                state.client = _server._CANCELLED  # or the handler's response would be sent after the status
                state.condition.notify_all()
    except Exception as error:
        _faults.record("grpcio.abort_rpc", error)
        return False
    return True

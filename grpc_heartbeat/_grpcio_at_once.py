"""What grpcio's objects know and can do at once, where the public API of the sync stack waits or keeps a thread.

- *The channel's state*, without a thread that watches it, through whatever is around the channel.
- *Whether initial metadata have come*, without waiting for them.
- *The end of a call*, without waiting for a lock that its reader holds.

Where the private names cannot be used, each function says so by its result, and the caller does without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from grpc_heartbeat import _grpcio


def state_reader(channel: Any) -> Callable[[bool], int] | None:
    """Return what tells the state of ``channel`` (or of a multicallable's), or ``None`` if that cannot be had.

    It takes whether to connect, returns the first part of a ``grpc.ChannelConnectivity``'s value, and raises ``ValueError``
    once the channel is closed.
    """
    for _ in range(_grpcio.MAX_LAYERS if _grpcio.usable() else 0):
        reader = getattr(channel, "check_connectivity_state", None)
        if reader is not None:
            found: Callable[[bool], int] = reader
            return found
        thunk = getattr(channel, "_thunk", None)
        if (
            thunk is not None
        ):  # of an interceptor's multicallable: what it has to do with a channel is made for each call
            method = getattr(channel, "_method", None)
            channel = None if method is None else thunk(method)
        else:
            channel = getattr(channel, "_channel", None) or getattr(channel, "_inner", None)
        if channel is None:
            break
    return None


def plain_channel(channel: Any) -> Any:
    """Return grpcio's own channel under interceptors, or ``channel`` itself where it cannot be found."""
    found = channel
    for _ in range(_grpcio.MAX_LAYERS if _grpcio.usable() else 0):
        if _grpcio._GrpcioChannel is not None and isinstance(found, _grpcio._GrpcioChannel):
            return found
        found = getattr(found, "_channel", None) or getattr(found, "_inner", None)
        if found is None:
            break
    return channel


def headers_seen(call: Any) -> bool | None:
    """Tell whether the initial metadata of a call object has come, without waiting; ``None`` if that cannot be had.

    Only what was ``split`` or streams responses has it before the response.
    """
    state: Any = getattr(call, "_state", None) if _grpcio.usable() else None
    return state.initial_metadata is not None if hasattr(state, "initial_metadata") else None


def single_threaded(call: Any) -> bool:
    """Tell whether ``call`` is grpcio's single-threaded response stream, which only its reader's thread may ask things."""
    return type(call).__name__.startswith("_SingleThreaded")


def cancel_at_once(call: Any, code: grpc.StatusCode, details: str) -> bool:
    """Cancel a call object without waiting for a lock; return False, and do nothing, if that cannot be had.

    A single-threaded response stream holds its lock while its initial metadata is waited for, and ``cancel()`` waits for the
    lock; it ends with ``code`` and ``details``. Others end as by ``cancel()``.
    """
    if not _grpcio.usable() or not hasattr(call, "_state"):
        return False
    if not hasattr(call, "_consume_next_event"):
        call.cancel()
        return True
    inner: Any = getattr(call, "_call", None)
    if not hasattr(inner, "cancel"):
        return False
    inner.cancel(code.value[0], details)
    return True

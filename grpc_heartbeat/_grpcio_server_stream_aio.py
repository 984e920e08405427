"""What leans on private names of grpc.aio's server: an answer and the wait for the next message in one operation.

By public API a handler writes and then reads, each of which is an operation of gRPC's C library with a future and a turn of the
loop of its own. The library does both in one *batch* at the cost of one, and that is what ``Joined`` makes. The batch needs the
object that stands for the RPC in there. grpc.aio's context holds it and does not give it out, but the garbage collector can
name what an object holds.

``joined`` returns None where any of that is not as it was; handlers then read and write by public API, which is complete and
dearer. Nothing was sent by then. A batch must only be started while the handler of the RPC runs: afterwards the RPC is gone.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable
from typing import Any

from grpc_heartbeat import _faults, _grpcio


class _NoBatchError(Exception):
    """Never raised: there are no batches."""


BatchError: type[Exception] = _NoBatchError
"""What awaiting a batch raises when its RPC has ended."""

try:
    from grpc._cython import cygrpc

    _cygrpc: Any = cygrpc
    _RPCState: Any = _cygrpc.RPCState
    _Receive: Any = _cygrpc.ReceiveMessageOperation
    _Send: Any = _cygrpc.SendMessageOperation
    _execute_batch: Any = _cygrpc.execute_batch
    BatchError = _cygrpc.ExecuteBatchError
    _works = True
except (ImportError, AttributeError):  # pragma: no cover - a later grpcio
    _works = False


def usable() -> bool:
    """Tell whether operations may be joined: the names are there, nothing went wrong so far, and nobody has forbidden it."""
    return _works and not _grpcio._PUBLIC_API_ONLY


class Joined:
    """Joined operations of one RPC, on the loop that it belongs to."""

    __slots__ = ("_loop", "_state")

    def __init__(self, state: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._state = state
        self._loop = loop

    def exchange(self, data: bytes) -> tuple[Any, Awaitable[None]]:
        """Return what sends ``data`` and receives the next message, to be awaited; its first part then has ``message()``.

        The message is ``None`` when the client has ended its side. Awaiting raises ``BatchError`` when the RPC has ended.
        Initial metadata must have been sent before.
        """
        receive = _Receive(0)
        return receive, _execute_batch(self._state, (_Send(data, 0), receive), self._loop)


def joined(context: Any, loop: asyncio.AbstractEventLoop) -> Joined | None:
    """Return what joins operations on the RPC of a handler's ``context``; ``None`` if that is not possible."""
    if not usable():
        return None
    try:
        states = [held for held in gc.get_referents(context) if type(held) is _RPCState]
        if len(states) == 1:
            return Joined(states[0], loop)
        raise RuntimeError(f"a context holds {len(states)} RPCs")
    except Exception as error:
        _give_up(error)
        return None


def _give_up(error: Exception) -> None:
    global _works
    _works = False
    _faults.record("grpcio.server_stream_aio", error)

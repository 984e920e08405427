"""Everything that leans on a private name of grpcio.

One seam is used: the cancel handle of a *blocking* unary-response call. grpcio gives none. ``stub.Method(request)`` creates
its call inside grpcio by ``Channel.segregated_call`` and blocks on it. A multicallable that was made interruptible here
passes that call to the ``CancelHandle`` which the calling thread has set up, so that another thread can cancel it.

The private names are looked for when a multicallable is prepared. Where one is missing (a later grpcio, another kind of
channel), ``interruptible`` says so by returning False, and the caller uses the public API instead (``future()``), which is
complete but slower. ``GRPC_HEARTBEAT_PUBLIC_API_ONLY=1`` in the environment forces that.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import grpc

_PUBLIC_API_ONLY = os.environ.get("GRPC_HEARTBEAT_PUBLIC_API_ONLY", "") not in ("", "0")
_MAX_LAYERS = 32
"""Interceptors that may be stacked on a channel before we stop looking for the multicallable underneath."""


class _ThreadState(threading.local):
    handle: CancelHandle | None = None


calling = _ThreadState()
"""``calling.handle`` is given the next blocking call that this thread makes on an interruptible multicallable."""


class CancelHandle:
    """Cancels one blocking call from any thread, also when the call does not exist yet.

    The thread that is about to block sets ``calling.handle`` and puts back what was there when it has its response.
    """

    call: Any = None  # defaults on the class: this is made for every call, and an __init__ would cost a frame
    verdict: tuple[int, str] | None = None

    def cancel(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with this status. Idempotent: the first verdict stands."""
        # The verdict is stored before the call is looked for; the calling thread stores the call before it looks for a
        # verdict. Whichever comes second sees the other.
        if self.verdict is None:
            self.verdict = (code.value[0], details)
        if self.call is not None:
            self.call.cancel(*self.verdict)


class _InterruptibleChannel:
    """Stands in for the cython channel of one multicallable and hands each blocking call to the thread's handle."""

    __slots__ = ("_channel", "_segregated_call")

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._segregated_call = channel.segregated_call

    def segregated_call(self, *args: Any) -> Any:
        call = self._segregated_call(*args)
        handle = calling.handle
        if handle is not None:
            calling.handle = None
            handle.call = call
            if handle.verdict is not None:
                call.cancel(*handle.verdict)
        return call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def interruptible(multicallable: Any, layers: int = _MAX_LAYERS) -> bool:
    """Let a ``CancelHandle`` reach the blocking calls of ``multicallable``; return whether that is possible.

    Interceptors' multicallables are followed down to grpcio's own.
    """
    if _PUBLIC_API_ONLY or layers == 0:
        return False
    channel = getattr(multicallable, "_channel", None)
    if isinstance(channel, _InterruptibleChannel):
        return True
    if hasattr(channel, "segregated_call"):
        multicallable._channel = _InterruptibleChannel(channel)
        return True
    thunk = getattr(multicallable, "_thunk", None)
    if callable(thunk):
        return _follow_thunk(multicallable, thunk, layers)
    # OpenTelemetry's interceptors and this library's own channels.
    base = getattr(multicallable, "_base_callable", None) or getattr(multicallable, "_inner", None)
    return base is not None and interruptible(base, layers - 1)


class _InterruptibleThunk:
    """grpcio's interceptors make the inner multicallable anew for each call; this prepares each of them."""

    __slots__ = ("_layers", "_thunk")

    def __init__(self, thunk: Any, layers: int) -> None:
        self._thunk = thunk
        self._layers = layers

    def __call__(self, method: Any) -> Any:
        multicallable = self._thunk(method)
        interruptible(multicallable, self._layers)
        return multicallable


def _follow_thunk(multicallable: Any, thunk: Any, layers: int) -> bool:
    if isinstance(thunk, _InterruptibleThunk):
        return True
    method = getattr(multicallable, "_method", None)
    if method is None or not interruptible(thunk(method), layers - 1):
        return False
    multicallable._thunk = _InterruptibleThunk(thunk, layers - 1)
    return True


def multicallable_of(continuation: Any) -> Any:
    """Return the multicallable behind the ``continuation`` that grpcio gives to a client interceptor, or ``None``."""
    code = getattr(continuation, "__code__", None)
    cells = getattr(continuation, "__closure__", None) or ()
    for name, cell in zip(code.co_freevars if code else (), cells, strict=True):
        if name == "self":
            return cell.cell_contents
    return None

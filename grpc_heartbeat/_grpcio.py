"""Blocking calls of the sync stack that can be ended by another thread, and whether grpcio's private names may be used at all.

Two things are had here that the public API does not give; the other ``_grpcio*`` modules have more, and ask ``usable`` first.

- *The handle of a blocking call.* ``stub.Method(request)`` creates its call inside grpcio by ``Channel.segregated_call`` and
  blocks on it. A multicallable that was made interruptible here passes that call to the ``CancelHandle`` which the calling
  thread has set up, so that another thread can cancel it.
- *When the server has accepted a call.* grpcio reads a unary call's initial metadata together with its response. On request
  (``CancelHandle.split``, ``calling.split``) it is read on its own, and its arrival is noted. The wire sees no difference.

The private names are looked for when a multicallable is prepared, and tried out once per process, by a call that goes
nowhere. Where one is missing or has changed (a later grpcio, another kind of channel), the functions here say so by their
result, and the caller uses the public API instead, which is complete but slower. ``GRPC_HEARTBEAT_PUBLIC_API_ONLY=1`` in the
environment forces that.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import grpc

from grpc_heartbeat import _faults

_GrpcioChannel: Any = None
_ReceiveHeaders: Any = None

try:
    from grpc import _channel
    from grpc._cython import cygrpc

    _compiled: Any = cygrpc
    _GrpcioChannel, _ReceiveHeaders = _channel.Channel, _compiled.ReceiveInitialMetadataOperation
except (ImportError, AttributeError):  # pragma: no cover - a later grpcio
    pass

_PUBLIC_API_ONLY = os.environ.get("GRPC_HEARTBEAT_PUBLIC_API_ONLY", "") not in ("", "0")
MAX_LAYERS = 32
"""Interceptors that may be stacked on a channel before we stop looking for what is underneath."""

_BATCHES = 6
"""Which argument of ``segregated_call`` and of ``_managed_call`` the batches of operations are."""


class _ThreadState(threading.local):
    handle: CancelHandle | None = None
    split = False


calling = _ThreadState()
"""What the next call that this thread makes on a prepared multicallable is to do.

``handle`` is given a blocking call. ``split`` asks that a future's initial metadata be read on its own; it is False again
once that is arranged.
"""


class CancelHandle:
    """Cancels one blocking call from any thread, also when the call does not exist yet.

    The thread that is about to block sets ``calling.handle`` and puts back what was there when it has its response.
    """

    call: Any = None  # defaults on the class: this is made for every call, and an __init__ would cost a frame
    verdict: tuple[int, str] | None = None
    split = False
    """Set before the call: note when the server has accepted it. False after it was made means that this cannot be known."""
    headers = False
    """Whether the server has accepted the call, if it was ``split``."""

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with this status. Idempotent: the first verdict stands."""
        # The verdict is stored before the call is looked for; the calling thread stores the call before it looks for a
        # verdict. Whichever comes second sees the other.
        if self.verdict is None:
            self.verdict = (code.value[0], details)
        call = self.call
        if call is not None:
            call.cancel(*self.verdict)


class _InterruptibleChannel:
    """Stands in for the cython channel of one multicallable and hands each blocking call to the thread's handle."""

    __slots__ = ("_channel", "_segregated_call")

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._segregated_call = channel.segregated_call

    def segregated_call(self, *args: Any) -> Any:
        handle = calling.handle
        if handle is None:
            return self._segregated_call(*args)
        calling.handle = None
        seen: _ListeningCall | None = None
        if handle.split:
            batches = args[_BATCHES]
            if len(batches) > 1:
                seen = _ListeningCall()
            else:
                operations, tag = batches[0]
                parts = _parts(operations)
                if parts is None:
                    handle.split = False
                else:
                    seen = _SplitCall()
                    args = (*args[:_BATCHES], ((parts[0], tag), (parts[1], tag)), *args[_BATCHES + 1 :])
        handle.call = call = self._segregated_call(*args)
        if handle.verdict is not None:
            call.cancel(*handle.verdict)
        if seen is None:
            return call
        seen.call = call
        seen.handle = handle
        seen.wait = call.next_event
        return seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def _parts(operations: Any) -> tuple[Any, Any] | None:
    """Return a unary call's one batch in two: all else, and the reading of initial metadata."""
    if len(operations) > _HEADERS + 1 and type(operations[_HEADERS]) is _ReceiveHeaders:
        return operations[:_HEADERS] + operations[_HEADERS + 1 :], operations[_HEADERS : _HEADERS + 1]
    return None


_HEADERS = 3
"""Where in a unary call's batch grpcio puts the reading of initial metadata."""


class _Events:
    __slots__ = ("batch_operations",)
    batch_operations: Any


class _ListeningCall:
    """Stands in for a call that reads initial metadata in a batch of its own, and notes its arrival."""

    __slots__ = (
        "call",
        "handle",
        "wait",
    )  # set by who makes it: an __init__ would cost a frame on the way of every call
    call: Any
    handle: CancelHandle
    wait: Callable[[], Any]

    def next_event(self) -> Any:
        event = self.wait()
        for operation in event.batch_operations:
            if operation.type() == _RECEIVE_HEADERS:
                self.handle.headers = True
        return event

    def __getattr__(self, name: str) -> Any:
        return getattr(self.call, name)


_RECEIVE_HEADERS = 4
"""``GRPC_OP_RECV_INITIAL_METADATA`` of gRPC's C API."""


class _SplitCall(_ListeningCall):
    """Gives the two events of a split unary call to grpcio as the one that it waits for."""

    __slots__ = ()

    def next_event(self) -> Any:
        # Each is waited for here; only a call that failed has them in the other order.
        first = self.wait()
        self.handle.headers = True
        both = _Events()
        both.batch_operations = first.batch_operations + self.wait().batch_operations
        return both


class _SplittingCalls:
    """Stands in for what starts a multicallable's futures."""

    __slots__ = ("_managed_call",)

    def __init__(self, managed_call: Any) -> None:
        self._managed_call = managed_call

    def __call__(self, *args: Any) -> Any:
        if calling.split and len(args[_BATCHES]) == 1:
            parts = _parts(args[_BATCHES][0])
            if parts is not None:
                calling.split = False
                args = (*args[:_BATCHES], parts, *args[_BATCHES + 1 :])
        return self._managed_call(*args)


def interruptible(multicallable: Any, layers: int = MAX_LAYERS) -> bool:
    """Let a ``CancelHandle`` reach the blocking calls of ``multicallable``; return whether that is possible.

    Its futures can then be split, too. Interceptors' multicallables are followed down to grpcio's own.
    """
    return layers > 0 and usable() and _prepare(multicallable, layers)


def _prepare(multicallable: Any, layers: int = MAX_LAYERS) -> bool:
    channel = getattr(multicallable, "_channel", None)
    if isinstance(channel, _InterruptibleChannel):
        return True
    if hasattr(channel, "segregated_call"):
        multicallable._channel = _InterruptibleChannel(channel)
        managed_call = getattr(multicallable, "_managed_call", None)
        if managed_call is not None:
            multicallable._managed_call = _SplittingCalls(managed_call)
        return True
    thunk = getattr(multicallable, "_thunk", None)
    if callable(thunk):
        return _follow_thunk(multicallable, thunk, layers)
    # OpenTelemetry's interceptors and this library's own channels.
    base = getattr(multicallable, "_base_callable", None) or getattr(multicallable, "_inner", None)
    return base is not None and interruptible(base, layers - 1)


def channel_under(multicallable: Any) -> Any:
    """Return the C library's channel of a multicallable of grpcio's own that is interruptible, else ``None``."""
    channel = getattr(multicallable, "_channel", None)
    return channel._channel if isinstance(channel, _InterruptibleChannel) else None


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


def reword(error: Any, code: grpc.StatusCode, details: str) -> bool:
    """Give the error of a blocking call another code and details; return False if that cannot be had."""
    return usable() and _reword(error, code, details)


def _reword(error: Any, code: grpc.StatusCode, details: str) -> bool:
    state: Any = getattr(error, "_state", None)
    if not (hasattr(state, "code") and hasattr(state, "details")):
        return False
    state.code = code
    state.details = details
    return error.details() == details and error.code() is code


_works: bool | None = None
_testing = threading.Lock()


def usable() -> bool:
    """Tell whether the private names may be used: they do what they did, and nobody has forbidden it."""
    if _works is None:
        _try_out()
    return bool(_works) and not _PUBLIC_API_ONLY


def _try_out() -> None:
    global _works
    with _testing:
        if _works is None:
            try:
                _self_test()
                _works = True
            except Exception as error:
                _works = False
                _faults.record("grpcio.self_test", error)


_SELF_TEST = "grpc-heartbeat tries out its seam"


def _self_test() -> None:
    """Make a split call that is cancelled before it exists, to nowhere, and see that it ends as it was told to."""
    if _GrpcioChannel is None or _ReceiveHeaders is None:
        raise RuntimeError("grpcio's private names are not where they were")
    code = grpc.StatusCode.DATA_LOSS
    handle = CancelHandle()
    handle.split = True
    handle.end(code, _SELF_TEST)
    outer = calling.handle
    with _GrpcioChannel("unix:grpc-heartbeat-self-test", (), None, None) as channel:
        method: Any = channel.unary_unary("/grpc_heartbeat.Seam/Test")
        if not _prepare(method) or channel._channel.check_connectivity_state(False) != 0:
            raise RuntimeError("a new channel does not look as it did")
        calling.handle = handle
        try:
            method(b"", wait_for_ready=True)  # else that there is no such place may end it first
        except grpc.RpcError as error:
            found = (error.code(), error.details(), handle.split, handle.headers)
            if found != (code, _SELF_TEST, True, True) or not _reword(error, grpc.StatusCode.ABORTED, "reworded"):
                raise RuntimeError(f"a blocking call ended otherwise than it was told to: {found}") from error
        else:
            raise RuntimeError("a blocking call could not be cancelled")
        finally:
            calling.handle = outer

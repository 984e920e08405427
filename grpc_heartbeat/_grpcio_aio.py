"""What leans on private names of grpc.aio: initial metadata of a unary-unary call before its response, cancels without a leak.

grpc.aio does all of a unary-unary call in one batch, so the server's acceptance is seen together with the response. Done in
two batches at the same time, of which one only reads the initial metadata, nothing changes on the wire, and next to nothing in
cost. grpc.aio's call object stays what it is. Only the object of gRPC's C library inside of it is stood in for
(``SplitCall``), because the results of batches that others start cannot be put into that.

``split`` does it to a call that was just made, and says False where it cannot be done: the call is left as it was, and the
caller makes its next ones by public API alone (``single_response_aio``), which is complete but dearer. What goes wrong before
anything was sent is recorded, the call is made in one batch, and no other is split any more.

``cancel`` cancels a call as its own method does, but lets what is under way in gRPC's C library come to its end, where that
can be done. grpc.aio cancels its task as well, and then never frees what the batch has allocated: about 1 KB per call
(grpc/grpc#43360).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import grpc
import grpc.aio

from grpc_heartbeat import _faults, _grpcio

_cygrpc: Any = None
_UnaryUnaryCall: Any = None
_UnaryStreamCall: Any = None
_cancel_rpc: Any = None
_InitialMetadataFlags: Any = None
_Receive: tuple[Any, ...] = ()
_Send: tuple[Any, ...] = ()
_execute_batch: Any = None
_Status: Any = None

try:
    from grpc import _channel
    from grpc._cython import cygrpc
    from grpc.aio import _call

    _cygrpc = cygrpc
    _UnaryUnaryCall, _InitialMetadataFlags = _call.UnaryUnaryCall, cast("Any", _channel)._InitialMetadataFlags
    _UnaryStreamCall, _cancel_rpc = _call.UnaryStreamCall, cast("Any", _call).Call.cancel
    _Receive = (
        _cygrpc.ReceiveInitialMetadataOperation,
        _cygrpc.ReceiveMessageOperation,
        _cygrpc.ReceiveStatusOnClientOperation,
    )
    _Send = (
        _cygrpc.SendInitialMetadataOperation,
        _cygrpc.SendMessageOperation,
        _cygrpc.SendCloseFromClientOperation,
    )
    _execute_batch, _Status = _cygrpc.execute_batch, _cygrpc.AioRpcStatus
    _failed = False
except (ImportError, AttributeError):  # pragma: no cover - a later grpcio
    _failed = True

_OK = grpc.StatusCode.OK.value[0]
_CANCELLED = grpc.StatusCode.CANCELLED.value[0]


def usable() -> bool:
    """Tell whether calls may be split: the names are there, nothing went wrong so far, and nobody has forbidden it."""
    return not _failed and _grpcio.usable()


def unary_intercepted(channel: Any) -> bool | None:
    """Tell whether unary-unary calls of an asyncio channel go through interceptors; ``None`` if that cannot be had."""
    interceptors = None if _grpcio._PUBLIC_API_ONLY else getattr(channel, "_unary_unary_interceptors", None)
    return bool(interceptors) if isinstance(interceptors, list) else None


def split(call: Any, wait_for_ready: bool | None) -> bool:
    """Have ``call``, a unary-unary call made in this round of its loop, tell of its initial metadata as soon as they come.

    Its ``initial_metadata()`` then returns before the response is there. Returns False, and changes nothing, where an
    interceptor has made the call, where its work has begun already (an eager task factory), or where ``usable`` is False.
    """
    try:
        if not usable() or type(call) is not _UnaryUnaryCall:
            return False
        task = call._invocation_task
        if task.done() or task.get_coro().cr_await is not None:
            return False
        call._cython_call = SplitCall(call._cython_call, wait_for_ready, call._loop)
    except Exception as error:
        _give_up(error)
        return False
    return True


def cancel(call: Any) -> bool:
    """Cancel ``call``; return False if it was over.

    Of a split call and of a unary-stream one, whoever waits is told when gRPC's batch has ended, which the cancel sees
    to. All others are cancelled by their own method: the end of the batch would give them another status and tell their
    callbacks again.
    """
    if type(call) is _UnaryStreamCall:
        task = getattr(call, "_send_unary_request_task", None)
    elif type(call) is _UnaryUnaryCall and type(call._cython_call) is SplitCall:
        task = call._invocation_task
    else:
        task = None
    if task is None or not _grpcio.usable() or getattr(task.get_coro(), "cr_await", None) is None:
        return bool(call.cancel())
    return bool(_cancel_rpc(call))


def _give_up(error: Exception) -> None:
    global _failed
    _failed = True
    _faults.record("grpcio_aio.split", error)


class SplitCall:
    """Stands in for the C library's call in a unary-unary call of grpc.aio; has the methods that the latter uses.

    Args:
        call: What it stands in for.
        wait_for_ready: As the call was made with.
        loop: The loop that it belongs to.
    """

    def __init__(self, call: Any, wait_for_ready: bool | None, loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._flags = 0 if wait_for_ready is None else _InitialMetadataFlags().with_wait_for_ready(wait_for_ready)
        self._loop = loop
        self._status: Any = None
        self._initial_metadata: Any = None
        self._waiters: list[asyncio.Future[None]] = []
        self._header_waiters: list[asyncio.Future[None]] = []
        self._callbacks: list[Callable[[], object]] = []
        self._locally_cancelled = False

    @property
    def _channel(self) -> Any:
        """The C library's channel. A grpcio that keeps no list of a channel's calls finds them by it, to close the channel."""
        return self._call._channel

    async def unary_unary(self, request: bytes, metadata: Any, context: Any = None) -> Any:
        """Do the call; return the response's bytes, or ``None`` if it did not end well."""
        try:
            receive_metadata, receive_message, receive_status = _Receive
            headers, response, status = receive_metadata(0), receive_message(0), receive_status(0)
            send_metadata, send_message, send_close = _Send
            batch = (
                send_metadata(metadata, self._flags),
                send_message(request, 0),
                send_close(0),
                response,
                status,
            )
            if context is not None:
                _cygrpc.set_instrumentation_context_on_call_aio(self._call, context)
        except Exception as error:
            _give_up(error)
            return await self._in_one(request, metadata, context)
        reading = _HeaderReading(self, headers)
        try:
            reading.step()
            await _execute_batch(self._call, batch, self._loop)
            if not reading.waiting.done():
                await asyncio.wait({reading.waiting})
        finally:
            reading.waiting.cancel()  # does nothing unless this task was cancelled
        self._set_status(_Status(status.code(), status.details(), status.trailing_metadata(), status.error_string()))
        return response.message() if self.is_ok() else None

    async def _in_one(self, request: bytes, metadata: Any, context: Any) -> Any:
        arguments = (request, metadata) if context is None else (request, metadata, context)
        response = await self._call.unary_unary(*arguments)
        self._set_initial_metadata(await self._call.initial_metadata())
        self._set_status(await self._call.status())
        return response

    def _set_initial_metadata(self, metadata: Any) -> None:
        if self._initial_metadata is None:
            self._initial_metadata = metadata
            _wake(self._header_waiters)

    def _set_status(self, status: Any) -> None:
        if self._status is not None:
            return
        self._status = status
        self._set_initial_metadata(())
        _wake(self._waiters)
        for callback in self._callbacks:
            callback()

    def cancel(self, details: str) -> None:
        self._locally_cancelled = True
        self._set_status(_Status(_CANCELLED, details, None, None))
        self._call.cancel(details)

    def set_internal_error(self, error: str) -> None:
        self._set_status(_Status(grpc.StatusCode.INTERNAL.value[0], "Internal error from Core", (), error))

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        if self.done():
            callback()
        else:
            self._callbacks.append(callback)

    def done(self) -> bool:
        return self._status is not None

    def cancelled(self) -> bool:
        return self.done() and self._status.code() == _CANCELLED

    def is_ok(self) -> bool:
        return self.done() and self._status.code() == _OK

    def is_locally_cancelled(self) -> bool:
        return self._locally_cancelled

    def time_remaining(self) -> float | None:
        remaining: float | None = self._call.time_remaining()
        return remaining

    async def status(self) -> Any:
        if self._status is None:
            await self._told(self._waiters)
        return self._status

    async def initial_metadata(self) -> Any:
        if self._initial_metadata is None:
            await self._told(self._header_waiters)
        return self._initial_metadata

    async def _told(self, waiters: list[asyncio.Future[None]]) -> None:
        waiter = self._loop.create_future()
        waiters.append(waiter)
        await waiter

    def __repr__(self) -> str:
        name = type(self._call).__name__
        if not self.done():
            return f"<{name} object>"
        code = next(code for code in grpc.StatusCode if code.value[0] == self._status.code())
        head, details = f"<{name} of RPC that terminated with:", self._status.details()
        if self._status.code() is _cygrpc.StatusCode.ok:  # so asks grpc.aio, which has its answer from the release
            return f'{head}\n\tstatus = {code}\n\tdetails = "{details}"\n>'
        # Status and details change places in grpc.aio, so they do here.
        error = self._status.debug_error_string()
        return f'{head}\n\tstatus = {details}\n\tdetails = "{code}"\n\tdebug_error_string = "{error}"\n>'


class _Over:
    """Stands in for the future of a batch that could not be started."""

    @staticmethod
    def done() -> bool:
        return True

    @staticmethod
    def cancel() -> bool:
        return False


class _HeaderReading:
    """Reads the initial metadata of ``call`` in a batch of its own. Its coroutine is driven by hand, which saves a task."""

    __slots__ = ("_call", "_operation", "_work", "waiting")

    def __init__(self, call: SplitCall, operation: Any) -> None:
        self._call = call
        self._operation = operation
        self._work = _execute_batch(call._call, (operation,), call._loop)
        self.waiting: Any = _Over
        """The future of the batch."""

    def step(self, _: object = None) -> None:
        """Go on: to the start of the batch, and from its end."""
        try:
            self.waiting = waiting = self._work.send(None)
        except StopIteration:
            self._call._set_initial_metadata(self._operation.initial_metadata())
        except _cygrpc.ExecuteBatchError:
            self._call._set_initial_metadata(())  # the call's status says why
        except asyncio.CancelledError:
            pass  # nobody waits any longer
        else:
            waiting._asyncio_future_blocking = False  # what a task does with what it is given to wait for
            waiting.add_done_callback(self.step)


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()

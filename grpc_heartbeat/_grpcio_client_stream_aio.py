"""A client's stream on the asyncio stack without a task of its own; leans on private names of grpc.aio.

Theory of operation. grpc.aio wants a task for whoever reads, one for whoever writes from an iterator, and makes one or two more
inside. Here the call is made as always, without an iterator, and then what gRPC's core is asked for are batches of operations on
the object of gRPC's C library inside of the call (``execute_batch``). That is a coroutine which waits for one future; it is
taken from one ``await`` to the next by the futures' callbacks (:class:`_Steps`), which is all that a task would do for it.

A receive is under way all the time, so that what the server says by itself is heard at once, and whether a message was written
is known apart from its being answered. One message is sent at a time, which is what the core allows. The call's status is what
grpc.aio makes of it, without its own writes and reads and the statuses that these overwrite.

``method_of`` returns ``None`` where this cannot be done: private names that are missing, a channel that is not grpc.aio's, one
with interceptors for streams, which may have a reason to see this one, a grpcio whose channel, when it is closed, finds only
calls that tasks wait for, or ``GRPC_HEARTBEAT_PUBLIC_API_ONLY=1``. The stream is then made by public API
(``heartbeat/stream_aio.py``), and so are all further ones after a batch could not be started.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from grpc_heartbeat import _faults, _grpcio

if TYPE_CHECKING:
    from grpc_heartbeat.heartbeat.streams import Listener

_MultiCallable: Any = None
_Call: Any = None
_SendMessage: Any = None
_ReceiveMessage: Any = None
_SendClose: Any = None
_execute_batch: Any = None
_BatchError: Any = None

try:
    from grpc._cython import cygrpc
    from grpc.aio import _call, _channel

    _compiled: Any = cygrpc
    _MultiCallable, _Call = _channel.StreamStreamMultiCallable, _call.StreamStreamCall
    _SendMessage, _ReceiveMessage = _compiled.SendMessageOperation, _compiled.ReceiveMessageOperation
    _SendClose = _compiled.SendCloseFromClientOperation
    _execute_batch, _BatchError = _compiled.execute_batch, _compiled.ExecuteBatchError
    _failed = False
except (ImportError, AttributeError):  # pragma: no cover - a later grpcio
    _failed = True

_MAX_LAYERS = 32


def usable() -> bool:
    """Tell whether streams may be made so: the names are there, nothing went wrong so far, and nobody has forbidden it."""
    return not _failed and _grpcio.usable()


def method_of(multicallable: Any) -> Any:
    """Return grpc.aio's own multicallable behind ``multicallable``, for ``BatchStream``; ``None`` if it cannot be had."""
    for _ in range(_MAX_LAYERS if usable() else 0):
        if type(multicallable) is _MultiCallable:
            channel = getattr(multicallable, "_python_channel", None)
            plain = not getattr(multicallable, "_interceptors", True) and hasattr(channel, "_active_calls")
            return multicallable if plain else None
        multicallable = getattr(multicallable, "_inner", None)
        if multicallable is None:
            break
    return None


class _Steps:
    """Takes a coroutine from one future to the next, on the loop of these, and tells how it ended.

    Args:
        done: Called once, with what the coroutine raised, or ``None``. It must not raise.
    """

    __slots__ = ("_context", "_coroutine", "_done")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        done: Callable[[BaseException | None], None],
        context: contextvars.Context,
    ) -> None:
        self._coroutine = coroutine
        self._done = done
        self._context = context

    def step(self, _: Any = None) -> None:
        """Go on."""
        try:
            future = self._coroutine.send(None)
        except StopIteration:
            error: BaseException | None = None
        except (Exception, asyncio.CancelledError) as raised:
            error = raised
        else:
            # As a task does it: the future was handed over by ``await``, and its marker says whether somebody took it.
            future._asyncio_future_blocking = False
            future.add_done_callback(self.step, context=self._context)
            return
        self._done(error)


class BatchStream:
    """A ``Stream`` (``heartbeat/streams.py``); lives on the loop on which it is started.

    Args:
        method: What ``method_of`` returned.
        listener: Whom to report to.
    """

    __slots__ = (
        "_call",
        "_cancelled",
        "_context",
        "_finishing",
        "_listener",
        "_loop",
        "_method",
        "_number",
        "_open",
        "_over",
        "_sending",
        "_waiting",
    )

    def __init__(self, method: Any, listener: Listener) -> None:
        self._method = method
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.Context()
        self._call: Any = None
        self._waiting: deque[tuple[bytes, int]] | None = None
        self._number = 0
        """What the message under way was given with."""
        self._open = self._over = self._sending = self._finishing = self._cancelled = False

    def start(self) -> None:
        # In an empty context: no deadline, cancel scope or span of whoever happens to start this.
        try:
            call = contextvars.Context().run(self._method, timeout=None, wait_for_ready=False)
        except Exception as error:  # UsageError has no public name; nothing else is raised here
            self._over = True
            self._listener.channel_closed(self, error)
            return
        self._call = call
        call.add_done_callback(self._ended)
        if self._cancelled:
            call.cancel()
        else:
            self._run(call.wait_for_connection(), self._opened)

    def send(self, data: bytes, number: int = 0) -> None:
        if self._open and not self._sending:
            self._send(data, number)
        elif not self._over:
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append((data, number))

    def finish(self) -> None:
        self._finishing = True
        if self._open and not self._sending:
            self._send_next()

    def cancel(self) -> None:
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    def _run(self, coroutine: Coroutine[Any, Any, Any], done: Callable[[BaseException | None], None]) -> None:
        _Steps(coroutine, done, self._context).step()

    def _begin(self, done: Callable[[Any, BaseException | None], None], kind: Any, *arguments: Any) -> None:
        """Start an operation; ``done`` gets it when it is over, with what went wrong."""
        operation = None
        try:
            operation = kind(*arguments)
            batch = _execute_batch(self._call._cython_call, (operation,), self._loop)
        except Exception as error:
            done(operation, error)
        else:
            self._run(batch, functools.partial(done, operation))

    def _opened(self, error: BaseException | None) -> None:
        if error is not None or self._over:  # the call's status says why
            return
        self._open = True
        self._begin(self._received, _ReceiveMessage, 0)
        self._send_next()

    def _received(self, operation: Any, error: BaseException | None) -> None:
        if self._failed(error) or self._over:
            return
        try:
            data = operation.message()
            if data is None:
                return
            self._listener.received(self, data)
        except Exception as fault:
            _faults.record("grpcio_aio.client_stream.received", fault)
        if not self._over:
            self._begin(self._received, _ReceiveMessage, 0)

    def _send_next(self) -> None:
        if self._waiting:
            self._send(*self._waiting.popleft())
        elif self._finishing:
            self._finishing = False
            self._sending = True
            self._begin(self._sent, _SendClose, 0)

    def _send(self, data: bytes, number: int) -> None:
        self._sending = True
        self._number = number
        self._begin(self._sent, _SendMessage, data, 0)

    def _sent(self, _: Any, error: BaseException | None) -> None:
        if self._failed(error) or self._over:
            return
        try:
            if self._number:
                self._listener.written(self, self._number)
        except Exception as fault:
            _faults.record("grpcio_aio.client_stream.written", fault)
        self._sending = False
        self._number = 0
        self._send_next()

    def _failed(self, error: BaseException | None) -> bool:
        """Tell whether a batch has failed. That of a call which has ended does, and its status says why."""
        if error is None:
            return False
        if not isinstance(error, (_BatchError, asyncio.CancelledError)):
            global _failed
            _failed = True
            _faults.record("grpcio_aio.client_stream.batch", error)
            self._call.cancel()
        return True

    def _ended(self, call: Any) -> None:
        self._open = False
        self._over = True
        self._waiting = None
        if call._cython_call.is_locally_cancelled():
            self._report(self._listener.cut_off, "the call was cancelled")
        else:
            self._run(self._tell_status(call), self._told)

    async def _tell_status(self, call: Any) -> None:
        self._report(self._listener.ended, await call.code(), await call.details())

    def _told(self, error: BaseException | None) -> None:
        if error is not None:
            _faults.record("grpcio_aio.client_stream.status", error)
            self._report(self._listener.cut_off, f"internal fault: {error!r}")

    def _report(self, report: Callable[..., None], *facts: Any) -> None:
        try:
            report(self, *facts)
        except Exception as error:
            _faults.record("grpcio_aio.client_stream.ended", error)

"""What leans on private names of grpcio's synchronous server: a stream that is moved by completion events, without a thread.

grpcio's server has one thread that takes completed operations off a queue and calls what each was started with, its *tag*.
Stream handlers do not see that: each holds a thread that waits. Here a handler starts operations on its call itself and
returns; its tags run on that one thread. So they must be quick, and nothing that they raise may get out of them: it would end
the thread, and with it the server.

grpcio's own bookkeeping is kept. A call's ``state`` has a set ``due`` with a token for each operation that has not completed;
the call is forgotten when that is empty and the RPC is over. ``state.condition`` guards it, and is this stream's lock, too.

At most one receiving and one sending operation are under way at a time. ``answer`` is both in one, which completes when the
next message is here; until then nothing else can be sent.

``usable()`` says whether all this may be used: the names are there and do what they did, which is tried out once per process,
and nobody has forbidden it (``GRPC_HEARTBEAT_PUBLIC_API_ONLY=1``). Where it says no, handlers by public API do the same with
a thread each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

import grpc

from grpc_heartbeat import _faults, _grpcio

_server: Any = None
_cygrpc: Any = None

try:
    from grpc import _common, _server
    from grpc._cython import cygrpc

    _cygrpc = cygrpc
    _Receive: Any = _cygrpc.ReceiveMessageOperation
    _Send: Any = _cygrpc.SendMessageOperation
    _SendHeaders: Any = _cygrpc.SendInitialMetadataOperation
    _abort: Any = _server._abort
    _possibly_finish: Any = _server._possibly_finish_call
    _is_active: Any = _server._is_rpc_state_active
    _codes: Any = _common.STATUS_CODE_TO_CYGRPC_STATUS_CODE
    _OPEN, _CLOSED, _CANCELLED = _server._OPEN, _server._CLOSED, _server._CANCELLED
    _found = True
except (ImportError, AttributeError):  # pragma: no cover - a later grpcio
    _found = False

_RECEIVING, _SENDING = "heartbeat receive", "heartbeat send"
_GOES_ON: tuple[Any, Any] = (None, ())
"""What a tag returns while its RPC is not over."""


class Handler(Protocol):
    """Who hears what happens to a stream, on the server's one thread: it must be quick.

    What it raises ends the RPC, which it hears, too.
    """

    def received(self, data: bytes | None) -> None:
        """Take in a message, and receive the next; ``None``: the client has ended its side, or the RPC is over."""

    def sent(self) -> None:
        """Note that the message of ``send`` was taken, or will never be. The next one may be sent."""


class ServerStream:
    """One RPC of a synchronous server. Its methods may be called by any thread.

    Those that start an operation return False, and do nothing, where that is not possible: another one of its kind is under
    way, or the RPC is over.
    """

    __slots__ = ("_call", "_handler", "_receiving", "_state", "joined", "lock", "sending")

    def __init__(self, state: Any, call: Any) -> None:
        self._state = state
        self._call = call
        self._handler: Handler | None = None
        self._receiving = False
        self.sending = False
        """Whether a ``send`` is under way."""
        self.joined = False
        """Whether an ``answer`` is under way, so that nothing else can be sent."""
        self.lock: Any = getattr(
            state.condition, "_lock", state.condition
        )  # that of the condition: a tenth of the price
        """Held while the RPC's state changes; who has it may take it again."""

    def begin(self, handler: Handler) -> bool:
        """Send initial metadata and receive the first message; ``handler`` hears what happens from now on."""
        with self.lock:
            if not self._state.initial_metadata_allowed:
                return False
            self._handler = handler
            begun = self._receive((_SendHeaders(None, 0), _Receive(0)))
            if begun:
                self._state.initial_metadata_allowed = False
            return begun

    def receive(self) -> bool:
        """Receive the next message."""
        with self.lock:
            return not self._receiving and self._receive((_Receive(0),))

    def answer(self, data: bytes) -> bool:
        """Send ``data`` and receive the next message, in one operation."""
        state = self._state
        with self.lock:  # the way of nearly every beat: no function of ours is called
            if self._receiving or self.sending or state.statused or state.client is _CANCELLED:
                return False
            state.due.add(_RECEIVING)
            self._receiving = self.joined = True
            if self._call.start_server_batch((_Send(data, 0), _Receive(0)), self._on_received) == 0:
                return True
            state.due.discard(_RECEIVING)
            self._receiving = self.joined = False
            return False

    def send(self, data: bytes) -> bool:
        """Send ``data``."""
        with self.lock:
            if self.sending or self.joined:
                return False
            self.sending = self._start((_Send(data, 0),), self._on_sent, _SENDING)
            return self.sending

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK, details: str = "", trailers: Any = None) -> bool:
        """End the RPC with this status. A message that is being received then ends as if the client had ended its side."""
        with self.lock:
            state = self._state
            if not _is_active(state):
                return False
            state.trailing_metadata = trailers
            _abort(state, self._call, _codes[code], details.encode())
            return True

    def cancel(self) -> None:
        """End the RPC whatever the client takes."""
        self._call.cancel()

    def release(self) -> None:
        """Tell the handler nothing any more."""
        self._handler = None

    def _receive(self, operations: tuple[Any, ...]) -> bool:
        self._receiving = True  # now: the message may be here before the call that asks for it has returned
        if self._start(operations, self._on_received, _RECEIVING):
            return True
        self._receiving = False
        return False

    def _start(self, operations: tuple[Any, ...], tag: Callable[[Any], Any], token: str) -> bool:
        state = self._state
        if not _is_active(state):
            return False
        state.due.add(token)
        started = False
        try:
            started = bool(self._call.start_server_batch(operations, tag) == 0)
        finally:
            if not started:
                state.due.discard(token)
        return started

    def _on_received(self, event: Any) -> Any:
        try:
            message = event.batch_operations[-1].message() if event.success else None
            self._receiving = self.joined = False  # whoever has the lock sees the one or the other, and may
            if message is None:
                with self.lock:
                    if self._state.client is _OPEN:
                        self._state.client = _CLOSED
            handler = self._handler
            if handler is not None:
                try:
                    handler.received(message)
                except BaseException as error:
                    self._failed(error)
            if self._receiving:
                return _GOES_ON
            self._tell_over()
            with self.lock:
                return _GOES_ON if self._receiving else self._finish(_RECEIVING)
        except BaseException as error:  # out of here, it would end the server's thread
            _faults.record("grpcio.server_stream", error)
            return _GOES_ON

    def _on_sent(self, _event: Any) -> Any:
        try:
            with self.lock:
                self.sending = False
            handler = self._handler
            if handler is not None:
                try:
                    handler.sent()
                except BaseException as error:
                    self._failed(error)
            if not self._receiving:
                self._tell_over()
            with self.lock:
                return _GOES_ON if self.sending else self._finish(_SENDING)
        except BaseException as error:  # as above
            _faults.record("grpcio.server_stream", error)
            return _GOES_ON

    def _failed(self, error: BaseException) -> None:
        _faults.record("heartbeat.stream", error)
        self.end(grpc.StatusCode.INTERNAL, "the heartbeat handler failed")

    def _tell_over(self) -> None:
        """Have the handler hear that the RPC is over, if it could start nothing more of which it would hear the end."""
        try:
            with self.lock:
                handler = None if self._receiving or self.sending else self._handler
            if handler is not None:
                handler.received(None)
        except BaseException as error:
            _faults.record("heartbeat.stream_over", error)

    def _finish(self, token: str) -> Any:
        """Take ``token`` off what is due, and return what that means for the RPC."""
        self._state.due.add(token)  # it is not there if the handler tried to go on and could not
        return _possibly_finish(self._state, token)


def open_stream(requests: Any) -> ServerStream | None:
    """Return the stream behind the request iterator that grpcio gave to a non-blocking handler, to ``begin`` with.

    ``None`` for another iterator, such as an interceptor's, and where this module is not ``usable``.
    """
    if not usable() or type(requests) is not _server._RequestIterator:
        return None
    return ServerStream(requests._state, requests._call)


class _Over:
    """The state of an RPC that is over."""

    def __init__(self) -> None:
        self.condition = threading.RLock()
        self.client = None
        self.statused = True
        self.initial_metadata_allowed = False


def gone() -> ServerStream:
    """Return a stream on which nothing can be done, because its RPC is over."""
    return ServerStream(_Over(), None)


_works: bool | None = None
_testing = threading.Lock()


def usable() -> bool:
    """Tell whether streams may be moved by completion events: grpcio is as it was, and nobody has forbidden it."""
    global _works
    if _works is None:
        with _testing:
            if _works is None:
                _works = _try_out()
    return _works and not _grpcio._PUBLIC_API_ONLY


def _try_out() -> bool:
    try:
        self_test()
    except Exception as error:
        _faults.record("grpcio.server_stream.self_test", error)
        return False
    return True


class _Call:
    """Stands in for a call in the self-test: keeps the operations that were started, with their tags."""

    def __init__(self) -> None:
        self.started: list[tuple[list[int], Any]] = []

    def start_server_batch(self, operations: Any, tag: Any) -> int:
        self.started.append(([operation.type() for operation in operations], tag))
        return 0


class _Nobody:
    def received(self, data: bytes | None) -> None: ...

    def sent(self) -> None: ...


class _Event:
    """A completed operation that failed, as those of a cancelled RPC do."""

    success = False
    batch_operations = ()


def self_test() -> None:
    """Lead grpcio's own bookkeeping of a call through the life of a stream, without a connection.

    Raises:
        Exception: something is not where it was, or does not do what it did.
    """
    if not _found:
        raise RuntimeError("grpcio's private names are not where they were")
    kind = _cygrpc.OperationType
    for name in ("start_server_batch", "cancel"):
        getattr(_cygrpc.Call, name)
    state, call = _server._RPCState(), _Call()
    stream = ServerStream(state, call)
    moves = (stream.begin(_Nobody()), stream.send(b"hello"), stream.end(grpc.StatusCode.OK, "", (("key", "value"),)))
    ends = [tag(_Event()) for _, tag in call.started]
    expected = [
        [kind.send_initial_metadata, kind.receive_message],
        [kind.send_message],
        [kind.send_status_from_server],
    ]
    if moves != (True, True, True) or [kinds for kinds, _ in call.started] != expected:
        raise RuntimeError(f"operations were started otherwise than they should: {moves}, {call.started}")
    if ends[:2] != [_GOES_ON, _GOES_ON] or ends[2][0] is not state or state.due:
        raise RuntimeError(f"the end of a call is booked otherwise than it was: {ends}")

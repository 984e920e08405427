"""A client's stream on the synchronous stack without a thread of its own; leans on private names of grpcio.

Theory of operation. A ``grpc.Channel`` has one thread, while calls are under way, that takes completions from a queue and calls
what was given with each operation, its *tag*. grpcio's call objects put a second thread and a lock that is waited for between
these tags and the application. Here the tags are ours: they report what came, and start what follows. So a stream costs no
thread, and a message no change of threads.

What the channel's thread wants: a tag is called once per batch of operations, and returns whether its call is over, which
exactly one tag of a call must do, its last; nothing may be raised, or the thread ends and with it every call of the channel. So
the batches under way are counted. A batch is started and its count raised under one lock, in which each tag lowers it, too: a
batch that could not be started because the call had just ended is then never the one that is waited for. That lock is ours;
grpcio takes its own inside of it and calls no tag while it holds one.

A receive is under way all the time, so that what the server says by itself is heard at once, and whether a message was written
is known apart from its being answered. One message is sent at a time, which is what gRPC's core allows.

``method_of`` returns ``None`` where this cannot be done: private names that are missing or do not what they did, a channel that
is not grpcio's, an interceptor of the application's, which may have a reason to see the stream (to add credentials to it), or
``GRPC_HEARTBEAT_PUBLIC_API_ONLY=1``. The stream is then made by public API (``heartbeat/stream.py``).
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc

from grpc_heartbeat import _faults, _grpcio
from grpc_heartbeat.heartbeat.calls import HEARS_TRAILERS, goodbye_in

if TYPE_CHECKING:
    from grpc_heartbeat.heartbeat.streams import Listener

_SendMetadata: Any = None
_ReceiveMetadata: Any = None
_ReceiveStatus: Any = None
_SendMessage: Any = None
_ReceiveMessage: Any = None
_SendClose: Any = None
_PROPAGATE = _DO_NOT_WAIT = 0

try:
    from grpc._cython import cygrpc

    _compiled: Any = cygrpc
    _SendMetadata = _compiled.SendInitialMetadataOperation
    _ReceiveMetadata = _compiled.ReceiveInitialMetadataOperation
    _ReceiveStatus = _compiled.ReceiveStatusOnClientOperation
    _SendMessage = _compiled.SendMessageOperation
    _ReceiveMessage = _compiled.ReceiveMessageOperation
    _SendClose = _compiled.SendCloseFromClientOperation
    _PROPAGATE = _compiled.PropagationConstants.GRPC_PROPAGATE_DEFAULTS
    _DO_NOT_WAIT = _compiled.InitialMetadataFlags.wait_for_ready_explicitly_set
except (ImportError, AttributeError):  # pragma: no cover - a later grpcio
    _SendClose = None

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_CANCELLED = grpc.StatusCode.CANCELLED.value[0]
_MAX_LAYERS = 32

_works: bool | None = None
_trying = threading.Lock()


def method_of(multicallable: Any) -> Any:
    """Return grpcio's own multicallable behind ``multicallable``, for ``CompletionStream``; ``None`` if it cannot be had.

    Only this library's wrappers and OpenTelemetry's are looked through.
    """
    for _ in range(_MAX_LAYERS if usable() else 0):
        if hasattr(multicallable, "_managed_call"):
            return multicallable if hasattr(multicallable, "_registered_call_handle") else None
        multicallable = getattr(multicallable, "_inner", None) or getattr(multicallable, "_base_callable", None)
        if multicallable is None:
            break
    return None


def usable() -> bool:
    """Tell whether grpcio has what is needed; tried out once per process."""
    global _works
    if _works is None and _SendClose is not None:
        with _trying:
            if _works is None:
                try:
                    _self_test()
                    _works = True
                except Exception as error:
                    _works = False
                    _faults.record("grpcio.client_stream.self_test", error)
    return bool(_works) and _grpcio.usable()


class CompletionStream:
    """A ``Stream`` (``heartbeat/streams.py``).

    Args:
        method: What ``method_of`` returned.
        listener: Whom to report to, on the channel's thread.
    """

    __slots__ = (
        "_call",
        "_cancelled",
        "_due",
        "_finishing",
        "_listener",
        "_lock",
        "_method",
        "_number",
        "_sending",
        "_status",
        "_waiting",
    )

    def __init__(self, method: Any, listener: Listener) -> None:
        self._method = method
        self._listener = listener
        self._lock = threading.Lock()
        self._call: Any = None
        self._due = 0
        """Batches under way; 0 before the start and after the end."""
        self._waiting: deque[tuple[bytes, int]] | None = None
        self._sending = self._finishing = self._cancelled = False
        self._number = 0
        """What the message under way was given with."""
        self._status: tuple[grpc.StatusCode | None, str | None] = (None, None)

    def start(self) -> None:
        method = self._method
        opening = (_SendMetadata(HEARS_TRAILERS, _DO_NOT_WAIT), _ReceiveStatus(0)), (_ReceiveMetadata(0),)
        try:
            with self._lock:
                # No deadline, credentials or context: this stream is nobody's request.
                self._call = method._managed_call(
                    _PROPAGATE,
                    method._method,
                    None,
                    None,
                    None,
                    None,
                    opening,
                    self._opened,
                    None,
                    method._registered_call_handle,
                )
                self._due = len(opening)
                self._due += self._begin((_ReceiveMessage(0),), self._received)
                self._due += self._send_next()
        except ValueError as error:
            self._listener.channel_closed(self, error)
            return
        if self._cancelled:
            self.cancel()

    def send(self, data: bytes, number: int = 0) -> None:
        with self._lock:
            if self._sending or self._call is None:
                if self._waiting is None:
                    self._waiting = deque()
                self._waiting.append((data, number))
            elif self._due:
                self._due += self._send(data, number)

    def finish(self) -> None:
        with self._lock:
            self._finishing = True
            if self._due and not self._sending:
                self._due += self._send_next()

    def cancel(self) -> None:
        self._cancelled = True
        call = self._call
        if call is not None:
            call.cancel(_CANCELLED, "the heartbeat has left its stream")

    # With the lock held; each returns whether a batch was started.

    def _begin(self, operations: tuple[Any, ...], tag: Any) -> bool:
        try:
            return bool(self._call.operate(operations, tag))
        except Exception as error:
            _faults.record("grpcio.client_stream.operate", error)
            self._call.cancel(_CANCELLED, f"internal fault: {error!r}")
            return False

    def _send(self, data: bytes, number: int) -> bool:
        self._number = number
        self._sending = self._begin((_SendMessage(data, 0),), self._sent)
        return self._sending

    def _send_next(self) -> bool:
        if self._waiting:
            return self._send(*self._waiting.popleft())
        if self._finishing:
            self._finishing = False
            self._number = 0
            self._sending = self._begin((_SendClose(0),), self._sent)
            return self._sending
        return False

    # The tags.

    def _opened(self, event: Any) -> bool:
        try:
            if len(event.batch_operations) > 1:
                status = event.batch_operations[1]
                self._status = _CODES.get(status.code()), status.details()
                goodbye = goodbye_in(status.trailing_metadata())
                if goodbye is not None:
                    self._listener.received(self, goodbye)
        except Exception as error:
            _faults.record("grpcio.client_stream.status", error)
        return self._done()

    def _received(self, event: Any) -> bool:
        data = None
        try:
            data = event.batch_operations[0].message()
            if data is not None:
                self._listener.received(self, data)
        except Exception as error:
            _faults.record("grpcio.client_stream.received", error)
        with self._lock:
            started = data is not None and self._begin((_ReceiveMessage(0),), self._received)
            if started:
                return False
        return self._done()

    def _sent(self, event: Any) -> bool:
        try:
            if self._number and event.success:
                self._listener.written(self, self._number)
        except Exception as error:
            _faults.record("grpcio.client_stream.written", error)
        with self._lock:
            self._sending = False
            if self._send_next():
                return False
        return self._done()

    def _done(self) -> bool:
        with self._lock:
            self._due -= 1
            over = self._due == 0
        return over and self._ended()

    def _ended(self) -> bool:
        try:
            self._listener.ended(self, *self._status)
        except Exception as error:
            _faults.record("grpcio.client_stream.ended", error)
        return True


class _Trial:
    """Hears of the end of the stream that tries things out."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.said: list[Any] = []

    def received(self, stream: Any, data: bytes) -> None:
        self.said.append(data)

    def written(self, stream: Any, number: int) -> None:
        self.said.append(number)

    def cut_off(self, stream: Any, why: str) -> None:
        self.said.append(why)

    def channel_closed(self, stream: Any, error: Exception) -> None:
        self.said.append(error)
        self.over.set()

    def ended(self, stream: Any, code: Any, details: Any) -> None:
        self.said.append(code)
        self.over.set()


_TRIAL_SECONDS = 5.0


def _self_test() -> None:
    """Open a stream to nowhere, send on it, cancel it, and see that it ends, and once; then open one on a closed channel."""
    trial = _Trial()
    with grpc.insecure_channel("unix:grpc-heartbeat-self-test") as channel:
        method: Any = channel.stream_stream("/grpc_heartbeat.Seam/Test")
        stream = CompletionStream(method, trial)
        stream.send(b"", 1)
        stream.cancel()
        stream.start()
        ended = trial.over.wait(_TRIAL_SECONDS)
        if not ended or trial.said not in ([grpc.StatusCode.CANCELLED], [grpc.StatusCode.UNAVAILABLE]):
            raise RuntimeError(f"a stream ended otherwise than it was told to: {trial.said}")
    trial = _Trial()
    CompletionStream(method, trial).start()
    said = [repr(one) for one in trial.said]
    refused = [type(one) for one in trial.said] == [ValueError]
    trial.said.clear()  # the error has the frames of who called this, and so the channel that is being made
    if not refused:
        raise RuntimeError(f"a stream was opened on a closed channel: {said}")

"""What leans on private names of grpcio for speed: a blocking unary-unary call without what only its failure needs.

Theory of operation. grpcio makes for every blocking call what a future would need: a condition, a set of the operations that
are due, names as text, a look at each operation of the event. That is some 10 µs of Python, more than all of our limits cost.
Here the same operations go to the same ``segregated_call``, and a call that ends with OK and a message is done: its handle is
given to the ``CancelHandle`` at hand, and nothing else is made. Any other end is handed to grpcio's own functions, which make
of it what they make of every call, so that errors are grpcio's to the letter.

What grpcio would do is not believed but looked at, once per process (``_self_test``): calls of many kinds are made both ways
on a channel that only records, and what reaches it must be equal. Where it is not, or where a name is missing, or while
grpcio's observability plug-in wants to hear of every call, calls are made by the multicallable itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter, time  # wall clock: the deadlines that grpcio gives away are of it
from types import SimpleNamespace
from typing import Any, cast

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._grpcio import CancelHandle, calling, channel_under, usable

_plugins: Any = None
_MultiCallable: Any = None

try:
    from grpc import _channel, _common, _compression, _observability
    from grpc._cython import cygrpc

    _module, _texts, _compiled = cast("Any", _channel), cast("Any", _common), cast("Any", cygrpc)
    _plugins = _observability
    _no_plugin = _plugins._OBSERVABILITY_PLUGIN is None
    _MultiCallable = _module._UnaryUnaryMultiCallable
    _start, _deadline_of, _flags = (
        _module._start_unary_request,
        _module._determine_deadline,
        _module._InitialMetadataFlags(),
    )
    _State, _due = _module._RPCState, _module._UNARY_UNARY_INITIAL_DUE
    _handle_event, _end_response = _module._handle_event, _module._end_unary_response_blocking
    _augment, _deserialize, _decode = _compression.augment_metadata, _texts.deserialize, _texts.decode
    _SendHeaders, _SendMessage, _SendClose = (
        _compiled.SendInitialMetadataOperation,
        _compiled.SendMessageOperation,
        _compiled.SendCloseFromClientOperation,
    )
    _ReceiveHeaders, _ReceiveMessage, _ReceiveStatus = (
        _compiled.ReceiveInitialMetadataOperation,
        _compiled.ReceiveMessageOperation,
        _compiled.ReceiveStatusOnClientOperation,
    )
    _DEFAULTS = _compiled.PropagationConstants.GRPC_PROPAGATE_DEFAULTS
    _as_released = (_MultiCallable.__call__, _MultiCallable._blocking)
except (ImportError, AttributeError):  # pragma: no cover - a later grpcio
    _MultiCallable = None

Caller = Callable[..., Any]
"""Makes a blocking call that a ``CancelHandle``, its first argument, can end. The others are those of a multicallable, in
order: request, time-out, metadata, credentials, wait for ready, compression."""


def under_handle(start: Callable[..., Any]) -> Caller:
    """Return ``start``, a blocking form of an interruptible multicallable, as a ``Caller``."""

    def call(handle: CancelHandle, *args: Any) -> Any:
        outer = calling.handle
        calling.handle = handle
        try:
            return start(*args)
        finally:
            calling.handle = outer

    return call


def caller(multicallable: Any) -> Caller:
    """Return what makes the blocking calls of ``multicallable``, which is interruptible: directly, if it is grpcio's own."""
    channel = channel_under(multicallable)
    if channel is None or type(multicallable) is not _MultiCallable or not _trusted():
        return under_handle(multicallable)
    return DirectCalls(multicallable, channel)


class DirectCalls:
    """The blocking calls of one multicallable of grpcio's.

    Args:
        multicallable: Whose calls they are.
        channel: The channel of grpcio's C library that they are made on.
    """

    __slots__ = ("_call", "_context", "_deserializer", "_method", "_otherwise", "_registered", "_serializer", "_target")

    def __init__(self, multicallable: Any, channel: Any) -> None:
        self._call = channel.segregated_call
        self._method = multicallable._method
        self._target = multicallable._target
        self._serializer = multicallable._request_serializer
        self._deserializer = multicallable._response_deserializer
        self._context = multicallable._context
        self._registered = multicallable._registered_call_handle
        self._otherwise = under_handle(multicallable)

    def __call__(
        self,
        handle: CancelHandle,
        request: Any,
        timeout: float | None,
        metadata: Any,
        credentials: Any,
        wait: bool | None,
        compression: Any,
    ) -> Any:
        if _plugins._OBSERVABILITY_PLUGIN is not None:
            return self._otherwise(handle, request, timeout, metadata, credentials, wait, compression)
        deadline, message, error = _start(request, timeout, self._serializer)
        if error is not None:
            raise error
        sends = (
            _SendHeaders(_augment(metadata, compression), _flags if wait is None else _flags.with_wait_for_ready(wait)),
            _SendMessage(message, 0),
            _SendClose(0),
        )
        headers, response, status = receives = (_ReceiveHeaders(0), _ReceiveMessage(0), _ReceiveStatus(0))
        split = handle.split
        handle.call = call = self._call(
            _DEFAULTS,
            self._method,
            None,
            _deadline_of(deadline),
            metadata,
            None if credentials is None else credentials._credentials,
            (((*sends, response, status), None), ((headers,), None)) if split else (((*sends, *receives), None),),
            self._context,
            self._registered,
        )
        if handle.verdict is not None:
            call.cancel(*handle.verdict)
        call.next_event()
        if split:
            # Each is waited for here; only a call that failed has them in the other order.
            handle.headers = True
            call.next_event()
        deserializer = self._deserializer
        if status.code() == 0:
            found = response.message()
            if found is not None:
                if deserializer is not None:
                    found = _deserialize(found, deserializer)
                if found is not None:
                    return found
                deserializer = _no_message
        return self._end(call, (*sends, *receives), deserializer)

    def _end(self, call: Any, operations: tuple[Any, ...], deserializer: Any) -> Any:
        """Return or raise what grpcio makes of a call whose ``operations`` are done."""
        state = _State(_due, None, None, None, None)
        state.rpc_start_time = perf_counter()  # for plug-ins: this one came while the call was under way
        state.method = _decode(self._method)
        state.target = _decode(self._target)
        _handle_event(SimpleNamespace(batch_operations=operations), state, deserializer)
        return _end_response(state, call, False, None)


def _no_message(_: bytes) -> None:
    """Stand in for a deserializer that has failed already, and has been logged."""


_test_lock = threading.Lock()
_test_passed: bool | None = None


def _trusted() -> bool:
    """Tell whether grpcio makes its calls as they are made here; the first call of this finds out."""
    global _test_passed
    if not usable():
        return False
    with _test_lock:
        if _test_passed is None:
            try:
                _self_test()
            except Exception as error:
                _faults.record("grpcio_blocking.self_test", error)
                _test_passed = False
            else:
                _test_passed = True
        return _test_passed


_SELF_TEST = "grpc-heartbeat tries out how it makes blocking calls"


def _self_test() -> None:
    """Make calls of many kinds both ways, and see that the C library would be given the same; then end one."""
    if (_MultiCallable.__call__, _MultiCallable._blocking) != _as_released:
        raise RuntimeError("somebody has changed how grpcio makes calls")
    recording = _RecordingChannel()
    method = _MultiCallable(recording, None, b"/grpc_heartbeat.Seam/Test", b"nowhere", bytes.upper, None, 7)
    direct = DirectCalls(method, recording)
    credentials = grpc.access_token_call_credentials("self-test")
    entries = (("key", "value"),)
    for arguments in (
        (b"request", None, None, None, None, None),
        (b"request", 1e6, entries, credentials, True, grpc.Compression.Gzip),
        (b"request", -1e6, list(entries), None, False, grpc.Compression.NoCompression),
    ):
        theirs, ours = _given(method, *arguments), _given(direct, CancelHandle(), *arguments)
        if theirs != ours:
            raise RuntimeError(f"grpcio makes its calls otherwise: {theirs}, not {ours}")
    for split in (False, True):
        _end_one(split)


def _end_one(split: bool) -> None:
    """See that a call that is cancelled before it exists, to nowhere, ends as it was told to."""
    handle = CancelHandle()
    handle.split = split
    handle.end(grpc.StatusCode.DATA_LOSS, _SELF_TEST)
    with _module.Channel("unix:grpc-heartbeat-self-test", (), None, None) as channel:
        method = channel.unary_unary("/grpc_heartbeat.Seam/Test")
        try:
            DirectCalls(method, channel._channel)(handle, b"", None, None, None, True, None)
        except grpc.RpcError as error:
            found = cast("grpc.Call", error)
            if (found.code(), found.details()) != (grpc.StatusCode.DATA_LOSS, _SELF_TEST):
                raise RuntimeError(f"a call ended otherwise than it was told to: {error!r}") from error
        else:
            raise RuntimeError("a call could not be ended")


class _RecordedError(Exception):
    """Ends a call of the self-test where the C library's would begin."""


class _RecordingChannel:
    """Records what a call would give to the C library."""

    def segregated_call(self, *args: Any) -> Any:
        raise _RecordedError(*args)


def _given(call: Any, *arguments: Any) -> tuple[Any, ...]:
    """Return what ``call`` gives to the C library, as it can be compared."""
    try:
        call(*arguments)
    except _RecordedError as recorded:
        flags, method, host, deadline, metadata, credentials, batches, *rest = recorded.args
        shown = [([(type(one), one.type()) for one in operations], tag) for operations, tag in batches]
        seconds = None if deadline is None else round((deadline - time()) / 1e5)
        return flags, method, host, seconds, metadata, credentials, shown, rest
    raise RuntimeError("grpcio has made a call by other means")

"""Sending beside the application: a message on a stream whose application iterator is quiet, without a thread in between.

grpcio sends what the application's iterator yields and nothing else. Here a message goes out as an operation of its own, with
the bookkeeping that grpcio does for its own operations. Where that cannot be had, the functions say so by their result, and the
caller stands a thread of its own between the iterator and grpcio.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from grpc_heartbeat import _faults
from grpc_heartbeat._grpcio import MAX_LAYERS, usable

_event_handler: Any = None
_SendMessage: Any = None
_SEND_MESSAGE: Any = None

try:
    from grpc import _channel
    from grpc._cython import cygrpc

    _compiled: Any = cygrpc
    _event_handler = cast("Any", _channel)._event_handler
    _SendMessage, _SEND_MESSAGE = _compiled.SendMessageOperation, _compiled.OperationType.send_message
except (ImportError, AttributeError):  # pragma: no cover - a later grpcio
    _event_handler = _SendMessage = _SEND_MESSAGE = None

Send = Callable[[bytes, Callable[[], object]], bool]
"""Sends a serialized message on a stream, beside what iterates over the application's messages; returns False if that is not
possible now. The function that it is given is called when the message was taken or the stream is over, in any thread. No other
message may be under way until then."""


def sends_beside(multicallable: Any) -> bool:
    """Tell whether ``sender_of_call`` will work for the calls of ``multicallable``: they are grpcio's own or around those."""
    for _ in range(MAX_LAYERS if usable() and _event_handler is not None else 0):
        if hasattr(multicallable, "_managed_call"):
            return True
        multicallable = getattr(multicallable, "_inner", None)
    return False


def sender_of_call(call: Any) -> Send | None:
    """Return what sends on a call object of the sync stack; ``None`` if that cannot be had."""
    state: Any = getattr(call, "_state", None)
    inner: Any = getattr(call, "_call", None)
    if _event_handler is None or not hasattr(inner, "operate") or not hasattr(state, "due"):
        return None
    handle: Any = _event_handler(state, None)

    def send(data: bytes, done: Callable[[], object]) -> bool:
        def taken(event: Any) -> Any:
            over = handle(event)
            done()
            return over

        with state.condition:
            if state.code is not None or _SEND_MESSAGE in state.due:
                return False
            state.due.add(_SEND_MESSAGE)
            if not inner.operate((_SendMessage(data, 0),), taken):
                state.due.discard(_SEND_MESSAGE)
                return False
        return True

    return send


def sender_of_context(context: Any) -> Send | None:
    """Return what sends on the response stream of a sync handler; ``None`` if that cannot be had.

    It sends nothing before initial metadata were sent.
    """
    try:
        from grpc import _server

        if not usable() or _SendMessage is None:
            return None
        state, call = context._state, context._rpc_event.call
        possibly_finish, is_active, token = _server._possibly_finish_call, _server._is_rpc_state_active, "in-band beat"
        if not (isinstance(state.due, set) and hasattr(state, "initial_metadata_allowed")):
            return None
    except Exception as error:
        _faults.record("grpcio.sender_of_context", error)
        return None

    def send(data: bytes, done: Callable[[], object]) -> bool:
        def taken(_: Any) -> Any:
            with state.condition:
                result = possibly_finish(state, token)
            done()
            return result

        with state.condition:
            if not is_active(state) or state.initial_metadata_allowed or token in state.due:
                return False
            state.due.add(token)
            try:
                call.start_server_batch((_SendMessage(data, 0),), taken)
            except BaseException:
                state.due.discard(token)
                raise
        return True

    return send

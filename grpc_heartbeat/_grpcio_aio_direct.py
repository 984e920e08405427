"""What leans on private names of grpc.aio for speed: a unary-unary call made from metadata as gRPC's C library takes them.

grpc.aio turns the metadata of every call into a ``Metadata``, a dictionary of lists, and that into the tuple of entries that
it gives away. For a call whose only entry is ours, or which has none, that is as dear as the rest of our work. Here the same
call object is made, of grpc.aio's own class, from that tuple; all that follows is grpc.aio's.

What grpc.aio would make is not believed but looked at, once per process (``_self_test``): calls of several kinds are made
both ways on stand-ins, and must come out equal. Where they do not, or where a name is missing, calls are made as ever.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, cast

from grpc_heartbeat import _faults, _grpcio

_MultiCallable: Any = None

try:
    from grpc._cython import cygrpc
    from grpc.aio import _call, _channel

    _module = cast("Any", _channel)
    _Call, _deadline_of = cast("Any", _call).UnaryUnaryCall, _module._timeout_to_deadline
    _census_context = cast("Any", cygrpc).build_census_context
    _MultiCallable = _module.UnaryUnaryMultiCallable
    _as_released = (_MultiCallable.__call__, _Call.__init__)
except (ImportError, AttributeError):  # pragma: no cover - a later grpcio
    _MultiCallable = None

Maker = Callable[..., Any]
"""Makes a call, with the arguments of a multicallable. All of them must be given, all but the request by name."""


def maker(multicallable: Any) -> Maker:
    """Return what makes the calls of a unary-unary ``multicallable``: directly, if it is grpc.aio's own."""
    if type(multicallable) is not _MultiCallable or multicallable._interceptors or not _trusted():
        made: Maker = multicallable
        return made
    return DirectCalls(multicallable)


class DirectCalls:
    """Makes the calls of one multicallable of grpc.aio's without interceptors."""

    __slots__ = (
        "_add",
        "_channel",
        "_deserializer",
        "_loop",
        "_method",
        "_new_call",
        "_otherwise",
        "_registered",
        "_serializer",
    )

    def __init__(self, multicallable: Any) -> None:
        self._otherwise = multicallable
        self._new_call = multicallable._channel.call
        self._add = multicallable._python_channel._active_calls.add
        self._method = multicallable._method
        self._serializer = multicallable._request_serializer
        self._deserializer = multicallable._response_deserializer
        self._loop = multicallable._loop
        self._registered = multicallable._registered_call_handle

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None,
        metadata: Any,
        credentials: Any,
        wait_for_ready: bool | None,
        compression: Any,
    ) -> Any:
        if metadata is None:
            metadata = ()
        # More entries than one would be put in order by their keys.
        if compression or type(metadata) is not tuple or len(metadata) > 1:
            return self._otherwise(
                request,
                timeout=timeout,
                metadata=metadata,
                credentials=credentials,
                wait_for_ready=wait_for_ready,
                compression=compression,
            )
        # What the two initializers do, without their frames.
        call = _Call.__new__(_Call)
        call._cython_call = self._new_call(
            self._method, _deadline_of(timeout), credentials, wait_for_ready, self._registered
        )
        call._loop = loop = self._loop
        call._metadata = metadata
        call._request_serializer = self._serializer
        call._response_deserializer = self._deserializer
        call._request = request
        call._context = _census_context()
        call._invocation_task = call._call_response = loop.create_task(call._invoke())
        # Calls that are done leave these by going away. grpc.aio sees to it with a callback, which keeps each in a cycle.
        self._add(call)
        return call


_test_lock = threading.Lock()
_test_passed: bool | None = None


def _trusted() -> bool:
    """Tell whether grpc.aio makes its calls as they are made here; the first call of this finds out."""
    global _test_passed
    if not _grpcio.usable():
        return False
    with _test_lock:
        if _test_passed is None:
            try:
                _test_passed = _self_test()
            except Exception as error:
                _faults.record("grpcio_aio_direct.self_test", error)
                _test_passed = False
        return _test_passed


def _self_test() -> bool:
    """Make calls of several kinds both ways; return whether that can be done, and raise if they differ."""
    if (_MultiCallable.__call__, _Call.__init__) != _as_released:
        raise RuntimeError("somebody has changed how grpc.aio makes calls")
    if not hasattr(_module.Channel, "_register_call"):
        return False  # an early grpcio, which finds the calls of a channel by their tasks
    for timeout, metadata, wait_for_ready in ((None, None, None), (-1e6, (("key", "value"),), True)):
        made: list[object] = []
        for direct in (False, True):
            stand_in = _StandIn()
            multicallable = stand_in.multicallable()
            call = (DirectCalls(multicallable) if direct else multicallable)(
                b"request",
                timeout=timeout,
                metadata=metadata,
                credentials=None,
                wait_for_ready=wait_for_ready,
                compression=None,
            )
            made.append((stand_in.seen(), type(call), _comparable(call), list(stand_in._active_calls) == [call]))
        if made[0] != made[1]:
            raise RuntimeError(f"grpc.aio makes its calls otherwise: {made[0]}, not {made[1]}")
    return True


class _StandIn:
    """Stands in for whatever a call is made of, and records how it is used."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self._active_calls: weakref.WeakSet[Any] = weakref.WeakSet()

    def multicallable(self) -> Any:
        made = _MultiCallable.__new__(_MultiCallable)
        for name in ("_channel", "_python_channel", "_loop"):
            setattr(made, name, self)
        made._method, made._interceptors, made._registered_call_handle = b"/a/b", [], 7
        made._request_serializer, made._response_deserializer = bytes.upper, bytes.lower
        return made

    def call(self, *args: Any) -> Any:
        self.asked.append(args)
        return self

    def create_task(self, work: Any) -> str:
        work.close()
        return f"the task of {work.__qualname__}"

    def _register_call(self, call: Any) -> None:
        _module.Channel._register_call(self, call)

    def add_done_callback(self, callback: Any) -> None:
        self.asked.append(("told when done",))

    def done(self) -> bool:
        return True

    def seen(self) -> list[Any]:
        """Return what the call was made with; a deadline, which is an instant, only roughly."""
        return [round(one / 1e5) if type(one) is float else one for one in self.asked[0]]


def _comparable(call: Any) -> dict[str, Any]:
    return {name: None if isinstance(value, _StandIn) else value for name, value in vars(call).items()}

"""The methods of channels with adaptive totals, of both stacks: they tell how their calls end."""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._timers import clock
from grpc_heartbeat.adaptive import AdaptiveTimeouts, MethodTotal
from grpc_heartbeat.channel import multicallables, multicallables_aio


class _Blocking:
    """Those of the sync stack whose call may block."""

    learnt: MethodTotal

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        started = clock()
        try:
            call = super().__call__  # type: ignore[misc]  # of the multicallable beside this one
            response = call(request, timeout, metadata, credentials, wait_for_ready, compression)
        except grpc.RpcError as error:
            self._failed(error, started)
            raise
        self.learnt.answered(started)
        return response

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        started = clock()
        try:
            response = super().with_call(*args, **kwargs)  # type: ignore[misc]  # as above
        except grpc.RpcError as error:
            self._failed(error, started)
            raise
        self.learnt.answered(started)
        return response

    def future(self, *args: Any, **kwargs: Any) -> Any:
        started = clock()
        call = super().future(*args, **kwargs)  # type: ignore[misc]  # as above
        call.add_done_callback(partial(self._done, started))
        return call

    def _failed(self, error: grpc.RpcError, started: float) -> None:
        if isinstance(error, grpc.Call):
            self.learnt.failed(error.code().name, started)

    def _done(self, started: float, call: Any) -> None:
        code = call.code()
        if code is grpc.StatusCode.OK:
            self.learnt.answered(started)
        else:
            self.learnt.failed(code.name, started)


class UnaryUnary(_Blocking, multicallables.UnaryUnary):
    """A unary-unary method."""


class StreamUnary(_Blocking, multicallables.StreamUnary):
    """A stream-unary method."""


class _Awaited:
    """Those of the asyncio stack."""

    learnt: MethodTotal

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        started = clock()
        call = super().__call__(*args, **kwargs)  # type: ignore[misc]  # of the multicallable beside this one
        call.add_done_callback(partial(self._done, started))
        return call

    def _done(self, started: float, call: Any) -> None:
        code = call.code()  # a coroutine that has nothing to wait for
        try:
            code.send(None)
        except StopIteration as status:
            if status.value is grpc.StatusCode.OK:
                self.learnt.answered(started)
            else:
                self.learnt.failed(status.value.name, started)
        except Exception as error:
            _faults.record("adapted.done", error)
        finally:
            code.close()


class AioUnaryUnary(_Awaited, multicallables_aio.UnaryUnary):
    """A unary-unary method."""


class AioStreamUnary(_Awaited, multicallables_aio.StreamUnary):
    """A stream-unary method."""


_KINDS = {
    multicallables.UnaryUnary: UnaryUnary,
    multicallables.StreamUnary: StreamUnary,
    multicallables_aio.UnaryUnary: AioUnaryUnary,
    multicallables_aio.StreamUnary: AioStreamUnary,
}


def adapted(kind: Any, policy: AdaptiveTimeouts, streams: bool, owner: Any, inner: Any, method: str, *more: Any) -> Any:
    """Return a multicallable whose total follows what ``policy`` learns of ``method``, if that has a total and one response."""
    limits = policy.limits(method, streams=streams)
    learnt = policy.method(method) if kind in _KINDS else None
    if learnt is None:
        return kind(owner, inner, method, limits, *more)
    multicallable = _KINDS[kind](owner, inner, method, limits, *more)
    multicallable.learnt = learnt
    learnt.join(multicallable)
    return multicallable

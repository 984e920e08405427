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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._timed(super().__call__, args, kwargs)  # type: ignore[misc]  # of the multicallable beside this one

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        return self._timed(super().with_call, args, kwargs)  # type: ignore[misc]

    def future(self, *args: Any, **kwargs: Any) -> Any:
        started = clock()
        call = super().future(*args, **kwargs)  # type: ignore[misc]
        call.add_done_callback(partial(self._done, started))
        return call

    def _timed(self, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        started = clock()
        try:
            response = call(*args, **kwargs)
        except grpc.RpcError as error:
            self.learnt.ended(error.code().name if isinstance(error, grpc.Call) else "", started)
            raise
        self.learnt.ended("OK", started)
        return response

    def _done(self, started: float, call: Any) -> None:
        self.learnt.ended(call.code().name, started)


class UnaryUnary(_Blocking, multicallables.UnaryUnary):
    """A unary-unary method."""


class StreamUnary(_Blocking, multicallables.StreamUnary):
    """A stream-unary method."""


class _Awaited:
    """Those of the asyncio stack."""

    learnt: MethodTotal

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        started = clock()
        call = super().__call__(*args, **kwargs)  # type: ignore[misc]
        call.add_done_callback(partial(self._done, started))
        return call

    def _done(self, started: float, call: Any) -> None:
        code = call.code()  # a coroutine that has nothing to wait for
        try:
            code.send(None)
        except StopIteration as status:
            self.learnt.ended(status.value.name, started)
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

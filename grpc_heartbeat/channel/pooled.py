"""A ``grpc.Channel`` over several connections, for the sync stack."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc

from grpc_heartbeat._ticks import Ticks, ticks
from grpc_heartbeat._types import (
    StreamStreamBase,
    StreamUnaryBase,
    UnaryStreamBase,
    UnaryUnaryBase,
)
from grpc_heartbeat.channel.connection import WATCH_ENDS
from grpc_heartbeat.channel.connectivity import Listener, Subscriptions
from grpc_heartbeat.channel.kinds import Kind, Kinds, Signature
from grpc_heartbeat.channel.pool import ChannelPool, Held, Pooled, outcome_of_call
from grpc_heartbeat.channel.sync import Channel
from grpc_heartbeat.config import PoolPolicy
from grpc_heartbeat.core.pool import Outcome, PoolMember

_CLOSING_LIMIT = 5.0

SyncMember = PoolMember[Held[Channel]]


class SyncPool(ChannelPool[Channel]):
    """The connections of a :class:`PooledChannel`."""

    def __init__(self, make: Callable[[], Channel], policy: PoolPolicy, target: str = "") -> None:
        super().__init__(make, policy, target)
        self.subscriptions = Subscriptions(self.channels)
        self._closings: set[threading.Thread] = set()

    def subscribe(self, listener: Listener, try_to_connect: bool) -> None:
        """Tell ``listener`` of the connectivity; somebody has to ask for it, so the first channel is made."""
        self._pool.members[0].held.channel()
        self.subscriptions.add(listener, try_to_connect)

    def close(self) -> None:
        """Close all channels."""
        channels = self._stop()
        for channel in channels:
            channel.close()
        with self._lock:
            closings = list(self._closings)
        for thread in closings:
            thread.join(_CLOSING_LIMIT)

    def _began(self, channel: Channel) -> None:
        super()._began(channel)
        self.subscriptions.watch(channel)

    def _ticks(self) -> Ticks:
        return ticks()

    def _probe(self, member: SyncMember) -> None:
        call = member.held.channel().unary_unary(member.held.probe)
        future = call.future(b"", timeout=self.policy.probe_timeout, wait_for_ready=False)
        future.add_done_callback(lambda done: self._answered(member, done.code()))

    def _close_ended(self, members: list[SyncMember]) -> None:
        # A closing channel waits for its heartbeat's goodbye, and this may be the thread of a call or of gRPC.
        thread = threading.Thread(target=self._close_all, args=(members,), name="grpc-heartbeat pool", daemon=True)
        with self._lock:
            self._closings.add(thread)
            thread.start()  # within the lock: one that is waited for has been started

    def _close_all(self, members: list[SyncMember]) -> None:
        try:
            for member in members:
                channel = member.held.close()
                if channel is not None:
                    if self.subscriptions.leave(channel):
                        threading.Event().wait(WATCH_ENDS)
                    channel.close()
        finally:
            self._closings.discard(threading.current_thread())


class _Lease:
    """A call with a call object, from its start to its end, of which it is told once."""

    __slots__ = ("_call", "_member", "_pool")

    def __init__(self, pool: SyncPool, member: SyncMember) -> None:
        self._pool: SyncPool | None = pool
        self._member = member

    def watch(self, call: Any) -> None:
        # Not by a done-callback, which would keep the call alive: one that is dropped would never be cancelled.
        self._call = weakref.ref(call, self.drop)
        if not call.add_callback(self.end):
            self.end()

    def drop(self, _: object) -> None:
        """The call is gone, which the garbage collector may tell in the midst of anything."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.dropped(self._member)

    def end(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            call = self._call()
            pool.give_back(self._member, Outcome.UNKNOWN if call is None else outcome_of_call(call))


class _Method(Pooled[Channel]):
    _pool: SyncPool

    def _block(self, way: str, arguments: Any, options: Any) -> Any:
        member = self._pool.take()
        outcome = Outcome.UNKNOWN
        try:
            response = getattr(self.on(member), way)(*arguments, **options)
            outcome = Outcome.ANSWERED
            return response
        except grpc.RpcError as error:
            outcome = outcome_of_call(error)
            raise
        finally:
            self._pool.give_back(member, outcome)

    def _start(self, way: str, arguments: Any, options: Any) -> Any:
        member = self._pool.take()
        try:
            call = getattr(self.on(member), way)(*arguments, **options)
        except BaseException:
            self._pool.give_back(member, Outcome.UNKNOWN)
            raise
        _Lease(self._pool, member).watch(call)
        return call


class _OneResponse(_Method):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._block("__call__", arguments, options)

    def with_call(self, *arguments: Any, **options: Any) -> Any:
        return self._block("with_call", arguments, options)

    def future(self, *arguments: Any, **options: Any) -> Any:
        return self._start("future", arguments, options)


class _Responses(_Method):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._start("__call__", arguments, options)


class _UnaryUnary(_OneResponse, UnaryUnaryBase):
    kind = "unary_unary"


class _UnaryStream(_Responses, UnaryStreamBase):
    kind = "unary_stream"


class _StreamUnary(_OneResponse, StreamUnaryBase):
    kind = "stream_unary"


class _StreamStream(_Responses, StreamStreamBase):
    kind = "stream_stream"


_KINDS = {
    "unary_unary": _UnaryUnary,
    "unary_stream": _UnaryStream,
    "stream_unary": _StreamUnary,
    "stream_stream": _StreamStream,
}


class PooledChannel(Kinds, grpc.Channel):
    """Spreads its calls over channels that ``make`` makes, each with its own connection. Made by ``pooled_channel``.

    Attributes:
        pool: Its connections: ``channel.pool.snapshot()`` tells how they are and how often one was reused.
    """

    def __init__(self, make: Callable[[], Channel], policy: PoolPolicy, target: str = "") -> None:
        self.pool = SyncPool(make, policy, target)

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool | None = False
    ) -> None:
        """Tell ``callback`` of the best state of any connection, from now on; ``try_to_connect`` makes one of them."""
        self.pool.subscribe(callback, bool(try_to_connect))

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        self.pool.subscriptions.remove(callback)

    def _method(self, kind: Kind, signature: Signature) -> Any:
        return _KINDS[kind](self, *signature)

    def close(self) -> None:
        """Close all connections; calls in flight are cancelled."""
        self.pool.close()

    def __enter__(self) -> PooledChannel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

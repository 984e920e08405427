"""A sync channel whose calls stop while its heartbeats find the peer dead, and whose connection is then replaced.

What it is made of: ``switch.py`` says where calls go, ``guarded_calls.py`` are its methods, ``waiting.py`` the calls that wait.
Each connection is a ``Channel`` as there is without a breaker; this one stands before them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.channel.guarded_calls import (
    GuardedStreamStream,
    GuardedStreamUnary,
    GuardedUnaryStream,
    GuardedUnaryUnary,
)
from grpc_heartbeat.channel.kinds import Kind, Signature
from grpc_heartbeat.channel.switch import Switch, moved_by
from grpc_heartbeat.channel.sync import Channel
from grpc_heartbeat.config import BreakerPolicy, HeartbeatPolicy, Identity
from grpc_heartbeat.policy import TimeoutPolicy

if TYPE_CHECKING:
    from grpc_heartbeat.heartbeat.client import SyncHeartbeat

StateCallback = Callable[[grpc.ChannelConnectivity], None]

_WATCH_ENDS = 0.3
"""Seconds after which grpcio's watching thread has noticed that nobody listens; closing its channel sooner makes it fail."""


_KINDS = {
    "unary_unary": GuardedUnaryUnary,
    "unary_stream": GuardedUnaryStream,
    "stream_unary": GuardedStreamUnary,
    "stream_stream": GuardedStreamStream,
}


class _Fitter:
    """Makes, moves to and closes channels. It does not know the guarded channel, which may be dropped."""

    heartbeat: SyncHeartbeat

    def __init__(self, make: Callable[[int], Channel | None]) -> None:
        self.make = make
        self.watchers: dict[StateCallback, bool] = {}

    def moved(self, old: Channel, new: Channel, after: float) -> None:
        if new is not old:
            for callback, try_to_connect in tuple(self.watchers.items()):
                try:
                    old.unsubscribe(callback)
                    new.subscribe(callback, try_to_connect)
                except Exception as error:
                    _faults.record("channel.subscribe", error)
        new.connection.made = weakref.WeakMethod(self.heartbeat.connected_anew)
        self.heartbeat.move(new.plain, after)

    def close(self, channel: Channel) -> None:
        timers().timeout(_WATCH_ENDS, channel.close).arm(clock())


class GuardedChannel(Channel):
    """Made by ``insecure_channel``, ``secure_channel`` and ``wrap_channel`` with ``breaker=``.

    Args:
        first: The channel of the first connection.
        make: Makes that of a later generation; returns ``None`` where none can be made.
        timeouts: Those of ``first``.
        breaker: When calls stop.

    Attributes:
        breaker: What is known of the breaker, and who is told of it.
        switch: Where calls go.
    """

    def __init__(
        self, first: Channel, make: Callable[[int], Channel | None], timeouts: TimeoutPolicy, breaker: BreakerPolicy
    ) -> None:
        self._fitter = _Fitter(make)
        self._policy = breaker
        self._timeouts = timeouts
        self.heartbeat = None
        self.switch: Switch[Channel] = Switch(first, self._fitter)

    @property
    def _inner(self) -> Channel:  # type: ignore[override]  # what a plain channel has is made once
        return self.switch.current.channel

    @property
    def connection(self) -> Any:  # type: ignore[override]  # as above
        """What is known of the present connection."""
        return self._inner.connection

    @property
    def plain(self) -> grpc.Channel:
        return self._inner.plain

    def start_heartbeat(self, policy: HeartbeatPolicy, identity: Identity, name: str) -> None:
        from grpc_heartbeat.heartbeat.client import SyncHeartbeat  # loads OpenTelemetry

        self.heartbeat = heartbeat = SyncHeartbeat(self.plain, policy, identity, name=name, breaker=self._policy)
        self._fitter.heartbeat = heartbeat
        self.breaker = moved_by(heartbeat, self, self._policy, name)
        heartbeat.start()

    def subscribe(self, callback: StateCallback, try_to_connect: bool | None = False) -> None:
        self._fitter.watchers[callback] = bool(try_to_connect)
        super().subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: StateCallback) -> None:
        self._fitter.watchers.pop(callback, None)
        super().unsubscribe(callback)

    def _method(self, kind: Kind, signature: Signature) -> Any:
        return _KINDS[kind](self, signature)

    def close(self) -> None:
        channels = self.switch.close()
        if self.heartbeat is not None:
            self.heartbeat.close()
        for channel in channels:
            channel.close()

"""The one state that a channel over several connections is in: the best of theirs, as gRPC's own ``round_robin`` says it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import grpc

from grpc_heartbeat import _faults

_BEST_FIRST = (
    grpc.ChannelConnectivity.READY,
    grpc.ChannelConnectivity.CONNECTING,
    grpc.ChannelConnectivity.IDLE,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
)

Listener = Callable[[grpc.ChannelConnectivity], None]


def best_of(states: Iterable[grpc.ChannelConnectivity]) -> grpc.ChannelConnectivity:
    """Return the state of a channel whose connections are in ``states``: SHUTDOWN if none is in any other."""
    found = set(states)
    return next((state for state in _BEST_FIRST if state in found), grpc.ChannelConnectivity.SHUTDOWN)


class Subscriptions:
    """Who is told of the connectivity of a sync channel over several others, which are watched while anybody is.

    Args:
        channels: Returns the channels, as far as there are any yet.
    """

    def __init__(self, channels: Callable[[], list[Any]]) -> None:
        self._channels = channels
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._watched: dict[Any, Listener] = {}
        self._states: dict[Any, grpc.ChannelConnectivity] = {}
        self._last: grpc.ChannelConnectivity | None = None
        self._waiting: deque[tuple[Listener, grpc.ChannelConnectivity]] = deque()
        self._delivering = threading.Lock()

    def add(self, listener: Listener, try_to_connect: bool) -> None:
        """Tell ``listener`` the present state and every other one; ``try_to_connect``: have the first channel connect."""
        with self._lock:
            self._listeners.append(listener)
            if self._last is not None:
                self._waiting.append((listener, self._last))
        for index, channel in enumerate(self._channels()):
            self.watch(channel, try_to_connect and not index)
        self._deliver()

    def remove(self, listener: Listener) -> None:
        """Tell ``listener`` nothing more; one that is unknown is ignored."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
            watched = [] if self._listeners else list(self._watched)
        for channel in watched:
            self.leave(channel)

    def watch(self, channel: Any, try_to_connect: bool = False) -> None:
        """Watch ``channel`` too, if anybody wants to know."""
        with self._lock:
            if not self._listeners:
                return
            known = self._watched.get(channel)
            if known is None:
                known = self._watched[channel] = partial(self._changed, channel)
            elif not try_to_connect:
                return
        channel.subscribe(known, try_to_connect)

    def leave(self, channel: Any) -> bool:
        """Watch ``channel`` no more; return whether it was watched."""
        with self._lock:
            known = self._watched.pop(channel, None)
            self._states.pop(channel, None)
            if not self._watched:
                self._last = None
        if known is None:
            return False
        channel.unsubscribe(known)
        return True

    def _changed(self, channel: Any, state: grpc.ChannelConnectivity) -> None:
        with self._lock:
            if channel not in self._watched:
                return
            self._states[channel] = state
            best = best_of(self._states.values())
            if best is not self._last:
                self._last = best
                self._waiting.extend((listener, best) for listener in self._listeners)
        self._deliver()

    def _deliver(self) -> None:
        """Tell in the order in which it happened, whichever thread comes first."""
        while self._waiting and self._delivering.acquire(blocking=False):
            try:
                while self._waiting:
                    listener, state = self._waiting.popleft()
                    listener(state)
            except Exception as error:
                _faults.record("pool.connectivity", error)
            finally:
                self._delivering.release()

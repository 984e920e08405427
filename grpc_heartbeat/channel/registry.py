"""Tells a service registry of somebody else's whether a peer is up, as the breaker of a channel finds.

Theory of operation. A registry is asked over a network, so it is told on a thread of ours, which lives only while there is
something to tell. Only the newest state matters: states that came and went while the registry was busy are left out, and the
same state is not told twice in a row. So whatever happens, the registry hears the truth last, and each change at most once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from grpc_heartbeat import _faults
from grpc_heartbeat.config import Identity


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a change is about: the channel's ``target``, and who answered there, if anybody has."""

    target: str
    identity: Identity | None


class PeerRegistry(Protocol):
    """A registry. Its methods may block; what they raise is logged, and the next change is told all the same."""

    def up(self, peer: Peer) -> object:
        """The peer answers, and gets calls."""

    def down(self, peer: Peer, why: str) -> object:
        """The peer is dead or stuck, and gets no calls."""


class Registrar:
    """Tells one registry of one peer.

    Args:
        identity: Returns who the peer is, as it said itself.
    """

    def __init__(self, registry: PeerRegistry, target: str, identity: Callable[[], Identity | None]) -> None:
        self._registry = registry
        self._target = target
        self._identity = identity
        self._lock = threading.Lock()
        self._wanted: tuple[bool, str] | None = None
        self._told: bool | None = None
        self._telling = False

    def hear(self, up: bool, why: str) -> None:
        """Have the registry told; returns at once."""
        with self._lock:
            self._wanted = (up, why)
            if self._telling:
                return
            self._telling = True
        threading.Thread(target=self._tell, name="grpc-heartbeat registry", daemon=True).start()

    def _tell(self) -> None:
        while True:
            with self._lock:
                wanted, self._wanted = self._wanted, None
                if wanted is None or wanted[0] is self._told:
                    self._telling = False
                    return
                self._told = up = wanted[0]
            peer = Peer(self._target, self._identity())
            try:
                if up:
                    self._registry.up(peer)
                else:
                    self._registry.down(peer, wanted[1])
            except Exception as error:
                _faults.record("channel.registry", error)

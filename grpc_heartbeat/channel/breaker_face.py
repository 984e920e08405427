"""What a channel shows of its breaker (``channel.breaker``), and who else is told when it opens and closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpc_heartbeat import _faults
from grpc_heartbeat.channel.registry import PeerRegistry, Registrar
from grpc_heartbeat.config import BreakerPolicy
from grpc_heartbeat.core.breaker import BreakerClosed, BreakerOpened, BreakerSnapshot
from grpc_heartbeat.core.events import Event, Listening
from grpc_heartbeat.core.wording import Verdict, refused_by_breaker, waited_for_breaker

Listener = Callable[[bool, str], object]


class ChannelBreaker:
    """The breaker of a channel. Every method may be called from any thread.

    Args:
        heartbeat: What moves it.
        policy: Its policy.
        target: Of the channel, for registries.
    """

    def __init__(self, heartbeat: Any, policy: BreakerPolicy, target: str) -> None:
        self._heartbeat = heartbeat
        self._target = target
        self._listeners: Listening[Listener] = Listening()
        self.policy = policy
        self.waits = policy.when_open == "wait"

    def snapshot(self) -> BreakerSnapshot:
        """Return what is known now, without taking a lock."""
        found: BreakerSnapshot = self._heartbeat.breaker.snapshot
        return found

    @property
    def closed(self) -> bool:
        """Whether calls are let through."""
        return self.snapshot().closed

    def listen(self, listener: Listener) -> None:
        """Call ``listener(up, why)`` now, and each time the breaker opens (``up`` is false, with the reason) or closes.

        Changes come in order, each once, on the thread or loop of the heartbeat: a listener must not block.
        """
        self._listeners.add(listener)
        known = self.snapshot()
        _tell(listener, known.closed, known.why)

    def unlisten(self, listener: Listener) -> None:
        """Undo :meth:`listen`; unknown listeners are ignored."""
        self._listeners.remove(listener)

    def register(self, registry: PeerRegistry) -> None:
        """Tell ``registry`` whether the peer is up: now and at each change, on a thread of ours, the newest state last."""
        self.listen(Registrar(registry, self._target, lambda: self._heartbeat.snapshot().peer).hear)

    def hear(self, event: Event) -> None:
        """Take in an event of the heartbeat."""
        if isinstance(event, BreakerOpened):
            if not event.again:
                self._tell_all(False, event.why)
        elif isinstance(event, BreakerClosed):
            self._tell_all(True, "")

    def refused(self, method: str, now: float) -> Verdict:
        """Return how a call of ``method`` ends that is not let through."""
        breaker = self._heartbeat.breaker
        return refused_by_breaker(method, breaker.refusal(now), breaker.snapshot.why)

    def waited(self, method: str, limit: float, elapsed: float, now: float) -> Verdict:
        """Return how a call of ``method`` ends that has waited for as long as it could."""
        breaker = self._heartbeat.breaker
        return waited_for_breaker(method, limit, elapsed, breaker.refusal(now), breaker.snapshot.why)

    def _tell_all(self, up: bool, why: str) -> None:
        for listener in self._listeners.listening:
            _tell(listener, up, why)


def _tell(listener: Listener, up: bool, why: str) -> None:
    try:
        listener(up, why)
    except Exception as error:
        _faults.record("channel.breaker_listener", error)

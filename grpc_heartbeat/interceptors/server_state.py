"""What the RPCs of one server interceptor share: its policy, its figures, and whether the server is shutting down."""

from __future__ import annotations

import threading

from grpc_heartbeat import _faults, _in_flight
from grpc_heartbeat._call_events import rpc_events
from grpc_heartbeat.core.admission import Admission, ServerStats
from grpc_heartbeat.core.events import Event, Observer, Observers
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.core.server_events import RpcExpired, RpcRejected, RpcStarted
from grpc_heartbeat.interceptors.admission import DEFAULT_ACCEPT_AFTER, ServerPolicy, check_part
from grpc_heartbeat.interceptors.method import Method


class ServerState:
    """One per interceptor.

    Attributes:
        accept_after: Seconds after which a handler's RPC is accepted early, where the policy does not say otherwise.
        draining: Whether the server is shutting down.
        live: The scopes of RPCs in flight that something depends on. The others are not worth keeping track of: what asks
            them later, or starts in them, looks at ``draining`` and ``called_off`` first.
    """

    def __init__(self, policy: ServerPolicy | None = None, accept_after: float | None = DEFAULT_ACCEPT_AFTER) -> None:
        if policy is not None and not isinstance(policy, ServerPolicy):
            raise TypeError(f"policy must be a ServerPolicy or None, not {type(policy).__name__} ({policy!r})")
        self.policy = policy
        self.accept_after = check_part("accept_after", "accept_after", accept_after)
        self.observers = Observers(_observer_failed)
        self.draining = False
        self.called_off = False
        self.live: set[Scope] = set()
        self._lock = threading.Lock()
        _in_flight.counted = True
        self._admission = Admission() if policy is None else _admission(policy)

    def method(self, path: str) -> Method:
        """Return what holds for the RPCs of ``path``."""
        with self._lock:
            counts = self._admission.counts(path)
        policy = self.policy
        if policy is None:
            return Method(path, self, counts, None, self.accept_after)
        return Method(path, self, counts, policy.limits(path), policy.accept_after(path, self.accept_after))

    def expired(self, method: Method, now: float) -> str:
        """Count an RPC whose budget is spent; return the details of its rejection."""
        with self._lock:
            self._admission.expired(method.counts)
        self.tell(RpcExpired(now, method.path))
        return f"{method.path} was not started: its deadline had passed while the request was under way or queued"

    def admit(
        self, method: Method, deadline: float | None, now: float, arrived: float | None
    ) -> tuple[float | None, float | None, str | None]:
        """Judge an RPC whose handler is about to start, by the policy.

        Args:
            method: Its method, which has limits.
            deadline: When its client's budget ends.
            now: The monotonic clock.
            arrived: When it arrived, if that was seen.

        Returns:
            When its budget ends; the seconds after which the server has to end it itself, or ``None``; the details with which
            it is to be rejected, or ``None``.
        """
        if deadline is not None and deadline <= now:
            return deadline, None, self.expired(method, now)
        limits = method.limits
        assert limits is not None
        left = None if deadline is None else deadline - now
        minimum = limits.minimum_budget
        short = minimum is not None and left is not None and left < minimum
        delay = 0.0 if arrived is None else now - arrived
        with self._lock:
            if arrived is not None:
                self._admission.delayed(delay)
            rejected = self._admission.rejects(method.counts, short, now)
        if short and left is not None and minimum is not None:
            self.tell(RpcRejected(now, method.path, left, minimum, rejected))
        if self.observers and not rejected:
            self.observers.emit(RpcStarted(now, method.path, left, delay))
        if rejected:
            return (
                deadline,
                None,
                (
                    f"{method.path} was not started: {left:.3f} s of its budget were left, and its server wants at least "
                    f"{minimum:g} s (minimum_budget, {limits.source})"
                ),
            )
        own = limits.own(left)
        return (deadline if own is None else now + own), own, None

    def stats(self) -> ServerStats:
        """Return the figures so far."""
        with self._lock:
            return self._admission.stats()

    def tell(self, event: Event) -> None:
        """Hand ``event`` to the observers, those of this server and those of all."""
        if self.observers:
            self.observers.emit(event)
        if rpc_events:
            rpc_events.emit(event)

    def drain(self, cancel: bool) -> None:
        """Note that the server is shutting down; with ``cancel``, call the work of all RPCs in flight off."""
        self.draining = True
        if cancel:
            self.called_off = True
            for scope in list(self.live):
                end_scope(scope, Reason.DRAINING)


class Asked:
    """What an application may ask of an interceptor, in both stacks."""

    _state: ServerState

    @property
    def observers(self) -> Observers:
        """Those who hear of RPCs that are started, rejected, ended or accepted early (``grpc_heartbeat.events``)."""
        return self._state.observers

    def stats(self) -> ServerStats:
        """Return what was counted since the interceptor was made."""
        return self._state.stats()

    def drain(self, *, cancel: bool = False) -> None:
        """Tell handlers that the server is shutting down: ``deadline.reason()`` says ``"draining"`` to those that ask.

        With ``cancel``, also end the outbound calls of all handlers, now and from now on. There is no way back. Call it
        before the server's ``stop(grace)``.
        """
        self._state.drain(cancel)


def end_scope(scope: Scope, reason: Reason) -> None:
    """Cancel ``scope``. Never raises."""
    for failure in scope.cancel(reason):
        _faults.record("server.cancel_member", failure)


def _admission(policy: ServerPolicy) -> Admission:
    return Admission(enforce=policy.enforce, max_reject_fraction=policy.max_reject_fraction, window=policy.window)


def _observer_failed(_: Observer, error: Exception) -> None:
    _faults.record("server.observer", error)

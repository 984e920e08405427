"""Call objects of the sync stack that wait until their channel's breaker lets calls through.

The application has its call object at once. What it asks before the call has started is answered for a call that is under way
and has received nothing; what has to wait for the server waits for the start first. The call starts when the breaker closes, in
the context in which it was made, with what is left of its own budget. It ends without being sent when the budget is spent or
the application cancels it; when its scope ends, it starts, and is refused for that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.channel.delegate import DelegatingCall
from grpc_heartbeat.channel.switch import Switch
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.core.wording import Verdict
from grpc_heartbeat.errors import EndedCall, timeout_of

_LEAST = 1e-6


class _UnstartedCall(EndedCall):
    """A call that could not be started."""

    def __init__(self, details: str) -> None:
        super().__init__(Verdict("CANCELLED", details, TimeoutFacts("breaker", None, 0.0, "breaker")))
        del self.timeout  # no limit did it

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.details(),)


class _CancelledCall(_UnstartedCall):
    """A call that the application cancelled before it started."""

    def __init__(self) -> None:
        super().__init__("Locally cancelled by application!")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def result(self, timeout: float | None = None) -> Any:
        raise grpc.FutureCancelledError()

    def exception(self, timeout: float | None = None) -> Exception:
        raise grpc.FutureCancelledError()


class WaitingCall(DelegatingCall):
    """A call that starts when ``switch`` lets calls through.

    Args:
        begin: Makes the call; it is given the seconds that are left of its own budget.
        expired: Says how it ends if its budget, of so many seconds, is spent after so many.
        limit: Its own budget in seconds, or ``None``.
        scope: What it was made in, or ``None``.
    """

    def __init__(
        self,
        switch: Switch[Any],
        begin: Callable[[float | None], Any],
        expired: Callable[[float, float], Verdict],
        limit: float | None,
        scope: Scope | None,
    ) -> None:
        grpc.RpcError.__init__(self)
        self._switch = switch
        self._begin = begin
        self._expired = expired
        self._limit = limit
        self._scope = scope
        self._made = clock()
        self._lock = threading.Lock()
        self._claimed = False
        self._call: Any = None
        self._there = threading.Event()
        self._callbacks: list[Callable[[Any], None]] = []
        deadline = None if scope is None else scope.deadline
        budget = limit if deadline is None else min(deadline - self._made, deadline if limit is None else limit)
        self._timer = None if budget is None else timers().timeout(max(budget, 0.0), lambda: self._expire(budget))
        if self._timer is not None:
            self._timer.arm(self._made)
        if scope is not None:
            scope.adopt(self)
        if not switch.wait(self._start):
            self._start()

    @property
    def _inner(self) -> Any:
        self._there.wait()
        return self._call

    @property
    def timeout(self) -> TimeoutFacts | None:
        """Why the call ended early; ``None`` while it has not, or if no limit did it."""
        return timeout_of(self._call) if self._there.is_set() else None

    def scope_cancelled(self, scope: Scope) -> None:
        """End now: nothing starts in a scope that is cancelled."""
        self._start()

    def _start(self) -> None:
        if not self._claim():
            return
        left = None if self._limit is None else max(self._limit - (clock() - self._made), _LEAST)
        if self._switch.over:
            self._become(_UnstartedCall("the channel was closed before the call could start"))
            return
        try:
            call = self._begin(left)
        except Exception as error:  # what the application would have been told if it had not waited
            call = _UnstartedCall(f"the call could not be started: {error}")
        self._become(call)

    def _expire(self, budget: float) -> None:
        if self._claim():
            self._become(EndedCall(self._expired(budget, clock() - self._made)))

    def _claim(self) -> bool:
        with self._lock:
            claimed, self._claimed = self._claimed, True
        return not claimed

    def _become(self, call: Any) -> None:
        self._switch.leave(self._start)
        if self._timer is not None:
            self._timer.cancel()
        if self._scope is not None:
            self._scope.release(self)
        with self._lock:
            self._call = call
            callbacks, self._callbacks = self._callbacks, []
            self._there.set()
        for callback in callbacks:
            try:
                callback(call)
            except Exception as error:
                _faults.record("channel.waiting", error)

    def _once_there(self, callback: Callable[[Any], None]) -> None:
        with self._lock:
            if self._call is None:
                self._callbacks.append(callback)
                return
        callback(self._call)

    def is_active(self) -> bool:
        return not self._there.is_set() or super().is_active()

    def running(self) -> bool:
        return not self._there.is_set() or super().running()

    def done(self) -> bool:
        return self._there.is_set() and super().done()

    def cancelled(self) -> bool:
        return self._there.is_set() and super().cancelled()

    def time_remaining(self) -> Any:
        if self._there.is_set():
            return super().time_remaining()
        return None if self._limit is None else max(0.0, self._limit - (clock() - self._made))

    def cancel(self) -> bool:
        if self._claim():
            self._become(_CancelledCall())
            return True
        return super().cancel()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        if self._there.is_set():
            return super().add_callback(callback)
        self._once_there(lambda call: None if call.add_callback(callback) else callback())
        return True

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        self._once_there(lambda call: call.add_done_callback(lambda _: fn(self)))

    def result(self, timeout: float | None = None) -> Any:
        return super().result(self._until_there(timeout))

    def exception(self, timeout: float | None = None) -> Any:
        return super().exception(self._until_there(timeout))

    def _until_there(self, timeout: float | None) -> float | None:
        """Wait for the start; return what is left of ``timeout``."""
        if timeout is None or self._there.is_set():
            return timeout
        give_up = clock() + timeout
        if not self._there.wait(timeout):
            raise grpc.FutureTimeoutError()
        return max(0.0, give_up - clock())

    def __repr__(self) -> str:
        return (
            super().__repr__() if self._there.is_set() else f"<{type(self).__name__} of RPC that waits for its breaker>"
        )

    def __getattr__(self, name: str) -> Any:
        there = self.__dict__.get("_there")
        if there is None or not there.is_set():  # to ask whether there is an attribute must not wait for the start
            raise AttributeError(name)
        return super().__getattr__(name)

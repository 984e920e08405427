"""Futures and streams of the sync stack that end with their limits and with the scope that they were made in.

``hold`` puts a ``LimitedCall`` around grpcio's call object. The application has that; the call's ``HeldFlight`` has what ends
it, and is all that timers, scope and grpcio refer to. So a call that the application drops is noticed, and cancelled, as grpcio
does with its own.
"""

from __future__ import annotations

from contextvars import Context, copy_context
from time import monotonic
from typing import Any

import grpc

from grpc_heartbeat import _abandoned, _faults
from grpc_heartbeat._call_events import call_events, tell_flight_ended
from grpc_heartbeat._grpcio_at_once import cancel_at_once, headers_seen, single_threaded
from grpc_heartbeat.channel.delegate import DelegatingCall
from grpc_heartbeat.channel.flight import Flight, Line, in_a_thread
from grpc_heartbeat.channel.layers import Layers
from grpc_heartbeat.channel.scoped import told
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.core.guard import Guard, Stage
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.core.wording import Verdict, ended_by_scope
from grpc_heartbeat.errors import EndedCall, status_of, timeout_of

_DROPPED = "the application"


class HeldFlight(Flight):
    """The flight of a call object that the application holds, and its membership in a scope.

    Args:
        method, layers, started, line: As for every flight.
        timeout: The call's own time-out.
        scope: What it was made in.
        limit: Its total, as planned.
    """

    call: Any = None
    splits = True
    """Whether its initial metadata is read before its response."""
    ended_at: float | None = None
    origin: Context | None = None
    """What was current where the call was made, if somebody wants to hear of early ends."""
    reported = False
    """Whether they have heard of this one."""

    def __init__(
        self, method: str, layers: Layers, started: float, line: Line, timeout: Any, scope: Scope | None, limit: Any
    ) -> None:
        super().__init__(method, layers, started, line)
        self.timeout = timeout
        self.scope = scope
        self.limit = limit
        self.claims: list[Verdict | str] = []
        """Who wanted to end the call, in this order: a verdict of ours, or the application. The first one did it."""
        if call_events.listening:
            self.origin = copy_context()

    def hold(self, call: Any) -> None:
        """Watch ``call`` until it is done."""
        self.call = call
        if self.scope is not None:
            self.scope.adopt(self)
        if not call.add_callback(self._ended):
            self.done()
        elif self.layers.watched:
            self.begin()

    def _ended(self) -> None:
        try:
            call, line = self.call, self.line
            self.done()
            if call is not None and call_events:
                self._report(call, line)
        except Exception as error:  # would stop grpcio's thread
            _faults.record("channel.done", error)

    def done(self) -> None:
        if self.ended_at is None:
            self.ended_at = monotonic()
        super().done()
        self.call = None
        if self.scope is not None:
            self.scope.release(self)

    def scope_cancelled(self, scope: Scope) -> None:
        elapsed = monotonic() - self.started
        self._end(ended_by_scope(scope, self.method, self.limit, elapsed, self.line.state()))

    def _end(self, verdict: Verdict) -> None:
        call = self.call
        if call is None:
            return
        self.claims.append(verdict)
        line = self.line
        if cancel_at_once(call, status_of(verdict), verdict.details):
            self.done()
            if call_events:
                self._ended_here(call, verdict, line)
        else:
            in_a_thread(call.cancel, "channel.cancel")

    def _accepted(self) -> bool | None:
        return headers_seen(self.call) if self.splits else None

    def _ask_accepted(self) -> None:
        call = self.call
        if call is None or not self.splits or single_threaded(call):
            self.guard.accepted()  # nobody knows (asking would take events from a single-threaded reader): benefit of doubt
        else:
            in_a_thread(lambda: self._await_headers(call), "channel.headers")

    def _await_headers(self, call: Any) -> None:
        call.initial_metadata()
        self.note_accepted()

    def _ended_here(self, call: Any, verdict: Verdict, line: Line) -> None:
        if single_threaded(call):  # to look at it might take its lock
            tell_flight_ended(self, verdict, line, self.ended_at)
        else:
            self._report(call, line)

    def _report(self, call: Any, line: Line) -> None:
        if call.code() is not grpc.StatusCode.OK and timeout_of(call) is None:
            self.tell(call, line)

    def tell(self, call: Any, line: Line) -> Verdict | None:
        """Return how the end of ``call``, which is done and was not OK, is to be told; tell observers of it, too."""
        verdict = self._verdict_of(call, line)
        if verdict is not None and call_events:
            tell_flight_ended(self, verdict, line, self.ended_at)
        return verdict

    def _verdict_of(self, call: Any, line: Line) -> Verdict | None:
        status = call.code().name
        details = call.details() or ""
        if self.claims:
            claim = self.claims[0]
            if isinstance(claim, Verdict) and (call.cancelled() or claim.details in details):
                return claim
            if claim == _DROPPED and call.cancelled():
                return None
        elapsed = (self.ended_at or monotonic()) - self.started
        return told(
            line,
            self,
            status,
            details,
            self.method,
            self.timeout,
            self.layers.limits,
            self.scope,
            self.limit,
            elapsed,
        )


_UNTOLD = object()


class LimitedCall(DelegatingCall):
    """A call object that knows why it ended. Does what grpcio's own does, and has ``timeout``.

    Args:
        inner: The call object that grpcio, or an interceptor, has given.
        flight: What ends it.
    """

    _verdict: Any = _UNTOLD

    def __init__(self, inner: Any, flight: HeldFlight) -> None:
        super().__init__(inner)
        self._flight = flight
        self._line = flight.line
        self._guard: Guard | None = flight.guard if flight.layers.watched else None
        self._made_at = _abandoned.place() if _abandoned.enabled else None

    @property
    def timeout(self) -> TimeoutFacts | None:
        """Why the call ended early; ``None`` while it has not, or if no limit did it."""
        verdict = self._told()
        return timeout_of(self._inner) if verdict is None else verdict.facts

    def _told(self) -> Verdict | None:
        verdict = self._verdict
        if verdict is _UNTOLD:
            inner = self._inner
            if not inner.done():
                return None
            verdict = None
            try:
                if inner.code() is not grpc.StatusCode.OK and timeout_of(inner) is None:
                    verdict = self._flight.tell(inner, self._line)
            except Exception as error:
                _faults.record("channel.tell", error)
            self._verdict = verdict
        found: Verdict | None = verdict
        return found

    def code(self) -> grpc.StatusCode:
        code = super().code()
        verdict = self._told()
        return code if verdict is None else status_of(verdict)

    def details(self) -> str:
        details = super().details()
        verdict = self._told()
        return details if verdict is None else verdict.details

    def debug_error_string(self) -> str:
        verdict = self._told()
        # grpcio has none for a call that was cancelled here, and would wait for it for ever.
        return super().debug_error_string() if verdict is None or not self._ours() else verdict.details

    def _ours(self) -> bool:
        claims = self._flight.claims
        return bool(claims) and claims[0] is self._verdict

    def cancel(self) -> bool:
        self._flight.claims.append(_DROPPED)
        cancelled = super().cancel()
        if cancelled:
            self._flight.done()
        return cancelled

    def cancelled(self) -> bool:
        verdict = self._told()
        if verdict is None or not self._ours():
            return super().cancelled()
        return verdict.status == "CANCELLED"

    def result(self, timeout: float | None = None) -> Any:
        try:
            return self._inner.result(timeout)
        except grpc.FutureCancelledError:
            if self.cancelled():
                raise
            raise self from None
        except grpc.RpcError as error:
            if error is self._inner and self.cancelled():
                raise grpc.FutureCancelledError() from None
            self._raise(error)

    def exception(self, timeout: float | None = None) -> Any:
        try:
            error = self._inner.exception(timeout)
        except grpc.FutureCancelledError:
            if self.cancelled():
                raise
            return self
        if error is not self._inner:
            return error
        if self.cancelled():
            raise grpc.FutureCancelledError()
        return self

    def __next__(self) -> Any:
        guard = self._guard
        if guard is not None:
            guard.reading_since = monotonic()
        try:
            response = next(self._inner)
        except (StopIteration, grpc.RpcError) as error:
            self._flight.done()
            if call_events:
                self._told()
            if error is self._inner:
                raise self from None
            raise
        finally:
            if guard is not None:
                guard.reading_since = None
        if guard is not None:
            guard.stage = Stage.OPEN
        return response

    def __repr__(self) -> str:
        verdict = self._told()
        if verdict is None:
            return super().__repr__()
        return (
            f"<{type(self).__name__} of RPC that terminated with:\n\tstatus = {self.code()}\n"
            f'\tdetails = "{verdict.details}"\n\tdebug_error_string = "{self.debug_error_string()}"\n>'
        )

    def __del__(self) -> None:
        flight = self.__dict__.get("_flight")
        if flight is None or flight.over:
            return
        try:
            flight.claims.append(_DROPPED)
            if self._inner.cancel():
                _abandoned.warn(self._made_at, flight.method)
            flight.done()
        except Exception as error:
            _faults.record("channel.drop", error)


def hold(flight: HeldFlight, call: Any) -> Any:
    """Return ``call`` with what limits it. Never raises.

    An interceptor may have put something else in the call's place, which cannot be cancelled; that is left alone.
    """
    if isinstance(call, EndedCall) or not (hasattr(call, "cancel") and hasattr(call, "add_callback")):
        return call
    try:
        limited = LimitedCall(call, flight)
        flight.hold(call)
        if _abandoned.enabled:
            _abandoned.watch(limited, flight.method, limited._made_at)
        return limited
    except Exception as error:
        flight.over = True  # whatever was made is not to cancel the call when it goes
        _faults.record("channel.hold", error)
        return call

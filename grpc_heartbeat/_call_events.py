"""The observers of this process: of outbound calls that end early, of inbound RPCs, and of all heartbeats.

Theory of operation. Whoever wants to hear of something wants, as a rule, to hear of it wherever it happens, and does not know
every channel and server of the program. So there is one list per kind of event. An empty list costs its callers one truth
test, so that everything else is made when somebody listens.

An early end is often noticed by a timer or a thread of gRPC's. Its observers run in the context in which the call was made, so
that the span that was current there is current for them; for calls that were under way when the first observer came, in
whatever context there is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context
from time import monotonic
from typing import Any, Protocol, TypeAlias

from grpc_heartbeat import _faults
from grpc_heartbeat.core.call_events import CallEndedEarly
from grpc_heartbeat.core.events import Listening, Observer, Observers
from grpc_heartbeat.core.server_events import RpcStarted
from grpc_heartbeat.core.wording import Verdict


def _failed(_: Observer, error: Exception) -> None:
    _faults.record("events.observer", error)


call_events = Observers(_failed)
"""Who hears of outbound calls that end early."""

StartListener: TypeAlias = Callable[[str, float, "float | None", float], None]
"""Is told the RPC's method, the instant, what is left of its budget, and how long it was queued (seconds)."""


class Starts(Listening[StartListener]):
    """Who hears of handlers that start, until it raises.

    They are told in plain values: of every RPC, an event would be dearer than its use.
    """

    def tell(self, method: str, now: float, left: float | None, delay: float) -> None:
        """Tell the listeners. Never raises."""
        for listener in self.listening:
            try:
                listener(method, now, left, delay)
            except Exception as error:
                self.remove(listener)
                _faults.record("events.observer", error)


class EventOfStart:
    """A listener that hands an ``RpcStarted`` on to ``observer``; equal to another one for the same."""

    __slots__ = ("observer",)

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def __call__(self, method: str, now: float, left: float | None, delay: float) -> None:
        self.observer(RpcStarted(now, method, left, delay))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EventOfStart) and other.observer == self.observer

    def __hash__(self) -> int:
        return hash(self.observer)


rpc_starts = Starts()
"""Who hears of handlers that start."""

rpc_events = Observers(_failed)
"""Who hears of all else that happens to inbound RPCs, but for the ends of their handlers."""

rpc_ends = Observers(_failed)
"""Who hears of these. To know why a handler let go, its RPC has to be watched, which costs more than all the rest."""

beat_events = Observers(_failed)
"""Who hears of heartbeats."""

_telling = threading.Lock()


class CallInFlight(Protocol):
    """What has to be known of a call to tell of its early end."""

    method: str
    started: float
    limit: float | None
    reported: bool

    @property
    def origin(self) -> Context | None:
        """The context in which it was made."""


def tell_ended(
    method: str, verdict: Verdict, left: float | None, line: Any = None, origin: Context | None = None
) -> None:
    """Tell the observers that a call of ``method`` ended early. Never raises.

    Args:
        method: Its full name.
        verdict: How it ended.
        left: Seconds that were left of its budget, if it had one.
        line: Its channel's connection, for its name.
        origin: The context in which it was made; not one that anything else runs in. Default: the current one.
    """
    peer = getattr(line, "name", "")
    event = CallEndedEarly(monotonic(), method, verdict.status, verdict.details, verdict.facts, left, peer)
    try:
        if origin is None:
            call_events.emit(event)
        else:
            origin.run(call_events.emit, event)
    except Exception as error:
        _faults.record("events.tell", error)


def tell_flight_ended(flight: CallInFlight, verdict: Verdict, line: Any, ended_at: float | None = None) -> None:
    """Tell the observers that the call of ``flight`` ended early, once, whoever notices it first. Never raises."""
    with _telling:
        if flight.reported:
            return
        flight.reported = True
    left = None
    if flight.limit is not None:
        left = flight.limit - ((monotonic() if ended_at is None else ended_at) - flight.started)
    tell_ended(flight.method, verdict, left, line, flight.origin)


def observe_calls(observer: Observer) -> Observer:
    """Have ``observer`` hear of every outbound call of this process that ends early, in the thread in which it is noticed.

    It gets ``CallEndedEarly`` values, must be quick, and is removed after it has raised once. Usable as a decorator; undo it
    with ``stop_observing_calls``. A call whose end nobody asks for may end unnoticed on asyncio.
    """
    return call_events.add(observer)


def stop_observing_calls(observer: Observer) -> None:
    """Undo ``observe_calls``; unknown observers are ignored."""
    call_events.remove(observer)


def observe_rpcs(observer: Observer) -> Observer:
    """Have ``observer`` hear of inbound RPCs of this process: ``RpcEvent`` and its kinds, as ``observe_calls`` does.

    ``RpcStarted`` and ``RpcEnded`` come in the handler's thread and context, so with the span that is current there; they cost
    every RPC a little.
    """
    rpc_ends.add(observer)
    rpc_starts.add(EventOfStart(observer))
    return rpc_events.add(observer)


def stop_observing_rpcs(observer: Observer) -> None:
    """Undo ``observe_rpcs``; unknown observers are ignored."""
    rpc_events.remove(observer)
    rpc_starts.remove(EventOfStart(observer))
    rpc_ends.remove(observer)


def observe_beats(observer: Observer) -> Observer:
    """Have ``observer`` hear of every heartbeat of this process: ``HeartbeatEvent`` values, as ``observe_calls`` does."""
    return beat_events.add(observer)


def stop_observing_beats(observer: Observer) -> None:
    """Undo ``observe_beats``; unknown observers are ignored."""
    beat_events.remove(observer)

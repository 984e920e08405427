"""The observers of outbound calls: channels tell them of calls that ended early. An empty list costs one test."""

from __future__ import annotations

from grpc_heartbeat import _faults
from grpc_heartbeat.core.events import Event, Observer, Observers


def _failed(_: Observer, error: Exception) -> None:
    _faults.record("events.observer", error)


call_events = Observers(_failed)


def observe_calls(observer: Observer) -> Observer:
    """Have ``observer`` hear of every outbound call of this process that ends early, in the thread in which it is noticed.

    It gets ``CallEndedEarly`` values, must be quick, and is removed after it has raised once. Usable as a decorator; undo it
    with ``stop_observing_calls``.
    """
    return call_events.add(observer)


def stop_observing_calls(observer: Observer) -> None:
    """Undo ``observe_calls``; unknown observers are ignored."""
    call_events.remove(observer)


__all__ = ["Event", "call_events", "observe_calls", "stop_observing_calls"]

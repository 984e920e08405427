"""Observers: delivery, removal of failing ones, changes during delivery."""

from __future__ import annotations

import sys
import threading
from functools import partial

from grpc_heartbeat.core.events import Event, Observer, Observers


def test_every_observer_hears_every_event_in_order() -> None:
    heard: list[tuple[str, Event]] = []
    observers = Observers()
    assert not observers
    observers.add(lambda event: heard.append(("first", event)))
    observers.add(lambda event: heard.append(("second", event)))
    event = Event(1.0)
    observers.emit(event)
    assert heard == [("first", event), ("second", event)]
    assert len(observers) == 2


def test_a_failing_observer_is_removed_after_its_first_failure_and_reported() -> None:
    failures: list[tuple[Observer, Exception]] = []
    heard: list[Event] = []
    observers = Observers(lambda observer, error: failures.append((observer, error)))

    @observers.add
    def broken(event: Event) -> None:
        raise RuntimeError("exporter is down")

    observers.add(heard.append)
    observers.emit(Event(1.0))
    observers.emit(Event(2.0))
    assert [observer for observer, _ in failures] == [broken]
    assert [event.at for event in heard] == [1.0, 2.0]


def test_an_observer_may_remove_itself_while_it_is_told() -> None:
    heard: list[float] = []
    observers = Observers()

    def once(event: Event) -> None:
        heard.append(event.at)
        observers.remove(once)

    observers.add(once)
    observers.add(lambda event: heard.append(-event.at))
    observers.emit(Event(1.0))
    observers.emit(Event(2.0))
    assert heard == [1.0, -1.0, -2.0]


def test_none_is_lost_while_others_go() -> None:
    observers, barrier = Observers(), threading.Barrier(2)
    coming: list[Observer] = [partial(_ignore, number) for number in range(500)]
    going: list[Observer] = [partial(_ignore, number) for number in range(500)]
    for observer in going:
        observers.add(observer)

    def go() -> None:
        barrier.wait()
        for observer in going:
            observers.remove(observer)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        leaving = threading.Thread(target=go)
        leaving.start()
        barrier.wait()
        for observer in coming:
            observers.add(observer)
        leaving.join()
    finally:
        sys.setswitchinterval(interval)
    assert observers.listening == tuple(coming)


def _ignore(number: int, event: Event) -> None:
    """Hear nothing."""

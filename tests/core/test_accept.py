"""Which RPCs are accepted early, in virtual time and under threads."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.accept import AcceptQueue

AFTER = 20


class Rpc:
    def __init__(self, began: float, ends: float = 1e9) -> None:
        self.began = began
        self.ends = ends
        self.pending = True


class Clock:
    """Drives a queue in virtual time, tick by tick; remembers what was due when."""

    def __init__(self) -> None:
        self.now = 0
        self.alarm: float | None = None
        self.rings = 0
        self.set_by_rpcs = 0
        self._ringing = False
        self.queue: AcceptQueue[Rpc] = AcceptQueue(AFTER, self._set)
        self.due: list[tuple[Rpc, int]] = []

    def _set(self, when: float) -> None:
        self.alarm = when
        self.set_by_rpcs += not self._ringing

    def tick(self) -> None:
        if self.alarm is not None and self.alarm <= self.now:
            self.alarm = None
            self.rings += 1
            self._ringing = True
            self.due += [(rpc, self.now) for rpc in self.queue.due(self.now)]
            self._ringing = False
        self.now += 1


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=40))
def test_exactly_the_rpcs_that_outlast_the_delay_are_due_and_at_its_end(spans: list[tuple[int, int]]) -> None:
    clock = Clock()
    rpcs = [Rpc(began, began + lasts) for began, lasts in sorted(spans)]
    for now in range(200):
        for rpc in rpcs:
            if rpc.ends <= now:
                rpc.pending = False
            if rpc.began == now:
                clock.queue.add(rpc)
        clock.tick()
    assert {(id(rpc), at) for rpc, at in clock.due} == {
        (id(rpc), rpc.began + AFTER) for rpc in rpcs if rpc.ends > rpc.began + AFTER
    }
    assert len(clock.due) == len({id(rpc) for rpc, _ in clock.due})
    assert len(clock.queue) == 0
    assert clock.alarm is None


def test_a_busy_server_wakes_up_once_per_delay_by_itself_and_holds_no_more_than_that() -> None:
    clock = Clock()
    most = 0
    for now in range(10_000):
        rpc = Rpc(now)
        clock.queue.add(rpc)
        rpc.pending = False
        clock.tick()
        most = max(most, len(clock.queue))
    assert clock.rings <= 10_000 / AFTER + 1
    assert clock.set_by_rpcs == 1
    assert most <= AFTER + 1
    assert clock.due == []
    for _ in range(3 * AFTER):
        clock.tick()
    assert clock.alarm is None


def test_nothing_is_forgotten_when_rpcs_begin_while_the_alarm_rings() -> None:
    found: set[Rpc] = set()
    alarm = threading.Event()
    queue: AcceptQueue[Rpc] = AcceptQueue(0.0, lambda when: alarm.set())
    rpcs = [Rpc(0.0) for _ in range(20_000)]

    def begin(part: list[Rpc]) -> None:
        for rpc in part:
            queue.add(rpc)

    threads = [threading.Thread(target=begin, args=(rpcs[index::4],)) for index in range(4)]
    for thread in threads:
        thread.start()
    while len(found) < len(rpcs):
        assert alarm.wait(10)
        alarm.clear()
        found.update(queue.due(1.0))
    for thread in threads:
        thread.join()

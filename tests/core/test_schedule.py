"""Many streams on one wheel, in virtual time: spread over the interval by their phases, late by a slot at most, no drift."""

from __future__ import annotations

from collections import Counter

import pytest

from grpc_heartbeat.config import HeartbeatPolicy, Identity
from grpc_heartbeat.core.frames import Ack, Hello
from grpc_heartbeat.core.heartbeat import ClientSession, phase_of
from grpc_heartbeat.core.wheel import BASE, Member, Wheel, grain_of

STREAMS = 200
ROUNDS = 50
ME = Identity("me", "a", "1")
ROUND_TRIP = 0.004


class Stream(Member):
    """A session whose peer answers at once, as its driver would drive it."""

    def __init__(self, number: int, policy: HeartbeatPolicy, opened: float) -> None:
        self.slot = None
        self.grain = grain_of(policy.interval)
        self.phase = phase_of(ME.service, ME.instance, "target", str(number))
        self.session = ClientSession(policy, ME, opened, phase=self.phase)
        self.session.receive(Hello(ME), opened)
        self.sent: list[float] = []

    def tick(self, now: float) -> float | None:
        self.session.wake(now)
        beat = self.session.send_beat(now)
        if beat is not None:
            self.sent.append(now)
            self.session.receive(Ack(beat.sequence), now + ROUND_TRIP)
        return self.session.next_wakeup()


@pytest.mark.parametrize("interval", [0.2, 1.0, 5.0])
def test_many_streams_are_spread_and_none_drifts(interval: float) -> None:
    policy = HeartbeatPolicy(interval=interval)
    wheel = Wheel()
    streams = [Stream(number, policy, opened=7.3 + number * 0.0001) for number in range(STREAMS)]
    for stream in streams:
        wheel.add(stream, stream.session.next_wakeup() or 0.0)
    now, beats_at, end = 0.0, Counter[float](), 7.3 + ROUNDS * interval
    while (wakeup := wheel.next_wakeup()) is not None and wakeup < end:
        now = wakeup + (0.003 if int(wakeup * 1000) % 7 == 0 else 0.0)  # the driver is late now and then
        for awake in wheel.wake(now):
            beats_at[wakeup] += 1
            due = awake.tick(now)
            assert due is not None
            wheel.add(awake, due)

    coarse = grain_of(interval) * BASE
    for stream in streams:
        assert len(stream.sent) == pytest.approx(ROUNDS, abs=2)
        for sent in stream.sent[1:]:  # the first follows the opening, wherever that was
            late = (sent - stream.phase * interval) % interval
            assert late <= coarse + 0.003 + 1e-6 or late >= interval - 1e-6
    settled = [count for at, count in beats_at.items() if at > 7.3 + 2 * interval]
    slots = interval / coarse
    assert max(settled) < 4 * STREAMS / slots, "they come in a herd"

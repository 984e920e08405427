"""What a prober makes of a strategy, told by strategies that do as they are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpc_heartbeat import HeartbeatPolicy, Identity, events, strategies
from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.core.levels import Level
from grpc_heartbeat.core.verdicts import Verdict
from tests import aiorun
from tests.peers import PATIENCE
from tests.strategies.heard import CALM, FAST, Heard, probing
from tests.strategies.told import Told, failing, never

SLOW = HeartbeatPolicy(interval=0.4, timeout=0.05, misses=50, reconnect_min=0.02, reconnect_max=0.05)


async def test_beats_are_sent_answered_and_stopped() -> None:
    told = Told()
    async with probing(told, "peer") as heard:
        acked = await heard.first(events.BeatAcked, 3)
        assert 0 <= acked.rtt < PATIENCE
        seen = heard.prober.snapshot()
        assert (seen.verdict, seen.level, seen.state) == (Verdict.UP, Level.STRATEGY, "up")
        assert seen.rtt is not None
    assert told.log == ["made", "start", "stop"]
    assert [beat.sequence for beat in told.beats] == list(range(1, len(told.beats) + 1))
    assert [event.sequence for event in heard.all(events.BeatSent)][:3] == [1, 2, 3]
    assert heard.all(events.LevelChanged) == []


async def test_one_probe_is_in_flight_and_a_late_answer_is_a_sample() -> None:
    told = Told()

    def answer(beat: strategies.Beat) -> Any:
        if beat.sequence == 3:
            return never()
        return asyncio.sleep(0.15) if beat.sequence == 2 else None  # sleep: an answer that comes after its time

    told.on_probe = answer
    async with probing(told, "peer", SLOW) as heard:
        await heard.until(lambda: 4 in {event.sequence for event in heard.all(events.BeatSent)})
    assert told.most_in_flight == 1
    assert {2, 3} <= {event.sequence for event in heard.all(events.BeatMissed)}
    late = {event.sequence for event in heard.all(events.LateEcho)}
    assert 2 in late
    assert 3 not in late


async def test_silence_convicts_and_a_new_connection_acquits() -> None:
    told = Told()
    told.on_probe = never
    async with probing(told, "peer", FAST) as heard:
        await heard.verdict(Verdict.DOWN)
        assert heard.all(events.BeatMissed)[0].why == "not echoed"
        assert (await heard.first(events.StreamFailed)).cause == "silent"
        told.on_probe = lambda beat: None
        await heard.verdict(Verdict.UP)
    assert told.log.count("made") == told.log.count("start") == told.log.count("stop") >= 2
    assert told.in_flight == 0


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionRefusedError(111, "x"), "the connection was refused"),
        (OSError(113, "x"), "No route to host"),
        (EOFError(), "EOFError"),
        (asyncio.TimeoutError(), "TimeoutError"),
        (strategies.LostError("no such luck"), "no such luck"),
    ],
)
async def test_a_peer_that_cannot_be_reached_is_down_and_tried_again(error: Exception, why: str) -> None:
    told = Told()
    told.on_start = failing(error)
    async with probing(told, "peer") as heard:
        failed = await heard.first(events.StreamFailed, 3)
        assert (failed.why, failed.cause, failed.opened) == (why, "lost", False)
        assert heard.prober.snapshot().verdict is Verdict.DOWN
        told.on_start = lambda: None
        await heard.verdict(Verdict.UP)
    assert told.log.count("stop") == told.log.count("start")


async def test_a_failing_probe_ends_the_connection_without_an_alarm_if_the_next_works() -> None:
    told = Told()
    errors = [ConnectionResetError(104, "x")]
    told.on_probe = lambda beat: failing(errors.pop())() if beat.sequence == 2 and errors else None
    async with probing(told, "peer") as heard:
        failed = await heard.first(events.StreamFailed)
        assert (failed.why, failed.cause, failed.opened) == ("Connection reset by peer", "lost", True)
        await heard.more(events.BeatAcked)
        assert heard.all(events.BeatAbandoned)[0].sequence == 2
    assert heard.convictions == []


async def test_a_connection_that_ends_between_probes_is_noticed_at_once() -> None:
    told = Told()
    async with probing(told, "peer", HeartbeatPolicy(interval=30, reconnect_min=0.02)) as heard:
        await heard.first(events.BeatAcked)
        assert told.lost is not None
        told.lost(strategies.LostError("gone"))
        told.lost(strategies.LostError("gone again"))
        assert (await heard.first(events.StreamFailed)).why == "gone"
        await heard.first(events.StreamOpened, 2)
    assert len(heard.all(events.StreamFailed)) == 1


async def test_a_goodbye_is_no_alarm() -> None:
    told = Told()
    async with probing(told, "peer") as heard:
        await heard.first(events.BeatAcked)
        assert told.lost is not None
        told.lost(strategies.LeftError("a drain"))
        left = await heard.first(events.PeerLeft)
        assert left.message == "a drain"
        assert heard.prober.snapshot().state == "draining"
        await heard.more(events.BeatAcked)
    assert heard.all(events.StreamFailed) == []
    assert heard.convictions == []


async def test_who_asks_for_calm_is_asked_half_as_often_each_time() -> None:
    told = Told()
    told.on_probe = lambda beat: failing(strategies.LeftError("calm", calm=True))() if beat.sequence == 2 else None
    async with probing(told, "peer") as heard:
        await heard.first(events.PeerLeft, 3)
        acked = heard.all(events.BeatAcked)
    assert [event.ack.advised_interval for event in acked[:3]] == [0, 2 * CALM.interval, 4 * CALM.interval]


async def test_a_refusal_is_an_answer() -> None:
    told = Told()
    told.on_start = failing(strategies.RefusedError("not you"))
    async with probing(told, "peer") as heard:
        failed = await heard.first(events.StreamFailed)
        assert (failed.why, failed.cause) == ("not you", "refused")
        assert heard.prober.snapshot().verdict is Verdict.REOPEN


@pytest.mark.internal_faults
@pytest.mark.parametrize("place", ["on_start", "on_probe", "on_stop"])
async def test_a_faulty_strategy_harms_nobody_but_its_connection(place: str) -> None:
    told = Told()
    setattr(told, place, failing(ZeroDivisionError("oops")))
    async with probing(told, "peer") as heard:
        if place == "on_stop":
            await heard.first(events.BeatAcked)
        else:
            assert "ZeroDivisionError('oops')" in (await heard.first(events.StreamFailed, 2)).why
    assert heard.prober.snapshot().state == "closed"
    assert told.log.count("stop") == told.log.count("start")


async def test_a_connection_that_is_never_accepted_is_given_up() -> None:
    told = Told()
    told.on_start = never
    async with probing(told, "peer", FAST) as heard:
        assert (await heard.first(events.StreamFailed)).cause == "silent"
        await heard.verdict(Verdict.DOWN)
    assert told.log.count("stop") == told.log.count("start")


async def test_a_strategy_that_does_not_stop_is_cancelled() -> None:
    told = Told()
    told.on_stop = never
    async with probing(told, "peer") as heard:
        await heard.first(events.BeatAcked)
    assert heard.prober.snapshot().state == "closed"


async def test_closing_while_it_connects() -> None:
    told = Told()
    told.on_start = never
    async with probing(told, "peer") as heard:
        await heard.first(events.StreamOpening)
    assert told.log[-1] == "stop"
    heard.prober.start()
    await heard.prober.close()
    assert told.log.count("start") == 1


def test_a_loop_that_is_shut_down_ends_its_probers() -> None:
    told = Told()

    async def main() -> strategies.aio.Prober:
        prober = strategies.aio.Prober(told, "peer", CALM)
        heard = Heard(prober)
        prober.start()
        await heard.first(events.BeatAcked)
        return prober

    prober = asyncio.run(main())
    assert prober.snapshot().state == "closed"
    assert told.log == ["made", "start", "stop"]


async def test_what_the_peer_says_of_itself_is_told() -> None:
    told = Told()
    sender = Identity("orders", "zone-b", "host:1")
    told.on_probe = lambda beat: strategies.Ack(beat.sequence, ServingStatus.NOT_SERVING, sender=sender)
    async with probing(told, "peer") as heard:
        await heard.first(events.BeatAcked, 2)
        seen = heard.prober.snapshot()
        assert (seen.peer, seen.serving) == (sender, ServingStatus.NOT_SERVING)
    assert len(heard.all(events.PeerIdentified)) == 1


async def test_what_the_owner_says_of_the_peer_counts_more() -> None:
    told = Told()
    owners = Identity("cellar", "zone-c", "")
    told.on_probe = lambda beat: strategies.Ack(beat.sequence, sender=Identity("orders", "zone-b", "host:1"))
    async with probing(told, "peer", upstream=owners) as heard:
        await heard.first(events.BeatAcked, 2)
        assert heard.prober.snapshot().peer == owners


def test_a_wrong_target_or_name_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="target must be 'peer'"):
        strategies.aio.Prober(Told(), "nobody")
    with pytest.raises(strategies.UnknownStrategyError):
        strategies.Prober("nothing", "peer")
    with pytest.raises(TypeError, match="roots"):
        strategies.Prober("tcp", "localhost:1", options={"roots": b""})


async def test_options_reach_the_strategy() -> None:
    given: list[dict[str, Any]] = []

    def factory(target: str, **options: Any) -> strategies.Strategy:
        given.append(options)
        return Told()("peer")

    prober = strategies.aio.Prober(factory, "peer", options={"roots": b"pem"})
    assert given == [{"roots": b"pem"}]
    assert prober.strategy == "factory"
    await prober.close()


STEPS = st.lists(st.sampled_from(["answer", "lose", "leave", "refuse", "drop"]), min_size=1, max_size=6)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_whatever_happens_each_connection_is_started_and_stopped_once_and_each_beat_ends_once(steps: list[str]) -> None:
    ends = {"lose": strategies.LostError, "leave": strategies.LeftError, "refuse": strategies.RefusedError}
    told, left = Told(), list(reversed(steps))

    def act(beat: strategies.Beat) -> None:
        step = left.pop() if left else "answer"
        if step in ends:
            raise ends[step](step)
        if step == "drop" and told.lost is not None:
            told.lost(ConnectionResetError(104, "x"))

    async def main() -> Heard:
        told.on_probe = act
        async with probing(told, "peer", HeartbeatPolicy(interval=0.01, misses=500, reconnect_min=0.001)) as heard:
            await heard.until(lambda: not left and heard.events and isinstance(heard.events[-1], events.BeatAcked))
        return heard

    heard = aiorun.run(main())
    assert told.log == ["made", "start", "stop"] * (len(told.log) // 3)
    sent = len(heard.all(events.BeatSent))
    ended = sum(len(heard.all(kind)) for kind in (events.BeatAcked, events.BeatMissed, events.BeatAbandoned))
    assert sent == ended


@pytest.mark.internal_faults
async def test_a_probe_that_returns_nonsense_is_a_fault() -> None:
    told = Told()
    told.on_probe = lambda beat: 0.25
    async with probing(told, "peer") as heard:
        assert "fault of the strategy: AttributeError" in (await heard.first(events.StreamFailed)).why

"""The metrics that instrument() makes, from real heartbeats, servers and calls."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider

import grpc_heartbeat
from grpc_heartbeat import Identity, _gc_pauses, telemetry
from grpc_heartbeat._call_events import beat_events, call_events, rpc_events, rpc_starts
from grpc_heartbeat._ticks import loop_ticks, ticks
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.core.frames import Ack, ServingStatus
from grpc_heartbeat.core.heartbeat_events import BeatAcked, BeatMissed, HeartbeatClosed, StreamFailed
from grpc_heartbeat.core.heartbeat_news import HeartbeatEvent
from grpc_heartbeat.core.heartbeat_status import HeartbeatSnapshot
from grpc_heartbeat.interceptors.admission import ServerPolicy
from grpc_heartbeat.telemetry.beat_metrics import MOST_SERVICES, MOST_ZONES
from grpc_heartbeat.telemetry.metrics import Metrics
from grpc_heartbeat.telemetry.rpc_metrics import MOST, MOST_METHODS
from tests.heartbeat import ends
from tests.heartbeat.relay import Relay
from tests.peers import PATIENCE, AioServer, LoopThread, SyncServer, path, wait_until
from tests.telemetry.scrape import Meters, labels_of

CHECK = "health_check_duration_seconds"


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()


@pytest.fixture
def meters() -> Iterator[Meters]:
    meters = Meters()
    with telemetry.instrument(meter_provider=meters.provider):
        yield meters
    meters.close()
    assert [len(each) for each in (call_events, rpc_events, rpc_starts, beat_events)] == [0, 0, 0, 0]


@pytest.mark.parametrize("stack", [ends.SyncClient, ends.AioClient])
def test_beats_are_measured_with_service_type_zone_and_status(
    stack: Callable[..., ends.Client], loop: LoopThread, meters: Meters
) -> None:
    server = ends.SyncServer(loop)
    client = stack(loop, server.target)
    client.wait_for(BeatAcked, 3)
    labels = {"service": "orders", "zone": "zone-b", "type": "liveness"}
    wait_until(lambda: meters.value(CHECK, **labels) >= 3)
    (point,) = meters.points(CHECK, **labels)
    assert set(dict(point.attributes)) == {"service", "type", "zone", "status"}
    assert 0 < point.sum < PATIENCE * point.count
    assert meters.value("grpc_heartbeat.beats", outcome="acked", **labels) >= 3
    assert meters.value("grpc_heartbeat.live_streams", **labels) == 1
    assert meters.value("grpc_heartbeat.heartbeats", state="up", **labels) == 1
    assert meters.value("grpc_heartbeat.heartbeats", **labels) == 1
    assert 0 < meters.value("grpc_heartbeat.rtt", **labels) < PATIENCE
    assert meters.value("grpc_heartbeat.reconnects") == 0
    client.close()
    server.close()
    wait_until(lambda: meters.value("grpc_heartbeat.live_streams") == 0)
    assert meters.points("grpc_heartbeat.heartbeats") == []


def test_misses_failures_and_reconnects_are_counted(loop: LoopThread, meters: Meters) -> None:
    server = ends.SyncServer(loop)
    with Relay(server.target) as relay:
        client = ends.SyncClient(loop, relay.target, ends.IMPATIENT)
        client.wait("up")
        relay.freeze()
        client.wait("down")
        wait_until(lambda: meters.value("grpc_heartbeat.heartbeats", state="down") == 1)
        client.wait_for(StreamFailed)  # the peer may be convicted before that: until then an echo can save the stream
        relay.thaw()
        client.wait("up")
        client.close()
    server.close()
    labels = {"service": "orders", "zone": "zone-b", "type": "liveness"}
    missed = meters.value("grpc_heartbeat.beats", outcome="missed", **labels)
    assert missed == len(client.of(BeatMissed)) >= 1
    (point,) = meters.points(CHECK, status="missed")
    assert point.count == missed
    assert point.sum >= missed * ends.IMPATIENT.interval / 2
    assert meters.value("grpc_heartbeat.stream.failures", cause="silent", **labels) >= 1
    assert meters.value("grpc_heartbeat.reconnects", **labels) >= 1


def test_a_beat_that_was_sent_before_anybody_measured_has_no_duration(meters: Meters) -> None:
    news = _acked(1)
    missed = BeatMissed(1e6, 1, 1, "not echoed")
    beat_events.emit(HeartbeatEvent(1e6, 1, news.name, news.type, news.own, news.look, missed))
    assert meters.points(CHECK) == []
    assert meters.value("grpc_heartbeat.beats", outcome="missed") == 1
    closed = HeartbeatClosed(1e6, "closed")
    beat_events.emit(HeartbeatEvent(1e6, 1, news.name, news.type, news.own, news.look, closed))


def test_prometheus_shows_the_metric_under_that_very_name(loop: LoopThread) -> None:
    prometheus_client = pytest.importorskip("prometheus_client")
    exporter = pytest.importorskip("opentelemetry.exporter.prometheus")
    meters = Meters(exporter.PrometheusMetricReader())
    with telemetry.instrument(meter_provider=meters.provider):
        server = ends.SyncServer(loop)
        client = ends.SyncClient(loop, server.target)
        client.wait_for(BeatAcked, 2)
        wait_until(lambda: meters.value(CHECK) >= 2)
        text = prometheus_client.generate_latest().decode()
        client.close()
        server.close()
    meters.close()
    assert "# TYPE health_check_duration_seconds histogram" in text
    (count,) = [line for line in text.splitlines() if line.startswith("health_check_duration_seconds_count{")]
    for label in ('service="orders"', 'type="liveness"', 'zone="zone-b"', 'status="'):
        assert label in count
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {"grpc_heartbeat_beats_total", "grpc_heartbeat_rtt_seconds", "grpc_heartbeat_live_streams"} <= names
    assert "health_check_duration_seconds_seconds" not in text


def test_exemplars_link_to_the_beats_spans(loop: LoopThread) -> None:
    meters = Meters()
    traces = TracerProvider()
    with telemetry.instrument(meter_provider=meters.provider):
        server = ends.SyncServer(loop)
        client = ends.SyncClient(loop, server.target, tracer_provider=traces)
        client.wait_for(BeatAcked, 3)  # its own observers hear first, so two are measured by now
        (point,) = meters.points(CHECK)  # to read exemplars takes them
        client.close()
        server.close()
    meters.close()
    traces.shutdown()
    if not hasattr(point, "exemplars"):
        pytest.skip("this SDK knows no exemplars")
    assert point.exemplars
    assert all(exemplar.trace_id and exemplar.span_id for exemplar in point.exemplars)


def _hold(_: Any, context: Any) -> bytes:
    over = threading.Event()
    if context.add_callback(over.set):
        over.wait(PATIENCE)
    return b""


def test_calls_that_end_early_are_counted_by_layer(meters: Meters) -> None:
    server = SyncServer({"UnaryUnary": _hold})
    with grpc_heartbeat.insecure_channel(server.target) as channel:
        for _ in range(2):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(path("UnaryUnary"))(b"", timeout=0.1)
    server.close()
    labels = {"method": path("UnaryUnary"), "layer": "total", "source": "explicit", "status": "DEADLINE_EXCEEDED"}
    (point,) = meters.points("grpc_heartbeat.client.ended_early")
    assert (dict(point.attributes), point.value) == (labels, 2)


async def _answer_aio(_: bytes, __: Any) -> bytes:
    return b""


@pytest.mark.parametrize("stack", ["sync", "aio", "aio plain"])
def test_budgets_and_queue_delays_are_measured_at_entry(stack: str, loop: LoopThread, meters: Meters) -> None:
    def answer(_: bytes, __: Any) -> bytes:
        return b""

    if stack == "sync":
        server: Any = SyncServer({"UnaryUnary": answer}, grpc_heartbeat.server_interceptors())
    else:
        behavior = _answer_aio if stack == "aio" else answer
        server = AioServer(loop, {"UnaryUnary": behavior}, grpc_heartbeat.aio.server_interceptors())
    with grpc.insecure_channel(server.target) as channel:
        call: Any = channel.unary_unary(path("UnaryUnary"))
        call(b"", timeout=PATIENCE)
        call(b"")
    server.close()
    (budget,) = meters.points("grpc_heartbeat.server.budget", method=path("UnaryUnary"))
    (delay,) = meters.points("grpc_heartbeat.server.queue_delay", method=path("UnaryUnary"))
    assert (budget.count, delay.count) == (1, 2)
    assert PATIENCE / 2 < budget.sum < PATIENCE * 1.05  # gRPC rounds what it sends up
    assert 0 <= delay.sum < PATIENCE


def test_what_a_server_refuses_is_counted(meters: Meters) -> None:
    policy = ServerPolicy(minimum_budget=100.0, enforce=True, max_reject_fraction=1.0)
    server = SyncServer({"UnaryUnary": _hold}, grpc_heartbeat.server_interceptors(policy=policy))
    with grpc.insecure_channel(server.target) as channel:
        call: Any = channel.unary_unary(path("UnaryUnary"))
        with pytest.raises(grpc.RpcError, match="not started"):
            call(b"", timeout=PATIENCE)
    server.close()
    assert meters.value("grpc_heartbeat.server.refused", method=path("UnaryUnary"), reason="minimum_budget") == 1
    assert meters.points("grpc_heartbeat.server.budget") == []


def test_lateness_of_timers_is_there_once_one_has_fired(meters: Meters) -> None:
    fired = threading.Event()
    timers().alarm(fired.set).arm(clock() + 0.01)
    assert fired.wait(PATIENCE)
    wait_until(lambda: meters.points("grpc_heartbeat.timer.lateness", driver="thread"))
    points = meters.points("grpc_heartbeat.timer.lateness", driver="thread")
    assert {dict(point.attributes)["quantile"] for point in points} == {"0.5", "0.99", "1"}


def test_pauses_of_this_process_are_counted_and_never_fall(loop: LoopThread, meters: Meters) -> None:
    name, time_ = "grpc_heartbeat.pauses", "grpc_heartbeat.pause.time"
    before = {driver: meters.value(name, driver=driver) for driver in ("thread", "loop", "collector")}
    ticks().pauses.add(1.0, 1.5, "late tick")
    another = LoopThread()
    another.run(_pause_on_this_loop())
    for watcher in _gc_pauses.watchers():
        watcher.gc_paused(0.25)
    assert meters.value(name, driver="thread") >= before["thread"] + 1
    assert meters.value(name, driver="loop") >= before["loop"] + 1
    assert meters.value(name, driver="collector") >= before["collector"] + 1
    assert meters.value(time_, driver="thread") >= 0.5
    assert meters.value(time_, driver="loop") >= 0.75
    assert meters.value(time_, driver="collector") >= 0.25
    told = meters.value(name, driver="loop")
    another.close()
    del another
    gc.collect()
    assert meters.value(name, driver="loop") >= told


async def _pause_on_this_loop() -> None:
    loop_ticks().pauses.add(2.0, 2.75, "loop blocked")


@pytest.mark.parametrize("stack", ends.SERVERS)
def test_streams_of_servers_are_counted(stack: str, loop: LoopThread, meters: Meters) -> None:
    server = ends.SERVERS[stack](loop, max_streams=1)
    first = ends.SyncClient(loop, server.target)
    first.wait("up")
    (point,) = [point for point in meters.points("grpc_heartbeat.server.streams") if point.value]
    engine = str(dict(point.attributes)["engine"])
    assert point.value == 1
    opened = meters.value("grpc_heartbeat.server.stream.events", engine=engine, event="opened")
    second = ends.SyncClient(loop, server.target)
    second.wait_for(StreamFailed)
    events = "grpc_heartbeat.server.stream.events"
    wait_until(lambda: meters.value(events, engine=engine, event="refused") >= 1)
    assert meters.value(events, engine=engine, event="opened") == opened >= 1
    second.close()
    first.close()
    wait_until(lambda: meters.value("grpc_heartbeat.server.streams", engine=engine) == 0)
    server.close()
    del server
    gc.collect()
    assert meters.value(events, engine=engine, event="opened") >= opened


def test_many_rpcs_are_all_counted_and_evenly_measured(meters: Meters) -> None:
    count = 3 * MOST
    for number in range(count):
        left = 5.0 if number % 2 else None
        rpc_starts.tell("/shop.Orders/Place", 0.0, left, number / count)
    labels = {"method": "/shop.Orders/Place"}
    assert meters.value("grpc_heartbeat.server.rpcs", **labels) == count
    (delay,) = meters.points("grpc_heartbeat.server.queue_delay", **labels)
    assert MOST / 4 <= delay.count <= MOST
    assert delay.sum / delay.count == pytest.approx(0.5, abs=0.02)
    rpc_starts.tell("/shop.Orders/Place", 0.0, 1.0, 0.0)
    assert meters.value("grpc_heartbeat.server.rpcs", **labels) == count + 1


def test_exemplars_link_to_the_rpcs_spans(meters: Meters) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("test").start_as_current_span("rpc") as span:
        rpc_starts.tell("/shop.Orders/Place", 0.0, 1.0, 0.01)
    (delay,) = meters.points("grpc_heartbeat.server.queue_delay")  # to read exemplars takes them
    provider.shutdown()
    if not hasattr(delay, "exemplars"):
        pytest.skip("this SDK knows no exemplars")
    (exemplar,) = delay.exemplars
    assert exemplar.trace_id == span.get_span_context().trace_id


def _acked(number: int) -> HeartbeatEvent:
    identity = Identity(f"service-{number}", f"zone-{number}", "i")
    snapshot = HeartbeatSnapshot("up", 0.0, last_rtt=0.1, peer=identity)
    event = BeatAcked(1.0, 1, 0.1, Ack(1, ServingStatus.SERVING))
    return HeartbeatEvent(1.0, number, "target", "liveness", Identity("me", "here", "i"), lambda: snapshot, event)


def test_strangers_cannot_make_ever_more_series(meters: Meters) -> None:
    for number in range(MOST_SERVICES + 50):
        beat_events.emit(_acked(number))
    points = meters.points(CHECK)
    services = {labels["service"] for labels in labels_of(points)}
    zones = {labels["zone"] for labels in labels_of(points)}
    assert len(services) == MOST_SERVICES + 1
    assert len(zones) == MOST_ZONES + 1
    assert "other" in services & zones
    assert meters.value(CHECK) == MOST_SERVICES + 50
    for number in range(MOST_SERVICES + 50):
        news = _acked(number)
        closed = HeartbeatClosed(2.0, "closed")
        beat_events.emit(HeartbeatEvent(2.0, number, news.name, news.type, news.own, news.look, closed))
    assert meters.points("grpc_heartbeat.heartbeats") == []


def test_made_up_methods_are_bounded(meters: Meters) -> None:
    class AnyMethod(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda request, _: request)

    server = SyncServer({}, grpc_heartbeat.server_interceptors())
    server.server.add_generic_rpc_handlers((AnyMethod(),))
    with grpc.insecure_channel(server.target) as channel:
        for number in range(MOST_METHODS + 20):
            call: Any = channel.unary_unary(f"/made.Up/Method{number}")
            call(b"", timeout=PATIENCE)
    server.close()
    assert len(meters.points("grpc_heartbeat.server.budget")) == MOST_METHODS + 1
    assert meters.value("grpc_heartbeat.server.budget", method="other") == 20


def test_what_is_turned_on_again_or_twice_goes_on_counting_once(caplog: pytest.LogCaptureFixture) -> None:
    meters = Meters()
    first = telemetry.instrument(meter_provider=meters.provider)
    beat_events.emit(_acked(1))
    assert meters.value("grpc_heartbeat.live_streams") == 0
    second = telemetry.instrument(meter_provider=meters.provider)
    first.close()
    beat_events.emit(_acked(1))
    assert meters.value(CHECK) == meters.value("grpc_heartbeat.beats") == 2
    second.close()
    beat_events.emit(_acked(1))
    with telemetry.instrument(meter_provider=meters.provider):
        assert meters.points("grpc_heartbeat.heartbeats") == []
        beat_events.emit(_acked(1))
        assert meters.value(CHECK) == meters.value("grpc_heartbeat.beats") == 3
    meters.close()
    assert caplog.records == []


def test_what_is_closed_hears_no_more() -> None:
    meters = Meters()
    instrumentation = telemetry.instrument(meter_provider=meters.provider)
    instrumentation.close()
    instrumentation.close()
    beat_events.emit(_acked(1))
    assert meters.points(CHECK) == []
    assert meters.points("grpc_heartbeat.timer.lateness") == []
    meters.close()
    with pytest.raises(ValueError, match="nothing to turn on"):
        telemetry.instrument(metrics=False, spans=False)


def test_one_stop_too_many_is_nothing() -> None:
    meters = Meters()
    metrics = Metrics(meters.provider)
    metrics.stop()
    before = len(call_events)
    metrics.start()
    assert len(call_events) == before + 1
    metrics.stop()
    metrics.stop()
    assert len(call_events) == before
    meters.close()

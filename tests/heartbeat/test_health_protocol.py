"""``grpc.health.v1`` to the letter, on both stacks, against grpcio's own clients and against peers that do not read."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

import grpc_heartbeat as hb
from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.core.health_board import LIST_LIMIT, WatchSlot
from grpc_heartbeat.health import HealthBoard, watches
from grpc_heartbeat.health.listing import encode_list
from tests.heartbeat.ends import Server, SyncServer
from tests.heartbeat.raw_watch import HEADERS, RST_STREAM, RawWatch
from tests.peers import OPTIONS, PATIENCE, LoopThread, handlers, path, wait_until

Serve = Callable[..., Server]
UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = range(4)


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve()


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target) as channel:
        yield channel


def stub(channel: grpc.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


def request(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


def listed(channel: grpc.Channel) -> dict[str, int]:
    """Call List without the messages that older releases of grpcio-health-checking lack."""
    method: Any = channel.unary_unary("/grpc.health.v1.Health/List")
    return decode_list(method(b"", timeout=PATIENCE))


def decode_list(data: bytes) -> dict[str, int]:
    response = pytest.importorskip("grpc_health.v1.health_pb2").HealthListResponse.FromString(data)
    return {name: value.status for name, value in response.statuses.items()}


needs_list = pytest.mark.skipif(
    not hasattr(health_pb2, "HealthListResponse"), reason="this grpcio-health-checking has no message to read List with"
)


def test_check_of_an_unknown_service_is_not_found_and_says_which(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub(channel).Check(request("n" * 500), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    details = caught.value.details() or ""
    assert "a service named 'nnn" in details
    assert len(details) < 250


def test_check_says_every_status(server: Server, channel: grpc.Channel) -> None:
    for status in ServingStatus:
        server.board.set("orders", status)
        assert stub(channel).Check(request("orders"), timeout=PATIENCE).status == status


@pytest.mark.parametrize("name", ["", "liveness", "readiness"])
def test_three_names_are_known_from_the_start(channel: grpc.Channel, name: str) -> None:
    assert stub(channel).Check(request(name), timeout=PATIENCE).status == SERVING


def test_watch_of_an_unknown_service_stays_open_until_it_is_known(server: Server, channel: grpc.Channel) -> None:
    watch = stub(channel).Watch(request("orders"), timeout=PATIENCE)
    assert next(watch).status == SERVICE_UNKNOWN
    server.board.set("orders", True)
    assert next(watch).status == SERVING
    watch.cancel()


def test_watch_hears_no_status_twice_in_a_row(server: Server, channel: grpc.Channel) -> None:
    server.board.set("orders", True)
    watch = stub(channel).Watch(request("orders"), timeout=PATIENCE)
    heard = [next(watch).status]
    for _ in range(20):
        server.board.set("orders", True)
        server.board.set("stock", False)
        server.board.set("orders", False)
        server.board.set("orders", True)
    server.board.set("orders", ServingStatus.UNKNOWN)
    while heard[-1] != UNKNOWN:
        heard.append(next(watch).status)
    assert all(one != other for one, other in itertools.pairwise(heard))
    watch.cancel()


def test_every_watcher_of_a_service_hears_a_change_and_no_other(server: Server, channel: grpc.Channel) -> None:
    everyone = [stub(channel).Watch(request(name), timeout=PATIENCE) for name in ("orders", "orders", "stock")]
    assert [next(watch).status for watch in everyone] == [SERVICE_UNKNOWN] * 3
    server.board.set("orders", True)
    assert [next(watch).status for watch in everyone[:2]] == [SERVING] * 2
    server.board.set("stock", False)
    assert next(everyone[2]).status == NOT_SERVING
    for watch in everyone:
        watch.cancel()


def test_watchers_that_left_are_forgotten(server: Server, channel: grpc.Channel) -> None:
    def slots() -> int:
        gc.collect()
        return sum(isinstance(item, WatchSlot) for item in gc.get_objects())

    before = slots()
    for name in ("", "orders"):
        watch = stub(channel).Watch(request(name), timeout=PATIENCE)
        next(watch)
        watch.cancel()
    wait_until(lambda: slots() == before)


def test_a_slow_reader_gets_the_newest_status(server: Server) -> None:
    slow = RawWatch(server.target, "orders")
    slow.wait_for_headers()
    for _ in range(200):
        server.board.set("orders", True)
        server.board.set("orders", False)
    server.board.set("orders", ServingStatus.UNKNOWN)
    slow.open_window()
    heard = slow.statuses(UNKNOWN)
    assert heard[0] == SERVICE_UNKNOWN
    assert len(heard) <= 3, heard  # the first, one that may have been on its way, and the newest
    slow.close()


def test_a_reader_that_never_reads_delays_nobody(server: Server, channel: grpc.Channel) -> None:
    stuck = [RawWatch(server.target) for _ in range(4)]
    for watch in stuck:
        watch.wait_for_headers()
    healthy = stub(channel).Watch(request(), timeout=PATIENCE)
    assert next(healthy).status == SERVING
    server.board.set("", False)
    assert next(healthy).status == NOT_SERVING
    assert stub(channel).Check(request(), timeout=PATIENCE).status == NOT_SERVING
    healthy.cancel()
    for watch in stuck:
        watch.close()


def test_a_reader_that_never_reads_is_cut_off_where_it_holds_a_thread(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "PATIENCE", 0.1)
    server = SyncServer(loop)
    stuck = RawWatch(server.target)
    assert stuck.wait_for_end() in (HEADERS, RST_STREAM)
    stuck.close()
    server.close()


@needs_list
def test_list_returns_every_status(server: Server, channel: grpc.Channel) -> None:
    server.board.set("orders", False)
    server.board.set("stück", ServingStatus.UNKNOWN)
    expected = {"": 1, "liveness": 1, "readiness": 1, "orders": 2, "stück": 0}
    assert listed(channel) == expected == server.board.statuses()


@needs_list
def test_list_ends_at_a_hundred_services(server: Server, channel: grpc.Channel) -> None:
    for number in range(LIST_LIMIT - len(server.board.statuses())):
        server.board.set(f"service-{number}", True)
    assert len(listed(channel)) == LIST_LIMIT == 100
    server.board.set("one-more", True)
    with pytest.raises(grpc.RpcError) as caught:
        listed(channel)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "101 services" in str(caught.value.details())


@needs_list
@given(st.dictionaries(st.text(max_size=300), st.sampled_from(ServingStatus), max_size=LIST_LIMIT))
def test_the_list_is_encoded_as_protobuf_would(statuses: dict[str, ServingStatus]) -> None:
    assert decode_list(encode_list(statuses)) == statuses


@pytest.mark.parametrize("name", ["", "orders"])
def test_client_side_health_checking_follows_the_board(server: Server, name: str) -> None:
    """As in gRFC A17: the balancer round_robin uses a connection only while its Watch says SERVING."""
    server.board.set(name, False)
    config = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": name}}
    options = [("grpc.service_config", json.dumps(config)), ("grpc.use_local_subchannel_pool", 1)]
    states: list[grpc.ChannelConnectivity] = []
    with grpc.insecure_channel(server.target, options=options) as balanced:
        balanced.subscribe(states.append, try_to_connect=True)
        for serving in (False, True, False, True):
            server.board.set(name, serving)
            wanted = grpc.ChannelConnectivity.READY if serving else grpc.ChannelConnectivity.TRANSIENT_FAILURE
            wait_until(lambda: states and states[-1] is wanted)  # noqa: B023 - called at once
            if not serving:
                with pytest.raises(grpc.RpcError, match="backend unhealthy"):
                    stub(balanced).Check(request(), timeout=PATIENCE)
        assert stub(balanced).Check(request("liveness"), timeout=PATIENCE).status == SERVING
        balanced.unsubscribe(states.append)


def test_fifty_watchers_starve_neither_two_workers_nor_checks(loop: LoopThread) -> None:
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, interceptors=[*hb.server_interceptors()], options=OPTIONS)
        server.add_generic_rpc_handlers((handlers({"UnaryUnary": lambda request, context: request}),))
        board = hb.add_to_server(server)
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        with grpc.insecure_channel(target) as channel:
            watchers = [stub(channel).Watch(request(), timeout=60) for _ in range(50)]
            assert {next(watch).status for watch in watchers} == {SERVING}
            echo: Any = channel.unary_unary(path("UnaryUnary"))
            assert [echo(b"x", timeout=PATIENCE) for _ in range(4)] == [b"x"] * 4
            assert stub(channel).Check(request(), timeout=PATIENCE).status == SERVING
            board.set("", False)
            assert {next(watch).status for watch in watchers} == {NOT_SERVING}
            for watch in watchers:
                watch.cancel()
        server.stop(None).wait(PATIENCE)
        board.close()


class LosesMarks(grpc.ServerInterceptor):
    """Wraps streams as many interceptors do, without the attributes by which grpcio would know a non-blocking handler."""

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        if not handler.response_streaming or handler.request_streaming:
            return handler
        return grpc.unary_stream_rpc_method_handler(
            lambda request, context: handler.unary_stream(request, context),
            handler.request_deserializer,
            handler.response_serializer,
        )


def test_a_watch_behind_a_wrapper_works_on_a_thread() -> None:
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, interceptors=[LosesMarks()], options=OPTIONS)
        board = hb.add_to_server(server)
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        with grpc.insecure_channel(target) as channel:
            cancelled, drained = (stub(channel).Watch(request(), timeout=PATIENCE) for _ in range(2))
            assert next(cancelled).status == next(drained).status == SERVING
            board.set("", False)
            assert next(cancelled).status == next(drained).status == NOT_SERVING
            cancelled.cancel()
            assert next(stub(channel).Watch(request(), timeout=PATIENCE)).status == NOT_SERVING  # its thread is free
            board.drain("update")
            assert list(drained) == []
            assert drained.code() is grpc.StatusCode.OK
            with pytest.raises(grpc.RpcError, match=r"this server left service \(update\); watch another one"):
                list(stub(channel).Watch(request(), timeout=PATIENCE))
        server.stop(None).wait(PATIENCE)
        board.close()


def test_the_official_servicer_can_serve_in_our_place(serve: Serve) -> None:
    theirs = health.HealthServicer()
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, options=OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(theirs, server)
        board = hb.add_to_server(server, health=False)
        board.mirror(theirs)
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        with grpc.insecure_channel(target) as channel:
            board.set("orders", False)
            assert stub(channel).Check(request("orders"), timeout=PATIENCE).status == NOT_SERVING
            board.drain()
            assert stub(channel).Check(request(), timeout=PATIENCE).status == NOT_SERVING
        server.stop(None).wait(PATIENCE)
        board.close()


async def test_the_official_asyncio_servicer_can_serve_in_our_place() -> None:
    theirs = health.aio.HealthServicer()
    server = grpc.aio.server(options=OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(theirs, server)
    board = hb.aio.add_to_server(server, health=False)
    board.mirror(theirs)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with grpc.aio.insecure_channel(target) as channel:
        aio_stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = aio_stub.Watch(request("orders"), timeout=PATIENCE)
        assert (await watch.read()).status == SERVICE_UNKNOWN
        board.set("orders", False)
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()
    await server.stop(None)
    board.close()


async def test_a_slow_servicer_of_the_asyncio_kind_ends_up_with_the_newest() -> None:
    go, seen = asyncio.Event(), list[tuple[str, int]]()

    class Slow:
        under_way = 0

        async def set(self, service: str, status: int) -> None:
            self.under_way += 1
            assert self.under_way == 1
            await go.wait()
            seen.append((service, status))
            self.under_way -= 1

    board = HealthBoard()
    board.mirror(Slow())
    for serving in (True, False, True, False):
        board.set("orders", serving)
        await asyncio.sleep(0)
    go.set()
    await asyncio.to_thread(wait_until, lambda: dict(seen) == board.statuses())
    assert len(seen) <= 5


def test_only_a_health_servicer_can_mirror_a_board() -> None:
    with pytest.raises(TypeError, match="servicer must be a health servicer with a set method, not str"):
        HealthBoard().mirror("servicer")
    with pytest.raises(RuntimeError, match="no running event loop"):
        HealthBoard().mirror(health.aio.HealthServicer())

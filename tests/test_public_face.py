"""The public names are exactly these, mirror grpc's, and work together in both stacks."""

from __future__ import annotations

import asyncio
import gc
import inspect
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat as hb
from grpc_heartbeat import adaptive, contract, events, live_policy, orchestrate, strategies
from grpc_heartbeat.testing import faults, proof
from tests.peers import OPTIONS, PATIENCE, handlers, path, wait_until

SYNC_NAMES = {
    "BreakerPolicy",
    "Channel",
    "HealthBoard",
    "HeartbeatPolicy",
    "Identity",
    "InbandPolicy",
    "PoolPolicy",
    "PooledChannel",
    "ServerPolicy",
    "StreamLimits",
    "TimeoutPolicy",
    "Timeouts",
    "add_to_server",
    "aio",
    "check_options",
    "client_interceptors",
    "client_options",
    "deadline",
    "debug",
    "errors",
    "events",
    "insecure_channel",
    "keepalive_pair",
    "pooled_channel",
    "secure_channel",
    "server_interceptors",
    "server_options",
    "timeouts",
    "with_timeouts",
    "wrap_channel",
}
SHARED = {
    "Channel",
    "PooledChannel",
    "add_to_server",
    "client_interceptors",
    "client_options",
    "insecure_channel",
    "pooled_channel",
    "secure_channel",
    "server_interceptors",
    "server_options",
    "wrap_channel",
}
STRATEGY_NAMES = {
    "Ack",
    "Beat",
    "Factory",
    "LeftError",
    "Lost",
    "LostError",
    "MissingExtraError",
    "Prober",
    "RefusedError",
    "Strategy",
    "StrategyError",
    "UnknownStrategyError",
    "aio",
    "get",
    "names",
    "register",
    "unregister",
}
ORCHESTRATE_NAMES = {
    "FAILS",
    "AsyncSaga",
    "Background",
    "Saga",
    "Undone",
    "answer_within",
    "answer_within_sync",
    "fallback",
    "fallback_sync",
}
CONTRACT_NAMES = {
    "Contracts",
    "Finding",
    "MethodContract",
    "Observed",
    "Place",
    "Report",
    "check",
    "include",
    "load",
    "of_descriptors",
    "of_modules",
    "of_services",
    "policy_of",
}
POLICY = hb.HeartbeatPolicy(interval=0.05)
IDENTITY = hb.Identity(service="asker", zone="zone-a")


def test_the_names_of_both_faces() -> None:
    assert set(hb.__all__) == SYNC_NAMES
    assert set(hb.aio.__all__) == SHARED
    assert set(strategies.__all__) == STRATEGY_NAMES
    assert set(adaptive.__all__) == {"AdaptiveTimeouts", "TotalAdapted"}
    assert set(live_policy.__all__) == {"LivePolicy", "PolicyRejected", "PolicyReplaced"}
    assert set(orchestrate.__all__) == ORCHESTRATE_NAMES
    for module in (
        hb,
        hb.aio,
        hb.deadline,
        adaptive,
        live_policy,
        orchestrate,
        hb.debug,
        hb.errors,
        contract,
        events,
        faults,
        proof,
        strategies,
        strategies.aio,
    ):
        assert all(hasattr(module, name) for name in module.__all__)


def test_the_names_of_what_is_imported_by_its_own_name() -> None:
    assert set(contract.__all__) == CONTRACT_NAMES
    assert set(faults.__all__) == {
        "AioFaultServerInterceptor",
        "Fault",
        "FaultPlan",
        "FaultServerInterceptor",
        "aio_server_interceptors",
        "server_interceptors",
    }
    assert set(proof.__all__) == {"Proof", "aio_prove_limits", "prove_limits"}


@pytest.mark.parametrize("name", ["insecure_channel", "secure_channel"])
@pytest.mark.parametrize(("ours", "theirs"), [(hb, grpc), (hb.aio, grpc.aio)], ids=["sync", "aio"])
def test_channels_take_grpcs_arguments_in_grpcs_order(name: str, ours: Any, theirs: Any) -> None:
    mine = inspect.signature(getattr(ours, name)).parameters
    reference = list(inspect.signature(getattr(theirs, name)).parameters)
    assert list(mine)[: len(reference)] == reference
    added = [parameter for parameter in mine.values() if parameter.name not in reference]
    assert [parameter.name for parameter in added] == ["timeouts", "heartbeat", "identity", "name", "inband", "breaker"]
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in added)


def test_both_probers_take_the_same_arguments() -> None:
    sync, aio = (inspect.signature(face) for face in (strategies.Prober, strategies.aio.Prober))
    assert sync.parameters == aio.parameters


@pytest.mark.parametrize("name", sorted(SHARED - {"Channel", "PooledChannel"}))
def test_both_faces_take_the_same_arguments(name: str) -> None:
    sync, aio = (set(inspect.signature(getattr(face, name)).parameters) for face in (hb, hb.aio))
    assert aio - sync <= {"interceptors"}
    assert sync <= aio


def test_what_is_not_used_is_not_loaded() -> None:
    unused = (
        "opentelemetry",
        "grpc_heartbeat.contract",
        "grpc_heartbeat.testing",
        "grpc_heartbeat.v1",
        "google.protobuf",
    )
    look = f"import sys, grpc_heartbeat; print([name for name in sys.modules if name.startswith({unused})])"
    result = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"


def test_an_unknown_name_is_refused_by_name() -> None:
    with pytest.raises(AttributeError, match="module 'grpc_heartbeat' has no attribute 'insecure_chanel'"):
        _ = hb.insecure_chanel  # type: ignore[attr-defined]  # the point of the test


def echo(request: bytes, context: Any) -> bytes:
    return request


async def aio_echo(request: bytes, context: Any) -> bytes:
    return request


class Acks:
    """Waits for the first acknowledged beat."""

    def __init__(self) -> None:
        self.first = threading.Event()

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.BeatAcked):
            self.first.set()


@pytest.mark.parametrize("secure", [False, True], ids=["insecure", "secure"])
def test_a_sync_channel_with_everything(secure: bool) -> None:
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, interceptors=hb.server_interceptors(), options=OPTIONS)
        server.add_generic_rpc_handlers((handlers({"UnaryUnary": echo}),))
        board = hb.add_to_server(server, identity=hb.Identity(service="answerer", zone="zone-b"))
        if secure:
            port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
        else:
            port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        extras: Any = {"timeouts": hb.Timeouts(total=5), "heartbeat": POLICY, "identity": IDENTITY}
        if secure:
            channel = hb.secure_channel(f"127.0.0.1:{port}", grpc.local_channel_credentials(), **extras)
        else:
            channel = hb.insecure_channel(f"127.0.0.1:{port}", **extras)
        with channel:
            acks = Acks()
            assert channel.heartbeat is not None
            channel.heartbeat.observers.add(acks)
            assert channel.unary_unary(path("UnaryUnary"))(b"hello") == b"hello"
            assert acks.first.wait(PATIENCE)
            peer = channel.heartbeat.snapshot().peer
            assert peer is not None
            assert (peer.service, peer.zone) == ("answerer", "zone-b")
        assert channel.heartbeat.snapshot().state == "closed"
        server.stop(None).wait(PATIENCE)
        board.close()


@pytest.mark.parametrize("secure", [False, True], ids=["insecure", "secure"])
async def test_an_aio_channel_with_everything(secure: bool) -> None:
    server = grpc.aio.server(interceptors=hb.aio.server_interceptors(), options=OPTIONS)
    server.add_generic_rpc_handlers((handlers({"UnaryUnary": aio_echo}),))
    board = hb.aio.add_to_server(server, identity=hb.Identity(service="answerer", zone="zone-b"))
    if secure:
        port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    extras: Any = {"timeouts": hb.Timeouts(total=5), "heartbeat": POLICY, "identity": IDENTITY}
    if secure:
        channel = hb.aio.secure_channel(f"127.0.0.1:{port}", grpc.local_channel_credentials(), **extras)
    else:
        channel = hb.aio.insecure_channel(f"127.0.0.1:{port}", **extras)
    async with channel:
        acks = Acks()
        assert channel.heartbeat is not None
        channel.heartbeat.observers.add(acks)
        assert await channel.unary_unary(path("UnaryUnary"))(b"hello") == b"hello"
        assert await asyncio.to_thread(acks.first.wait, PATIENCE)
        peer = channel.heartbeat.snapshot().peer
        assert peer is not None
        assert (peer.service, peer.zone) == ("answerer", "zone-b")
    assert channel.heartbeat.snapshot().state == "closed"
    await server.stop(None)
    board.close()


def test_a_heartbeat_ends_with_its_dropped_channel_but_not_while_a_stub_is_held() -> None:
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, options=OPTIONS)
        server.add_generic_rpc_handlers((handlers({"UnaryUnary": echo}),))
        board = hb.add_to_server(server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        channel: hb.Channel | None = hb.insecure_channel(f"127.0.0.1:{port}", heartbeat=POLICY)
        assert channel is not None
        heartbeat = channel.heartbeat
        assert heartbeat is not None
        call: Any = channel.unary_unary(path("UnaryUnary"))
        channel = None
        wait_until(lambda: heartbeat.snapshot().acked >= 2)
        assert call(b"hello") == b"hello"
        call = None
        gc.collect()
        wait_until(lambda: heartbeat.snapshot().state == "closed")
        server.stop(None).wait(PATIENCE)
        board.close()


async def test_an_aio_heartbeat_ends_with_its_dropped_channel_but_not_while_a_stub_is_held() -> None:
    server = grpc.aio.server(options=OPTIONS)
    board = hb.aio.add_to_server(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel: hb.aio.Channel | None = hb.aio.insecure_channel(f"127.0.0.1:{port}", heartbeat=POLICY)
    assert channel is not None
    heartbeat = channel.heartbeat
    assert heartbeat is not None
    call: Any = channel.unary_unary(path("UnaryUnary"))
    channel = None
    events_seen = asyncio.Event()
    heartbeat.observers.add(lambda event: events_seen.set())
    while heartbeat.snapshot().acked < 2:
        events_seen.clear()
        await asyncio.wait_for(events_seen.wait(), PATIENCE)
    del call
    gc.collect()
    while heartbeat.snapshot().state != "closed":
        events_seen.clear()
        await asyncio.wait_for(events_seen.wait(), PATIENCE)
    await server.stop(None)
    board.close()


def test_an_aio_heartbeat_waits_for_a_loop_and_then_starts() -> None:
    async def main() -> str:
        channel.unary_unary(path("UnaryUnary"))
        assert channel.heartbeat is not None
        opening = asyncio.Event()
        channel.heartbeat.observers.add(lambda event: opening.set())
        await asyncio.wait_for(opening.wait(), PATIENCE)
        state = channel.heartbeat.snapshot().state
        await channel.close()
        return state

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        channel = hb.aio.insecure_channel("127.0.0.1:1", heartbeat=POLICY)
        assert loop.run_until_complete(main()) in ("connecting", "down")
    finally:
        asyncio.set_event_loop(None)
        loop.close()

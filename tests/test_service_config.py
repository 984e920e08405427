"""Service configs: what is written, and what real channels do with it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat import TimeoutPolicy, Timeouts, check_options
from grpc_heartbeat.retry_policy import duration
from grpc_heartbeat.service_config import RetryPolicy, service_config, streaming_methods
from tests.peers import OPTIONS, PATIENCE, SERVICE, SyncServer, path, wait_until

QUICK = RetryPolicy(attempts=4, initial_backoff=0.01, max_backoff=0.02)
UNARY = path("UnaryUnary")


class Flaky:
    """A handler that fails until it has been called ``failures`` times."""

    def __init__(self, failures: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self.attempts: list[float | None] = []
        self._failures = failures
        self._code = code

    def __call__(self, request: bytes, context: Any) -> bytes:
        self.attempts.append(context.time_remaining())
        if len(self.attempts) <= self._failures:
            context.abort(self._code, "not yet")
        return request


@pytest.fixture
def serve() -> Iterator[Any]:
    """Start a server for a unary handler and return its target."""
    servers: list[SyncServer] = []

    def start(handler: Any) -> str:
        servers.append(SyncServer({"UnaryUnary": handler}))
        return servers[-1].target

    yield start
    for server in servers:
        server.close()


def options(config: str) -> list[tuple[str, Any]]:
    return [("grpc.service_config", config), ("grpc.use_local_subchannel_pool", 1)]


def parsed(**arguments: Any) -> dict[str, Any]:
    found = json.loads(service_config(**arguments))
    assert isinstance(found, dict)
    return found


def entries(**arguments: Any) -> dict[str, Any]:
    """The method configs by ``service/method``."""
    methods = parsed(**arguments).get("methodConfig", [])
    named = {}
    for method in methods:
        (name,) = method.pop("name")
        named["/".join(name.values())] = method
    return named


def test_a_retry_happens(serve: Any) -> None:
    flaky = Flaky(failures=3)
    target = serve(flaky)
    with grpc.insecure_channel(target, options=options(service_config(retry=QUICK))) as channel:
        call: Any = channel.unary_unary(UNARY)
        assert call(b"x", timeout=PATIENCE) == b"x"
    assert len(flaky.attempts) == 4


async def test_a_retry_happens_on_asyncio(serve: Any) -> None:
    flaky = Flaky(failures=3)
    async with grpc.aio.insecure_channel(serve(flaky), options=options(service_config(retry=QUICK))) as channel:
        call: Any = channel.unary_unary(UNARY)
        assert await call(b"x", timeout=PATIENCE) == b"x"
    assert len(flaky.attempts) == 4


def test_only_the_named_codes_are_tried_again(serve: Any) -> None:
    flaky = Flaky(failures=1, code=grpc.StatusCode.INTERNAL)
    with grpc.insecure_channel(serve(flaky), options=options(service_config(retry=QUICK))) as channel:
        call: Any = channel.unary_unary(UNARY)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"x", timeout=PATIENCE)
    assert (caught.value.code(), len(flaky.attempts)) == (grpc.StatusCode.INTERNAL, 1)


def test_one_deadline_spans_all_attempts(serve: Any) -> None:
    slow = RetryPolicy(attempts=5, initial_backoff=0.2, max_backoff=0.2, multiplier=1)
    flaky = Flaky(failures=99)
    config = service_config(timeouts=Timeouts(total=5), streams=(), retry=slow)
    with grpc.insecure_channel(serve(flaky), options=options(config)) as channel:
        call: Any = channel.unary_unary(UNARY)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"x", timeout=1)
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert len(flaky.attempts) >= 2
    remaining = [left for left in flaky.attempts if left is not None]
    assert all(later < earlier for earlier, later in pairwise(remaining))


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_the_total_of_a_method_ends_its_calls(serve: Any, kind: str) -> None:
    release = threading.Event()

    def wait(request: bytes, context: Any) -> bytes:
        release.wait(PATIENCE)
        return request

    target = serve(wait)
    policy = TimeoutPolicy(methods={f"{SERVICE}/UnaryUnary": {"total": 0.3}})
    chosen = options(service_config(timeouts=policy))
    try:
        started = time.monotonic()
        code = _code(target, chosen) if kind == "sync" else asyncio.run(_code_aio(target, chosen))
        took = time.monotonic() - started
    finally:
        release.set()
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.3 <= took < 4


def test_grpc_ends_calls_before_the_time_out_of_a_service_config(serve: Any) -> None:
    """When this fails, gRPC has mended it (grpc/grpc#34547), and nothing needs to be added to a time-out any more."""
    flaky = Flaky(failures=0)
    text = json.dumps({"methodConfig": [{"name": [{}], "timeout": "1s"}]})
    assert _code(serve(flaky), options(text)) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert flaky.attempts == []
    (finding,) = check_options(client=[("grpc.service_config", text)]).errors
    assert "at once" in finding.message


def _code(target: str, chosen: Any) -> grpc.StatusCode:
    with grpc.insecure_channel(target, options=chosen) as channel:
        call: Any = channel.unary_unary(UNARY)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"x")
        return caught.value.code()


async def _code_aio(target: str, chosen: Any) -> grpc.StatusCode:
    async with grpc.aio.insecure_channel(target, options=chosen) as channel:
        call: Any = channel.unary_unary(UNARY)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"x")
        return caught.value.code()


def test_calls_wait_for_a_server_that_comes_later() -> None:
    config = service_config(wait_for_ready=True)
    late = SyncServer({"UnaryUnary": lambda request, context: request})
    target = late.target
    late.close()
    quick = [*options(config), ("grpc.max_reconnect_backoff_ms", 100), ("grpc.initial_reconnect_backoff_ms", 100)]
    with grpc.insecure_channel(target, options=quick) as channel, ThreadPoolExecutor(2) as pool:
        call: Any = channel.unary_unary(UNARY)
        failed = []
        channel.subscribe(lambda state: failed.append(state) if "FAIL" in state.name else None, try_to_connect=True)
        answer = pool.submit(call, b"x", timeout=PATIENCE)
        wait_until(lambda: failed)
        assert not answer.done()
        server = grpc.server(pool, options=OPTIONS)
        server.add_generic_rpc_handlers((_echo(),))
        server.add_insecure_port(target)
        server.start()
        assert answer.result(PATIENCE) == b"x"
        server.stop(None).wait(PATIENCE)


def _echo() -> grpc.GenericRpcHandler:
    handler: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    return grpc.method_handlers_generic_handler(SERVICE, {"UnaryUnary": handler})


def test_a_server_that_is_ill_gets_no_calls() -> None:
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, options=OPTIONS)
        server.add_generic_rpc_handlers((_echo(),))
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        chosen = options(service_config(health_check="", load_balancing="round_robin"))
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=chosen) as channel:
            call: Any = channel.unary_unary(UNARY)
            assert call(b"x", timeout=PATIENCE) == b"x"
            states: list[str] = []
            channel.subscribe(lambda state: states.append(state.name))
            servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
            wait_until(lambda: "TRANSIENT_FAILURE" in states)
            with pytest.raises(grpc.RpcError) as caught:
                call(b"x", timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        server.stop(None).wait(PATIENCE)


@pytest.mark.slow
def test_the_goaway_of_an_aged_connection_is_no_alarm() -> None:
    """Calls go on without a single failure while the connection under them is renewed."""
    aged = [*OPTIONS, ("grpc.max_connection_age_ms", 300), ("grpc.max_connection_age_grace_ms", 300)]
    peers = set()

    def who(request: bytes, context: Any) -> bytes:
        peers.add(context.peer())
        return request

    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, options=aged)
        handler: Any = grpc.unary_unary_rpc_method_handler(who)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"UnaryUnary": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options(service_config(retry=QUICK))) as channel:
            call: Any = channel.unary_unary(UNARY)
            until = time.monotonic() + 2
            while time.monotonic() < until or len(peers) < 3:
                assert call(b"x", timeout=PATIENCE) == b"x"
        server.stop(None).wait(PATIENCE)
    assert len(peers) >= 3


def test_a_throttle_stops_retries(serve: Any) -> None:
    flaky = Flaky(failures=99)
    config = service_config(retry=QUICK, throttle=(2, 0.1))
    with grpc.insecure_channel(serve(flaky), options=options(config)) as channel:
        call: Any = channel.unary_unary(UNARY)
        for _ in range(3):
            with pytest.raises(grpc.RpcError):
                call(b"x", timeout=PATIENCE)
    assert len(flaky.attempts) < 6


def test_entries_are_complete_because_grpc_merges_nothing() -> None:
    policy = TimeoutPolicy(Timeouts(total=8), services={"a.S": {"total": 5}}, methods={"a.S/M": {"total": 0.3}})
    retries = {"": QUICK, "a.S/M": RetryPolicy(attempts=2), "b.T": RetryPolicy(attempts=3)}
    found = entries(timeouts=policy, streams=["/a.S/Watch"], retry=retries, wait_for_ready=True)
    assert {name: entry.get("timeout") for name, entry in found.items()} == {
        "a.S/M": "2.3s",
        "a.S/Watch": None,
        "a.S": "7s",
        "b.T": "10s",
        "": "10s",
    }
    assert {name: entry["retryPolicy"]["maxAttempts"] for name, entry in found.items()} == {
        "a.S/M": 2,
        "a.S/Watch": 4,
        "a.S": 4,
        "b.T": 3,
        "": 4,
    }
    assert all(entry["waitForReady"] for entry in found.values())


def test_a_stream_keeps_the_total_of_its_own_entry() -> None:
    policy = TimeoutPolicy(Timeouts(total=8), methods={"a.S/Watch": {"total": 60}, "a.S/Tail": {"idle": 5}})
    found = entries(timeouts=policy, streams=["a.S/Watch", "a.S/Tail"])
    assert (found["a.S/Watch"], found["a.S/Tail"], found[""]) == ({"timeout": "62s"}, {}, {"timeout": "10s"})


def test_a_total_that_could_cut_streams_must_say_which_there_are() -> None:
    with pytest.raises(ValueError, match="for all methods would cut streams"):
        service_config(timeouts=Timeouts(total=8))
    with pytest.raises(ValueError, match="for the service a\\.S would cut streams"):
        service_config(timeouts=TimeoutPolicy(services={"a.S": {"total": 5}}))
    assert entries(timeouts=TimeoutPolicy(methods={"a.S/M": {"total": 5}})) == {"a.S/M": {"timeout": "7s"}}
    assert entries(timeouts=Timeouts(connect=3)) == {}


def test_streams_are_found_in_generated_code() -> None:
    module: Any = health_pb2
    assert streaming_methods(module.DESCRIPTOR) == ("grpc.health.v1.Health/Watch",)
    assert streaming_methods(module.DESCRIPTOR.services_by_name["Health"]) == ("grpc.health.v1.Health/Watch",)


def test_retries_never_outlive_the_budget() -> None:
    slow = RetryPolicy(attempts=5, initial_backoff=1, max_backoff=10)
    assert slow.pauses == pytest.approx(1.2 * (1 + 2 + 4 + 8))
    with pytest.raises(ValueError, match=r"all methods cannot fit: 5 attempts .* 18 s, and the total is 8 s"):
        service_config(timeouts=Timeouts(total=8), streams=(), retry=slow)
    fitted = entries(timeouts=Timeouts(total=8), streams=(), retry=slow, fit_retries=True)
    assert fitted[""]["retryPolicy"]["maxAttempts"] == 3
    none = entries(timeouts=Timeouts(total=1), streams=(), retry=slow, fit_retries=True)
    assert none == {"": {"timeout": "3s"}}


@given(
    st.integers(2, 5),
    st.floats(0.001, 10),
    st.floats(1, 20),
    st.floats(1, 10),
    st.floats(0.01, 100),
)
def test_what_fits_is_shorter_than_the_budget(
    attempts: int, first: float, factor: float, multiplier: float, budget: float
) -> None:
    policy = RetryPolicy(attempts=attempts, initial_backoff=first, max_backoff=first * factor, multiplier=multiplier)
    fitted = policy.fitted(budget)
    if fitted is None:
        assert RetryPolicy(attempts=2, initial_backoff=first, max_backoff=first * factor).pauses >= budget
    else:
        assert fitted.pauses < budget
        assert (
            fitted.attempts == attempts
            or RetryPolicy(
                attempts=fitted.attempts + 1, initial_backoff=first, max_backoff=first * factor, multiplier=multiplier
            ).pauses
            >= budget
        )


@given(st.floats(1e-9, 1e8))
def test_durations_are_those_of_protobuf(seconds: float) -> None:
    text = duration(seconds)
    assert text.endswith("s")
    assert float(text[:-1]) == pytest.approx(seconds, abs=1e-9)
    assert "e" not in text


EVERYTHING: dict[str, Any] = {
    "timeouts": TimeoutPolicy(Timeouts(total=8), methods={"a.S/M": {"total": 3}}),
    "streams": ["a.S/Watch"],
    "retry": {"": RetryPolicy(), "a.S": RetryPolicy(attempts=5, codes=("UNAVAILABLE", "RESOURCE_EXHAUSTED"))},
    "wait_for_ready": True,
    "health_check": "a.S",
    "load_balancing": {"round_robin": {}},
    "throttle": (10, 0.5),
}


def test_grpc_and_the_checker_accept_what_is_built(serve: Any) -> None:
    config = service_config(**EVERYTHING)
    report = check_options(client=[("grpc.service_config", config)])
    assert (report.errors, report.warnings) == ((), ())
    del EVERYTHING["health_check"]
    with grpc.insecure_channel(serve(Flaky(failures=0)), options=options(service_config(**EVERYTHING))) as channel:
        call: Any = channel.unary_unary(UNARY)
        assert call(b"x", timeout=PATIENCE) == b"x"


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"timeouts": 8}, TypeError, "timeouts must be Timeouts"),
    ({"streams": "a.S/Watch"}, TypeError, "streams must be names in a list"),
    ({"streams": ["Watch"]}, ValueError, "'Watch' is no method"),
    ({"retry": 3}, TypeError, "retry must be a RetryPolicy"),
    ({"retry": {"a.S": 3}}, TypeError, "retry\\['a.S'\\] must be a RetryPolicy"),
    ({"retry": {"a.S/": QUICK}}, ValueError, "'a.S/' is no method"),
    ({"wait_for_ready": 1}, TypeError, "wait_for_ready must be True, False or None"),
    ({"health_check": ""}, ValueError, "no effect under pick_first"),
    ({"health_check": "", "load_balancing": "pick_first"}, ValueError, "no effect under pick_first"),
    ({"health_check": 1, "load_balancing": "round_robin"}, TypeError, "health_check must be the name"),
    ({"load_balancing": "roundrobin"}, ValueError, "load_balancing must name one of pick_first"),
    ({"load_balancing": {"pick_first": {}, "round_robin": {}}}, ValueError, "load_balancing must name one"),
    ({"load_balancing": 3}, TypeError, "load_balancing must be the name"),
    ({"throttle": 10}, TypeError, "throttle must be a pair"),
    ({"throttle": (0, 0.1)}, ValueError, "max_tokens must be a whole number from 1 to 1000; got 0"),
    ({"throttle": (10, 0)}, ValueError, "token_ratio must be a number from 0.001"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        service_config(**arguments)


WRONG_RETRIES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"attempts": 1}, ValueError, "attempts must be from 2 to 5, the first attempt included; got 1"),
    ({"attempts": 6}, ValueError, "from 2 to 5"),
    ({"attempts": 2.0}, TypeError, "attempts must be an integer"),
    ({"attempts": True}, TypeError, "attempts must be an integer"),
    ({"initial_backoff": 0}, ValueError, "initial_backoff must be at least 0.001"),
    ({"initial_backoff": "1s"}, TypeError, "initial_backoff must be a number of seconds"),
    ({"initial_backoff": 2, "max_backoff": 1}, ValueError, "max_backoff must be at least 2"),
    ({"multiplier": 0.5}, ValueError, "multiplier must be from 1 to 100"),
    ({"multiplier": "2"}, TypeError, "multiplier must be a number"),
    ({"codes": "UNAVAILABLE"}, TypeError, "codes must be names"),
    ({"codes": ()}, ValueError, "codes must not be empty"),
    ({"codes": ("UNAVAILIBLE",)}, ValueError, "'UNAVAILIBLE', which is no status code"),
    ({"codes": ("OK",)}, ValueError, "it is no error"),
    ({"codes": ("CANCELLED",)}, ValueError, "wants no answer any more"),
    ({"codes": (grpc.StatusCode.DEADLINE_EXCEEDED,)}, ValueError, "one deadline spans all attempts"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG_RETRIES)
def test_a_wrong_retry_policy_is_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RetryPolicy(**arguments)


def test_codes_may_be_grpc_s_own() -> None:
    assert RetryPolicy(codes=(grpc.StatusCode.UNAVAILABLE,)) == RetryPolicy()  # type: ignore[arg-type] # it is allowed

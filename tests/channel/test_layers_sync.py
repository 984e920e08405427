"""The layers of the sync channel on every way to make a call: what is late ends by name, what is in time does not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import monotonic
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, _grpcio
from grpc_heartbeat.errors import timeout_of
from tests.channel import dead_ends
from tests.channel.ways import READING, WAYS, WRITING, endless, options
from tests.peers import PATIENCE, SyncServer, path, wait_until

LIMIT = 0.2
"""For what is late."""
AMPLE = 0.35
"""For what is in time, even where threads are woken late; the whole call takes longer all the same."""
KINDS_OF_WAYS = {
    "unary_stream": "UnaryStream",
    "unary_stream single-threaded": "UnaryStream",
    "stream_unary": "StreamUnary",
    "stream_unary with_call": "StreamUnary",
    "stream_unary future": "StreamUnary",
    "stream_stream": "StreamStream",
}
each_way = pytest.mark.parametrize("way", WAYS)
both_seams = pytest.mark.parametrize("public_api_only", [False, True], ids=["seam", "public api"])


class Slow:
    """A server without this library. It does what the request says, and ends each handler with its RPC."""

    def __init__(self) -> None:
        one: Callable[[bytes, Any], bytes] = lambda request, context: self._one(request, context)  # noqa: E731
        self.reached = 0
        self._server = SyncServer(
            {
                "UnaryUnary": one,
                "UnaryStream": self._many,
                "StreamUnary": lambda requests, context: self._one(next(requests), context),
                "StreamStream": lambda requests, context: self._many(next(requests), context),
            }
        )
        self.target = self._server.target

    def _one(self, request: bytes, context: Any) -> bytes:
        self.reached += 1
        over = threading.Event()
        context.add_callback(over.set)
        if request.startswith(b"accept"):
            context.send_initial_metadata((("accepted", "yes"),))
        if request.endswith(b"hold"):
            over.wait(PATIENCE)
        elif request.endswith(b"slow"):
            over.wait(AMPLE * 1.5)
        return request

    def _many(self, request: bytes, context: Any) -> Iterator[bytes]:
        over = threading.Event()
        context.add_callback(over.set)
        if request == b"then idle":
            yield b"first"
            over.wait(PATIENCE)
        elif request == b"steady":
            for _ in range(10):
                yield b"again"
                over.wait(AMPLE / 7)
        elif request == b"burst":
            yield from [b"x"] * 3
        else:
            yield self._one(request, context)

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def slow() -> Iterator[Slow]:
    server = Slow()
    yield server
    server.close()


@pytest.fixture
def dial(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., grpc.Channel]]:
    """Open channels of ours with limits."""
    with ExitStack() as stack:

        def open_one(
            target: str, way: str = "call", public_api_only: bool = False, **limits: float
        ) -> grpc_heartbeat.Channel:
            monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", public_api_only)
            timeouts = Timeouts(**limits)
            return stack.enter_context(grpc_heartbeat.insecure_channel(target, options=options(way), timeouts=timeouts))

        yield open_one


def ended(call: Callable[[], Any], layer: str, limit: float = LIMIT) -> Any:
    """Run ``call``, see it end by ``layer`` at its limit, and return its error."""
    started = monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        call()
    took = monotonic() - started
    error: Any = caught.value
    facts = timeout_of(error)
    assert facts is not None, f"{error.code()}: {error.details()}"
    assert (facts.layer, facts.limit, facts.source) == (layer, limit, "policy:default"), error.details()
    assert error.code().name == ("UNAVAILABLE" if layer == "connect" else "DEADLINE_EXCEEDED")
    assert f"its {layer} time-out is {limit:g} s (policy:default)" in error.details()
    assert error.details() in str(error)
    assert limit <= facts.elapsed < limit + 2
    assert limit <= took < limit + 5
    return error


# connect


@each_way
@both_seams
@pytest.mark.parametrize("wait", [None, True], ids=["fail fast", "wait for ready"])
def test_a_port_that_is_silent(
    dial: Callable[..., grpc.Channel], way: str, public_api_only: bool, wait: bool | None
) -> None:
    with dead_ends.silent() as target:
        channel = dial(target, way, public_api_only, connect=LIMIT)
        error = ended(lambda: WAYS[way](channel, [b"x"], wait_for_ready=wait), "connect")
    assert "trying again is safe" in error.details()
    if not public_api_only:  # else whatever grpcio's watching thread has said by then
        assert error.timeout.connectivity == "CONNECTING"


@each_way
@both_seams
def test_a_refused_port_under_wait_for_ready_says_the_reason(
    dial: Callable[..., grpc.Channel], way: str, public_api_only: bool
) -> None:
    with dead_ends.refused() as target:
        channel = dial(target, way, public_api_only, connect=LIMIT)
        error = ended(lambda: WAYS[way](channel, [b"x"], wait_for_ready=True), "connect")
    assert public_api_only or error.timeout.connectivity == "TRANSIENT_FAILURE"
    assert "refused" in error.timeout.last_error
    assert "last connection error" in error.details()


@each_way
def test_a_refused_port_fails_at_once_as_ever(dial: Callable[..., grpc.Channel], way: str) -> None:
    with dead_ends.refused() as target:
        channel = dial(target, way, connect=PATIENCE)
        with pytest.raises(grpc.RpcError) as caught:
            WAYS[way](channel, [b"x"])
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert timeout_of(error) is None


@pytest.mark.parametrize("wait", [None, True], ids=["fail fast", "wait for ready"])
def test_a_black_hole(dial: Callable[..., grpc.Channel], wait: bool | None) -> None:
    with dead_ends.black_hole() as target:
        call: Any = dial(target, connect=LIMIT).unary_unary(path("UnaryUnary"))
        error = ended(lambda: call(b"", wait_for_ready=wait), "connect")
    assert error.timeout.connectivity == "CONNECTING"


def test_a_name_that_does_not_exist(dial: Callable[..., grpc.Channel]) -> None:
    with dead_ends.unresolvable() as target:
        call: Any = dial(target, connect=LIMIT).unary_unary(path("UnaryUnary"))
        error = ended(lambda: call(b"", wait_for_ready=True), "connect")
    assert "no-such-host.invalid" in error.timeout.last_error


def test_a_peer_that_stalls_in_the_tls_handshake() -> None:
    credentials = grpc.ssl_channel_credentials()
    with (
        dead_ends.silent() as target,
        grpc_heartbeat.secure_channel(target, credentials, timeouts=Timeouts(connect=LIMIT)) as channel,
    ):
        ended(lambda: channel.unary_unary(path("UnaryUnary"))(b""), "connect")


def test_the_connect_limit_is_kept_to_the_hundredth_of_a_second(dial: Callable[..., grpc.Channel]) -> None:
    with dead_ends.silent() as target:
        call: Any = dial(target, connect=LIMIT).unary_unary(path("UnaryUnary"))
        best = min(ended(lambda: call(b"", wait_for_ready=True), "connect").timeout.elapsed for _ in range(5))
    assert best < LIMIT + 0.01  # of five: a busy machine wakes threads late


@each_way
@both_seams
def test_once_connected_the_connect_limit_is_over(
    slow: Slow, dial: Callable[..., grpc.Channel], way: str, public_api_only: bool
) -> None:
    channel = dial(slow.target, way, public_api_only, connect=AMPLE)
    assert WAYS[way](channel, [b"slow"]) in (b"slow", [b"slow"])


def test_a_connection_that_comes_while_the_call_waits_starts_the_header_limit(
    dial: Callable[..., grpc.Channel],
) -> None:
    with dead_ends.refused() as target:
        channel: Any = dial(target, connect=PATIENCE, header=LIMIT)
        future = channel.unary_unary(path("UnaryUnary")).future(b"", wait_for_ready=True)
        assert not future.done()
        channel.connection._changed(grpc.ChannelConnectivity.READY)
        error = ended(future.result, "header")
    assert error is future


@both_seams
def test_calls_that_wait_for_one_connection_end_together_and_are_forgotten(
    dial: Callable[..., grpc.Channel], public_api_only: bool
) -> None:
    with dead_ends.refused() as target:
        channel: Any = dial(target, "call", public_api_only, connect=LIMIT)
        call = channel.unary_unary(path("UnaryUnary"))
        futures = [call.future(b"", wait_for_ready=True) for _ in range(20)]
        for future in futures:
            assert "refused" in ended_by(future).timeout.last_error
        with pytest.raises(grpc.RpcError):
            call(b"", wait_for_ready=True)
        wait_until(lambda: not channel.connection._waiting)


def ended_by(future: Any) -> Any:
    error = future.exception(PATIENCE)
    assert error is future
    assert future.timeout.layer == "connect"
    return error


# header


@each_way
@both_seams
def test_a_server_that_does_not_accept(
    slow: Slow, dial: Callable[..., grpc.Channel], way: str, public_api_only: bool
) -> None:
    channel = dial(slow.target, way, public_api_only, header=LIMIT)
    grpc.channel_ready_future(channel).result(PATIENCE)
    if public_api_only and way.endswith("single-threaded"):
        # Only its reader may ask such a stream whether it was accepted: the limit is off, and nothing is lost.
        assert WAYS[way](channel, [b"slow"]) == [b"slow"]
        return
    error = ended(lambda: WAYS[way](channel, [b"hold"]), "header")
    assert "may have been carried out" in error.details()
    if not public_api_only:
        assert error.timeout.connectivity == "READY"


@each_way
@both_seams
def test_a_server_that_accepts_and_then_takes_its_time(
    slow: Slow, dial: Callable[..., grpc.Channel], way: str, public_api_only: bool
) -> None:
    channel = dial(slow.target, way, public_api_only, header=AMPLE)
    assert WAYS[way](channel, [b"accept slow"]) in (b"accept slow", [b"accept slow"])


@both_seams
def test_initial_metadata_is_what_the_server_sent(
    slow: Slow, dial: Callable[..., grpc.Channel], public_api_only: bool
) -> None:
    method: Any = dial(slow.target, "call", public_api_only, header=PATIENCE).unary_unary(path("UnaryUnary"))
    response, call = method.with_call(b"accept")
    assert response == b"accept"
    future = method.future(b"accept")
    for each in (call, future):
        assert ("accepted", "yes") in [(key, value) for key, value in each.initial_metadata()]
        assert each.code() is grpc.StatusCode.OK


# idle


@pytest.mark.parametrize("way", READING)
@both_seams
def test_a_server_that_stops_sending(
    slow: Slow, dial: Callable[..., grpc.Channel], way: str, public_api_only: bool
) -> None:
    channel = dial(slow.target, way, public_api_only, idle=LIMIT)
    ended(lambda: WAYS[way](channel, [b"then idle"]), "idle")


@pytest.mark.parametrize("way", READING)
def test_a_steady_stream_goes_on(slow: Slow, dial: Callable[..., grpc.Channel], way: str) -> None:
    assert WAYS[way](dial(slow.target, way, idle=AMPLE), [b"steady"]) == [b"again"] * 10


@pytest.mark.parametrize("way", READING)
def test_a_slow_consumer_is_not_the_servers_fault(slow: Slow, dial: Callable[..., grpc.Channel], way: str) -> None:
    channel: Any = dial(slow.target, way, idle=AMPLE)
    kind = KINDS_OF_WAYS[way]
    method = channel.unary_stream(path(kind)) if kind == "UnaryStream" else channel.stream_stream(path(kind))
    call = method(b"burst" if kind == "UnaryStream" else iter([b"burst"]))
    got = []
    for response in call:
        got.append(response)
        threading.Event().wait(AMPLE * 1.2)
    assert got == [b"x"] * 3


# write


class Deaf:
    """A server whose handlers read nothing until they are told to."""

    def __init__(self) -> None:
        self.listen = threading.Event()
        self._server = SyncServer({"StreamUnary": self._one, "StreamStream": self._many})
        self.target = self._server.target

    def _one(self, requests: Any, context: Any) -> bytes:
        over = threading.Event()
        context.add_callback(over.set)
        context.add_callback(self.listen.set)
        self.listen.wait(PATIENCE)
        return b"%d" % sum(1 for _ in requests)

    def _many(self, requests: Any, context: Any) -> Iterator[bytes]:
        yield self._one(requests, context)

    def close(self) -> None:
        self.listen.set()
        self._server.close()


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    server = Deaf()
    yield server
    server.close()


@pytest.mark.parametrize("way", WRITING)
@both_seams
def test_a_server_that_does_not_read(
    deaf: Deaf, dial: Callable[..., grpc.Channel], way: str, public_api_only: bool
) -> None:
    channel = dial(deaf.target, way, public_api_only, write=LIMIT)
    ended_late(lambda: WAYS[way](channel, endless(bytes(1 << 20))))


def ended_late(call: Callable[[], Any]) -> None:
    """See ``call`` end by the write layer: its limit counts from the message that was not taken."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    facts = timeout_of(error)
    assert facts is not None, error.details()
    assert (facts.layer, facts.limit) == ("write", LIMIT)
    assert "waited for the server to take a message" in error.details()


@pytest.mark.parametrize("way", WRITING)
def test_an_application_that_is_slow_to_write_is_not_the_servers_fault(
    deaf: Deaf, dial: Callable[..., grpc.Channel], way: str
) -> None:
    deaf.listen.set()

    def requests() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x"
            threading.Event().wait(AMPLE * 1.2)

    assert WAYS[way](dial(deaf.target, way, write=AMPLE), requests()) in (b"3", [b"3"])

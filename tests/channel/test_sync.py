"""The sync channel and client interceptors: grpcio's semantics for what is not ours, exact ends for what is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, _faults, _grpcio, deadline
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.deadline import BUDGET_KEY
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.errors import EndedCall, timeout_of
from tests.chain.hops import SYNC_STYLES, responses, start, stubs
from tests.channel.servers import FAIL, HOLD, Server
from tests.peers import KINDS, PATIENCE, path

each_style = pytest.mark.parametrize("style", SYNC_STYLES)
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def open_channel(server: Server) -> Iterator[Callable[[str], grpc.Channel]]:
    opened: list[grpc.Channel] = []

    def open_one(style: str) -> grpc.Channel:
        opened.append(SYNC_STYLES[style](server.target))
        return opened[-1]

    yield open_one
    for channel in opened:
        channel.close()


def outcome(call: Any, kind: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        responses(call, kind)
    assert caught.value.code() is call.code()
    return call.code(), call.details()


@each_style
@each_kind
@pytest.mark.parametrize("timeout", [0, -1])
def test_a_call_with_no_time_left_ends_locally(
    server: Server, open_channel: Callable[[str], grpc.Channel], style: str, kind: str, timeout: float
) -> None:
    call = start(open_channel(style), kind, b"hello", timeout=timeout)
    code, details = outcome(call, kind)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert f"{path(kind)} was not sent" in details
    facts = timeout_of(call)
    assert facts is not None
    assert (facts.layer, facts.source) == ("total", "explicit")
    assert server.calls == 0


@each_style
@each_kind
def test_a_call_in_a_cancelled_scope_ends_locally(
    server: Server, open_channel: Callable[[str], grpc.Channel], style: str, kind: str
) -> None:
    scope = Scope(None, "inherited:/a/b", "/a/b")
    scope.cancel(Reason.CLIENT_CANCELLED)
    token = current_scope.set(scope)
    call = start(open_channel(style), kind, b"hello")
    current_scope.reset(token)
    code, details = outcome(call, kind)
    assert code is grpc.StatusCode.CANCELLED
    assert "/a/b" in details
    assert server.calls == 0


@each_style
@each_kind
def test_every_entry_of_the_metadata_multimap_arrives(
    server: Server, open_channel: Callable[[str], grpc.Channel], style: str, kind: str
) -> None:
    sent = (("x", "1"), ("x", "2"), ("data-bin", b"\x00\x01"))
    with deadline.limit(5):
        responses(start(open_channel(style), kind, b"hello", metadata=sent), kind)
    arrived = server.metadata[0]
    assert [entry for entry in arrived if entry[0] in ("x", "data-bin")] == list(sent)
    assert [key for key, _ in arrived].count(BUDGET_KEY) == 1


@each_style
@each_kind
def test_an_inherited_deadline_shortens_but_never_extends(
    server: Server, open_channel: Callable[[str], grpc.Channel], style: str, kind: str
) -> None:
    channel = open_channel(style)
    with deadline.limit(5):
        for timeout in (None, 2, 100):
            responses(start(channel, kind, b"hello", timeout=timeout), kind)
    with deadline.shield():
        responses(start(channel, kind, b"hello", timeout=100), kind)
    inherited, explicit, capped, shielded = server.remaining
    assert inherited <= 5.1
    assert explicit <= 2.1
    assert capped <= 5.1
    assert shielded > 90


@each_style
@each_kind
def test_the_servers_own_error_arrives_untouched(
    open_channel: Callable[[str], grpc.Channel], style: str, kind: str
) -> None:
    with deadline.limit(5):
        call = start(open_channel(style), kind, FAIL)
        assert outcome(call, kind) == (grpc.StatusCode.FAILED_PRECONDITION, "you asked for it")
    assert ("why", "asked") in tuple(call.trailing_metadata())
    assert timeout_of(call) is None


@each_style
@each_kind
def test_call_objects_without_a_limit_are_grpcios_own(
    server: Server, open_channel: Callable[[str], grpc.Channel], style: str, kind: str
) -> None:
    bare = grpc.insecure_channel(server.target)
    if style == "interceptors":
        bare = grpc.intercept_channel(bare, *grpc_heartbeat.client_interceptors())
    ours = start(open_channel(style), kind, b"hello")
    theirs = start(bare, kind, b"hello")
    assert type(ours) is type(theirs)
    assert responses(ours, kind) == responses(theirs, kind)
    bare.close()


def block(channel: grpc.Channel, kind: str, form: str) -> Callable[[], Any]:
    multicallable = dict(zip(KINDS, stubs(channel), strict=True))[kind]
    method = multicallable if form == "call" else multicallable.with_call
    return lambda: method(iter([HOLD]) if kind == "StreamUnary" else HOLD)


class Blocked:
    """A thread that makes a blocking call in a scope of its own."""

    def __init__(self, call: Callable[[], Any], seconds: float | None = None) -> None:
        self.scope = Scope(None if seconds is None else monotonic() + seconds, "inherited:/a/b", "/a/b")
        self.error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        current_scope.set(self.scope)
        try:
            self._call()
        except grpc.RpcError as error:
            self.error = error

    def join(self) -> Any:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.error


@each_style
@pytest.mark.parametrize("kind", ["UnaryUnary", "StreamUnary"])
@pytest.mark.parametrize("form", ["call", "with_call"])
@pytest.mark.parametrize("public_api_only", [False, True], ids=["seam", "public api"])
def test_a_blocking_call_is_cancelled_on_the_wire(
    server: Server,
    open_channel: Callable[[str], grpc.Channel],
    monkeypatch: pytest.MonkeyPatch,
    style: str,
    kind: str,
    form: str,
    public_api_only: bool,
) -> None:
    if public_api_only and style == "interceptors":
        pytest.skip("the official interceptor API has no handle on a blocking call")
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", public_api_only)
    blocked = Blocked(block(open_channel(style), kind, form))
    assert server.started.wait(PATIENCE)
    blocked.scope.cancel(Reason.CLIENT_CANCELLED)
    error = blocked.join()
    assert error.code() is grpc.StatusCode.CANCELLED
    assert server.ended.wait(PATIENCE)
    facts = timeout_of(error)
    assert facts is not None
    assert (facts.layer, facts.source) == ("scope", "inherited:/a/b")
    assert len(blocked.scope.members) == 0


@pytest.mark.parametrize("form", ["call", "with_call"])
@pytest.mark.parametrize("kind", ["UnaryUnary", "StreamUnary"])
def test_a_blocking_call_with_an_inherited_deadline_is_cancelled_too(server: Server, kind: str, form: str) -> None:
    with grpc_heartbeat.insecure_channel(server.target) as channel:
        blocked = Blocked(block(channel, kind, form), seconds=60)
        assert server.started.wait(PATIENCE)
        blocked.scope.cancel(Reason.CLIENT_CANCELLED)
        error = blocked.join()
    assert error.code() is grpc.StatusCode.CANCELLED
    assert server.ended.wait(PATIENCE)
    facts = timeout_of(error)
    assert facts is not None
    assert (facts.layer, facts.limit, facts.source) == ("scope", None, "inherited:/a/b")
    assert len(blocked.scope.members) == 0


class OverScope(Scope):
    """A scope that learns of the end of its RPC only when a call asks to be told."""

    watched = False

    def watch(self) -> None:
        self.watched = True
        self.cancel(Reason.CLIENT_CANCELLED)


@pytest.mark.parametrize("seconds", [None, 60])
@pytest.mark.parametrize("kind", ["UnaryUnary", "StreamUnary"])
def test_a_cancel_while_the_call_is_being_made_is_not_missed(server: Server, kind: str, seconds: float | None) -> None:
    scope = OverScope(None if seconds is None else monotonic() + seconds, "inherited:/a/b", "/a/b")
    with grpc_heartbeat.insecure_channel(server.target) as channel:
        token = current_scope.set(scope)
        with pytest.raises(grpc.RpcError) as caught:
            block(channel, kind, "call")()
        current_scope.reset(token)
    assert caught.value.code() is grpc.StatusCode.CANCELLED
    assert len(scope.members) == 0


@pytest.mark.parametrize("form", ["call", "with_call"])
@pytest.mark.parametrize("kind", ["UnaryUnary", "StreamUnary"])
def test_an_inherited_deadline_ends_a_blocking_call_and_says_so(server: Server, kind: str, form: str) -> None:
    with grpc_heartbeat.insecure_channel(server.target) as channel:
        blocked = Blocked(block(channel, kind, form), seconds=0.2)
        error = blocked.join()
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    facts = timeout_of(error)
    assert facts is not None
    assert (facts.layer, facts.source) == ("total", "inherited:/a/b")
    assert facts.limit is not None
    assert 0 < facts.limit <= 0.2
    assert facts.limit - 0.05 < facts.elapsed < PATIENCE


@pytest.mark.parametrize("public_api_only", [False, True], ids=["seam", "public api"])
@pytest.mark.parametrize("kind", ["UnaryUnary", "StreamUnary"])
def test_blocking_calls_return_what_grpcio_returns(
    server: Server, monkeypatch: pytest.MonkeyPatch, kind: str, public_api_only: bool
) -> None:
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", public_api_only)
    with grpc_heartbeat.insecure_channel(server.target) as channel, deadline.limit(5):
        multicallable = dict(zip(KINDS, stubs(channel), strict=True))[kind]
        request = b"hello" if kind == "UnaryUnary" else None
        assert multicallable(request or iter([b"hello"])) == b"hello"
        response, call = multicallable.with_call(request or iter([b"hello"]))
        assert (response, call.code()) == (b"hello", grpc.StatusCode.OK)


@each_style
@each_kind
def test_calls_are_forgotten_when_they_are_done(
    open_channel: Callable[[str], grpc.Channel], style: str, kind: str
) -> None:
    channel = open_channel(style)
    scope = Scope(None, "inherited:/a/b", "/a/b")
    token = current_scope.set(scope)
    for _ in range(5):
        responses(start(channel, kind, b"hello"), kind)
    current_scope.reset(token)
    give_up = threading.Event()
    for _ in range(500):
        if len(scope.members) == 0:
            break
        give_up.wait(0.01)
    assert len(scope.members) == 0


def test_the_policys_total_ends_unary_calls_and_says_so(server: Server) -> None:
    with grpc_heartbeat.insecure_channel(server.target, timeouts=Timeouts(total=0.1)) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(path("UnaryUnary"))(HOLD)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        facts = timeout_of(caught.value)
        assert facts is not None
        assert (facts.limit, facts.source) == (0.1, "policy:default")
        assert 0.1 <= facts.elapsed < PATIENCE


def test_streams_have_no_total_unless_they_are_given_one(server: Server) -> None:
    with grpc_heartbeat.insecure_channel(server.target, timeouts=Timeouts(total=5)) as channel:
        list(channel.unary_stream(path("UnaryStream"))(b"hello"))
        list(channel.stream_stream(path("StreamStream"))(iter([b"hello"])))
    assert all(remaining > 1e9 for remaining in server.remaining)


@pytest.mark.parametrize(("timeout", "error"), [(float("nan"), ValueError), ("5", TypeError)])
def test_a_timeout_that_is_no_number_is_named(server: Server, timeout: Any, error: type[Exception]) -> None:
    with grpc_heartbeat.insecure_channel(server.target) as channel, pytest.raises(error, match="timeout must be"):
        channel.unary_unary(path("UnaryUnary"))(b"", timeout=timeout)


@pytest.mark.parametrize("timeout", [float("inf"), 1e10])
def test_a_timeout_too_large_for_grpcio_means_no_limit(server: Server, timeout: float) -> None:
    with grpc_heartbeat.insecure_channel(server.target) as channel:
        assert channel.unary_unary(path("UnaryUnary"))(b"hello", timeout=timeout) == b"hello"


def test_background_work_outlives_a_finished_request(server: Server) -> None:
    with grpc_heartbeat.insecure_channel(server.target) as channel:
        scope = Scope(None, "inherited:/a/b", "/a/b")
        token = current_scope.set(scope)
        call = channel.unary_unary(path("UnaryUnary")).future(HOLD)
        assert server.started.wait(PATIENCE)
        scope.finish()
        current_scope.reset(token)
        scope.cancel(Reason.CLIENT_CANCELLED)
        assert not call.done()
        call.cancel()


def test_a_blocking_call_leaves_the_threads_outer_handle_in_place(server: Server) -> None:
    outer = _grpcio.CancelHandle()
    with grpc_heartbeat.insecure_channel(server.target) as channel, deadline.limit(5):
        method = channel.unary_unary(path("UnaryUnary"))
        _grpcio.calling.handle = outer
        try:
            method(b"hello")
            assert _grpcio.calling.handle is outer
        finally:
            _grpcio.calling.handle = None


def test_an_ended_call_answers_like_a_finished_future() -> None:
    with grpc_heartbeat.insecure_channel("127.0.0.1:1") as channel:
        call = channel.unary_unary(path("UnaryUnary")).future(b"", timeout=0)
    assert isinstance(call, EndedCall)
    told: list[Any] = []
    call.add_done_callback(told.append)
    assert told == [call]
    assert call.done()
    assert not call.running()
    assert not call.cancelled()
    assert not call.cancel()
    assert not call.is_active()
    assert call.exception() is call
    assert call.time_remaining() == 0
    assert not call.add_callback(lambda: None)
    assert (call.initial_metadata(), call.trailing_metadata()) == ((), ())
    assert call.traceback() is not None
    for read in (call.__next__, call.next):
        with pytest.raises(EndedCall):
            read()


def test_connectivity_is_the_inner_channels(server: Server) -> None:
    with grpc_heartbeat.insecure_channel(server.target) as channel:
        grpc.channel_ready_future(channel).result(PATIENCE)
        assert isinstance(channel, grpc.Channel)


def in_place_of_a_call(server: Server, response: Any) -> grpc.Channel:
    """Return our channel around an interceptor that answers with ``response`` instead of a call."""

    class Odd(grpc.UnaryStreamClientInterceptor):
        def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            return response

    return grpc_heartbeat.wrap_channel(grpc.intercept_channel(grpc.insecure_channel(server.target), Odd()))


def test_what_is_no_call_is_left_alone(server: Server) -> None:
    with in_place_of_a_call(server, [b"made up"]) as channel, deadline.limit(5):
        assert list(stubs(channel)[1](b"")) == [b"made up"]


class BrokenCall(list[bytes]):
    def cancel(self) -> None:
        """Would end the call."""

    def add_callback(self, callback: Any) -> bool:
        raise RuntimeError("no callbacks today")


@pytest.mark.internal_faults
def test_a_call_that_cannot_be_held_is_logged_and_goes_on(server: Server) -> None:
    with in_place_of_a_call(server, BrokenCall([b"made up"])) as channel, deadline.limit(5):
        assert list(stubs(channel)[1](b"")) == [b"made up"]
    assert _faults.counts()["channel.hold"] > 0

"""The call objects of limited futures and streams: grpcio's in all they do, and they know why they ended."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, _abandoned, _grpcio
from grpc_heartbeat._current import current_overrides, current_scope
from grpc_heartbeat.channel.limited import LimitedCall
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.errors import timeout_of
from tests.chain.hops import responses, start
from tests.channel.servers import FAIL, HOLD, Server
from tests.channel.ways import SINGLE_THREADED
from tests.peers import KINDS, PATIENCE, path, wait_until
from tests.seams import PUBLIC_API_ONLY, needs_seam

each_kind = pytest.mark.parametrize("kind", KINDS)
LIMITS = Timeouts(total=30, connect=20, header=20, idle=20, write=20)


@pytest.fixture
def limited(server: Server) -> Iterator[grpc_heartbeat.Channel]:
    with grpc_heartbeat.insecure_channel(server.target, timeouts=LIMITS) as channel:
        yield channel


@pytest.fixture
def bare(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target) as channel:
        yield channel


def observed(call: Any) -> dict[str, Any]:
    """Return all that a call object which is done says."""
    seen: dict[str, Any] = {}
    for name in (
        "code",
        "details",
        "initial_metadata",
        "trailing_metadata",
        "is_active",
        "cancelled",
        "running",
        "done",
        "cancel",
        "result",
        "exception",
        "traceback",
    ):
        try:
            seen[name] = getattr(call, name)()
        except grpc.FutureCancelledError:
            seen[name] = "FutureCancelledError"
        except grpc.RpcError as error:
            seen[name] = "raised itself" if error is call else error
    seen["exception"] = "itself" if seen["exception"] is call else seen["exception"]
    seen["traceback"] = type(seen["traceback"])
    for name in ("initial_metadata", "trailing_metadata"):
        seen[name] = [tuple(entry) for entry in seen[name]]
    seen["add_callback"] = call.add_callback(lambda: None)
    told: list[Any] = []
    call.add_done_callback(told.append)
    seen["told"] = [each is call for each in told]
    seen["is"] = [isinstance(call, kind) for kind in (grpc.RpcError, grpc.Call, grpc.Future, grpc.RpcContext)]
    return seen


def run(channel: grpc.Channel, kind: str, request: bytes, end: Callable[[Any], None]) -> dict[str, Any]:
    call = start(channel, kind, request)
    end(call)
    try:
        got: Any = responses(call, kind)
    except grpc.FutureCancelledError:
        got = "FutureCancelledError"
    except grpc.RpcError as error:
        got = error is call
    return {"got": got, **observed(call)}


@each_kind
@pytest.mark.parametrize("request_", [b"hello", FAIL])
def test_a_call_that_no_limit_ended_is_told_as_grpcio_tells_it(
    limited: grpc_heartbeat.Channel, bare: grpc.Channel, kind: str, request_: bytes
) -> None:
    call = start(limited, kind, request_)
    assert isinstance(call, LimitedCall)
    assert run(limited, kind, request_, lambda call: None) == run(bare, kind, request_, lambda call: None)


@each_kind
def test_a_call_that_the_application_cancelled_is_told_as_grpcio_tells_it(
    limited: grpc_heartbeat.Channel, bare: grpc.Channel, kind: str
) -> None:
    ours, theirs = (run(channel, kind, HOLD, lambda call: call.cancel()) for channel in (limited, bare))
    del ours["add_callback"], theirs["add_callback"]  # it depends on whether grpcio's thread has heard of the end
    assert ours == theirs
    assert ours["code"] is grpc.StatusCode.CANCELLED


@each_kind
def test_a_call_can_be_printed_at_any_time(limited: grpc_heartbeat.Channel, bare: grpc.Channel, kind: str) -> None:
    texts = []
    for channel in (limited, bare):
        call = start(channel, kind, HOLD)
        flying = str(call)
        call.cancel()
        texts.append([text.replace(type(call).__name__, "") for text in (flying, str(call), repr(call))])
    assert texts[0] == texts[1]


@each_kind
def test_a_call_in_flight_answers_as_grpcios_does(
    server: Server, limited: grpc_heartbeat.Channel, bare: grpc.Channel, kind: str
) -> None:
    answers = []
    for channel in (limited, bare):
        call = start(channel, kind, HOLD, timeout=25)
        answers.append(
            (call.is_active(), call.running(), call.done(), call.cancelled(), 20 < call.time_remaining() < 26)
        )
        if kind.endswith("Unary"):
            for ask in (call.result, call.exception, call.traceback):
                with pytest.raises(grpc.FutureTimeoutError):
                    ask(timeout=0.01)
        assert repr(call).endswith(" object>")
        call.cancel()
    assert answers[0] == answers[1] == (True, True, False, False, True)


@each_kind
def test_callbacks_get_the_call_that_the_application_has(limited: grpc_heartbeat.Channel, kind: str) -> None:
    told: list[Any] = []
    bare: list[None] = []
    call = start(limited, kind, HOLD)
    call.add_done_callback(told.append)
    assert call.add_callback(lambda: bare.append(None))
    call.cancel()
    wait_until(lambda: told and bare)
    assert told == [call]


def test_the_error_that_is_raised_is_the_call(server: Server) -> None:
    with grpc_heartbeat.insecure_channel(server.target, timeouts=Timeouts(total=0.1)) as channel:
        call = start(channel, "UnaryUnary", HOLD)
        with pytest.raises(grpc.RpcError) as caught:
            call.result()
        error: Any = caught.value
        assert error is call
        assert call.exception() is call
        assert call.traceback() is not None
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "the total time-out of /test.Chain/UnaryUnary, 0.1 s (policy:default)" in call.details()
    assert call.details() in str(call)
    assert call.timeout.layer == "total"
    assert call.timeout.connectivity == (None if PUBLIC_API_ONLY else "READY")


def test_an_explicit_timeout_is_told_on_a_channel_without_limits(server: Server) -> None:
    with grpc_heartbeat.insecure_channel(server.target) as channel:
        call: Any = channel.unary_stream(path("UnaryStream"))(HOLD, timeout=0.1)
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
    error: Any = caught.value
    assert error is call
    facts = timeout_of(call)
    assert facts is not None
    assert (facts.layer, facts.limit, facts.source) == ("total", 0.1, "explicit")


@each_kind
@pytest.mark.parametrize("public_api_only", [False, True], ids=["seam", "public api"])
def test_a_scope_that_the_client_cancelled_cancels(
    server: Server, monkeypatch: pytest.MonkeyPatch, kind: str, public_api_only: bool
) -> None:
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", public_api_only)
    scope = Scope(None, "inherited:/a/b", "/a/b")
    with grpc_heartbeat.insecure_channel(server.target) as channel:
        token = current_scope.set(scope)
        call = start(channel, kind, HOLD)
        current_scope.reset(token)
        assert server.started.wait(PATIENCE)
        scope.cancel(Reason.CLIENT_CANCELLED)
        if kind.endswith("Unary"):
            with pytest.raises(grpc.FutureCancelledError):
                call.result(PATIENCE)
            with pytest.raises(grpc.FutureCancelledError):
                call.exception(PATIENCE)
        else:
            with pytest.raises(grpc.RpcError) as caught:
                list(call)
            error: Any = caught.value
            assert error is call
        assert server.ended.wait(PATIENCE)
    assert call.cancelled()
    assert call.code() is grpc.StatusCode.CANCELLED
    assert "the inbound RPC /a/b was cancelled by its client" in call.details()
    assert call.timeout.layer == "scope"
    assert not scope.members


@each_kind
def test_a_scope_that_expired_is_a_deadline(server: Server, kind: str) -> None:
    scope = Scope(None, "inherited:/a/b", "/a/b")
    with grpc_heartbeat.insecure_channel(server.target) as channel:
        token = current_scope.set(scope)
        call = start(channel, kind, HOLD)
        current_scope.reset(token)
        scope.cancel(Reason.EXPIRED)
        with pytest.raises(grpc.RpcError) as caught:
            responses(call, kind)
    error: Any = caught.value
    assert error is call
    assert not call.cancelled()
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "the deadline of the inbound RPC /a/b passed" in call.debug_error_string()


@needs_seam
def test_a_single_threaded_stream_that_waits_for_metadata_is_ended_all_the_same(server: Server) -> None:
    scope = Scope(None, "inherited:/a/b", "/a/b")
    with grpc_heartbeat.insecure_channel(server.target, options=SINGLE_THREADED) as channel:
        token = current_scope.set(scope)
        call: Any = channel.unary_stream(path("UnaryStream"))(HOLD)
        current_scope.reset(token)
        reader = threading.Thread(target=call.initial_metadata)  # holds the lock that cancel() wants
        reader.start()
        assert server.started.wait(PATIENCE)
        began = monotonic()
        scope.cancel(Reason.CLIENT_CANCELLED)
        assert monotonic() - began < PATIENCE / 2
        reader.join(PATIENCE)
        assert not reader.is_alive()
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    error: Any = caught.value
    assert error is call
    assert call.code() is grpc.StatusCode.CANCELLED
    assert call.cancelled()
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    with pytest.raises(grpc.FutureCancelledError):
        call.exception()
    assert not scope.members


@each_kind
@pytest.mark.parametrize("single_threaded", [False, True], ids=["", "single-threaded"])
def test_a_dropped_call_is_cancelled_on_the_wire_and_forgotten(
    server: Server, kind: str, single_threaded: bool
) -> None:
    scope = Scope(None, "inherited:/a/b", "/a/b")
    options = SINGLE_THREADED if single_threaded else None
    with grpc_heartbeat.insecure_channel(server.target, options=options, timeouts=LIMITS) as channel:
        token = current_scope.set(scope)
        call = start(channel, kind, HOLD)
        current_scope.reset(token)
        gone = weakref.ref(call)
        assert server.started.wait(PATIENCE)
        del call
        gc.collect()
        assert gone() is None
        assert server.ended.wait(PATIENCE)
        wait_until(lambda: not scope.members)


def test_a_stream_that_the_application_breaks_out_of_is_cancelled(server: Server) -> None:
    with grpc_heartbeat.insecure_channel(server.target, timeouts=LIMITS) as channel:
        for _ in channel.stream_stream(path("StreamStream"))(iter([b"hello"])):
            break
        gc.collect()
        call = channel.unary_unary(path("UnaryUnary"))(b"hello")
    assert call == b"hello"


def test_who_dropped_a_call_is_warned_once_if_it_is_asked_for(server: Server) -> None:
    def drop() -> None:
        with grpc_heartbeat.insecure_channel(server.target, timeouts=LIMITS) as channel:
            for _ in range(2):
                channel.unary_stream(path("UnaryStream"))(HOLD)
            gc.collect()

    _abandoned.switch(True)
    try:
        with pytest.warns(ResourceWarning, match=r"a call of /test.Chain/UnaryStream was dropped.*test_limited_sync"):
            drop()
    finally:
        _abandoned.switch(False)


def test_a_call_with_a_callback_is_kept_though_it_is_dropped(limited: grpc_heartbeat.Channel) -> None:
    told: list[Any] = []
    limited.unary_unary(path("UnaryUnary")).future(b"hello").add_done_callback(told.append)
    gc.collect()
    wait_until(lambda: told)
    assert told[0].result() == b"hello"


def test_a_block_of_timeouts_limits_the_calls_in_it_only(server: Server) -> None:
    with grpc_heartbeat.insecure_channel(server.target, timeouts=Timeouts(header=20)) as channel:
        one = channel.unary_unary(path("UnaryUnary"))
        token = current_overrides.set({"header": 0.1})
        future = one.future(HOLD)
        with pytest.raises(grpc.RpcError) as caught:
            one(HOLD)
        current_overrides.reset(token)
        assert one(b"hello") == b"hello"
        for error in (caught.value, future.exception(PATIENCE)):
            facts = timeout_of(error)
            assert facts is not None
            assert (facts.layer, facts.limit, facts.source) == ("header", 0.1, "explicit")


@needs_seam
@pytest.mark.parametrize("kind", ["UnaryUnary", "StreamUnary"])
@pytest.mark.parametrize("form", ["__call__", "with_call"])
def test_the_errors_of_blocking_calls_are_grpcios_own_in_our_words(server: Server, kind: str, form: str) -> None:
    with grpc_heartbeat.insecure_channel(server.target, timeouts=Timeouts(total=0.1)) as channel:
        method: Any = channel.unary_unary(path(kind)) if kind == "UnaryUnary" else channel.stream_unary(path(kind))
        with pytest.raises(grpc.RpcError) as caught:
            getattr(method, form)(HOLD if kind == "UnaryUnary" else iter([HOLD]))
    error: Any = caught.value
    assert type(error).__module__ == "grpc._channel"
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "the total time-out of" in error.details()
    assert "policy:default" in str(error)
    assert error.timeout.connectivity == "READY"

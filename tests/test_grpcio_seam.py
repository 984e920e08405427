"""The seam at grpcio's private names: a blocking call's handle, whoever comes first, and nothing where the names are not."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from grpc_heartbeat import _grpcio
from grpc_heartbeat._grpcio import CancelHandle, calling, interruptible, multicallable_of
from grpc_heartbeat.channel.scoped import BlockedCall, block_in
from grpc_heartbeat.core.scope import Scope


class Call:
    """What ``segregated_call`` returns."""

    def __init__(self) -> None:
        self.cancelled_with: list[tuple[int, str]] = []

    def cancel(self, code: int, details: str) -> None:
        self.cancelled_with.append((code, details))


class Channel:
    def __init__(self) -> None:
        self.calls: list[Call] = []

    def segregated_call(self, *args: Any) -> Call:
        self.calls.append(Call())
        return self.calls[-1]

    def other(self) -> str:
        return "passed on"


class MultiCallable:
    def __init__(self) -> None:
        self._channel: Any = Channel()

    def __call__(self, *args: Any) -> Call:
        call: Call = self._channel.segregated_call(*args)
        return call


@pytest.fixture
def method() -> MultiCallable:
    multicallable = MultiCallable()
    assert interruptible(multicallable)
    return multicallable


def test_a_verdict_that_comes_before_the_call_ends_it_at_once(method: MultiCallable) -> None:
    handle = CancelHandle()
    handle.end(grpc.StatusCode.CANCELLED, "too late")
    calling.handle = handle
    assert method().cancelled_with == [(1, "too late")]


def test_a_verdict_that_comes_after_the_call_ends_it_and_the_first_one_stands(method: MultiCallable) -> None:
    handle = CancelHandle()
    calling.handle = handle
    call = method()
    assert call.cancelled_with == []
    handle.end(grpc.StatusCode.DEADLINE_EXCEEDED, "first")
    handle.end(grpc.StatusCode.CANCELLED, "second")
    assert call.cancelled_with == [(4, "first"), (4, "first")]


def test_a_handle_takes_one_call_only(method: MultiCallable) -> None:
    handle = CancelHandle()
    calling.handle = handle
    first, second = method(), method()
    handle.end(grpc.StatusCode.CANCELLED, "")
    assert first.cancelled_with
    assert not second.cancelled_with


def test_a_call_inside_of_a_call_leaves_the_outer_handle_in_place(method: MultiCallable) -> None:
    outer = CancelHandle()
    calling.handle = outer
    try:
        block_in(Scope(None, "limit"), BlockedCall(), method)
        assert calling.handle is outer
    finally:
        calling.handle = None


def test_the_stand_in_passes_everything_else_on(method: MultiCallable) -> None:
    assert method._channel.other() == "passed on"


def test_preparing_twice_is_preparing_once(method: MultiCallable) -> None:
    before = method._channel
    assert interruptible(method)
    assert method._channel is before


def test_what_has_not_the_names_is_not_interruptible(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not interruptible(object())
    assert not interruptible(None)
    assert multicallable_of(len) is None
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", True)
    assert not interruptible(MultiCallable())


def test_grpcio_still_has_the_names() -> None:
    """When this fails on a new grpcio, blocking calls have fallen back to futures: correct, but slower."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        assert interruptible(channel.unary_unary("/a/b"))
        assert interruptible(channel.stream_unary("/a/b"))

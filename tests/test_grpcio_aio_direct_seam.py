"""Asyncio calls that are made directly are grpc.aio's own in every respect."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import _faults, _grpcio, _grpcio_aio_direct, deadline
from grpc_heartbeat._grpcio_aio_direct import DirectCalls, maker
from tests.test_grpcio_aio_seam import everything, serving

pytestmark = pytest.mark.skipif(
    not _grpcio.usable() or not hasattr(grpc.aio.insecure_channel.__globals__["Channel"], "_register_call"),
    reason="grpcio keeps no list of a channel's calls, or only its public API may be used",
)
ENTRY = (("deadline-budget-v1", "30000000"),)
PLAIN = {"timeout": None, "metadata": None, "credentials": None, "wait_for_ready": None, "compression": None}


@pytest.mark.parametrize("request_", [b"fine", b"", b"fail"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"timeout": 30.0, "metadata": ENTRY},
        {"timeout": -1.0},
        {"wait_for_ready": True},
        {"metadata": (("b", "1"), ("a", "2"), ("b", "3"))},
        {"metadata": grpc.aio.Metadata(("a", "1"))},
        {"compression": grpc.Compression.Gzip, "metadata": ENTRY},
    ],
)
async def test_it_is_the_call_that_it_would_have_been(request_: bytes, options: Any) -> None:
    async with serving() as (channel, _):
        bare = channel.unary_unary("/a.B/C")
        direct = maker(bare)
        assert isinstance(direct, DirectCalls)
        calls = bare(request_, **{**PLAIN, **options}), direct(request_, **{**PLAIN, **options})
        assert type(calls[0]) is type(calls[1])
        assert calls[0]._metadata == calls[1]._metadata
        assert await everything(calls[1]) == await everything(calls[0])


async def test_a_channel_that_is_closed_ends_its_calls() -> None:
    async with serving() as (channel, _):
        call = maker(channel.unary_unary("/a.B/C"))(b"wait", **PLAIN)
        await asyncio.sleep(0)
        await channel.close()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_calls_that_are_done_are_no_cycles_and_are_forgotten() -> None:
    async with serving() as (channel, _):
        call = maker(channel.unary_unary("/a.B/C"))
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                assert await call(b"fine", **PLAIN) == b"fine"
            await asyncio.sleep(0)
            assert len(channel._active_calls) == 0
        finally:
            gc.enable()


@pytest.mark.internal_faults
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_deadline_of", lambda timeout: 0.0),
        ("_census_context", lambda: "another"),
        ("_as_released", ()),
    ],
)
async def test_a_grpcio_that_makes_its_calls_otherwise_makes_them_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    before = _faults.counts().get("grpcio_aio_direct.self_test", 0)
    monkeypatch.setattr(_grpcio_aio_direct, "_test_passed", None)
    monkeypatch.setattr(_grpcio_aio_direct, name, value)
    async with serving() as (channel, _):
        around = grpc_heartbeat.aio.wrap_channel(channel)
        with deadline.limit(30.0):
            assert await around.unary_unary("/a.B/C")(b"fine") == b"fine"
        method: Any = channel.unary_unary("/a.B/C")
        assert maker(method) is method
    assert _faults.counts()["grpcio_aio_direct.self_test"] == before + 1


async def test_what_is_intercepted_is_not_made_directly() -> None:
    class Interceptor(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            return await continuation(client_call_details, request)

    async with grpc.aio.insecure_channel("127.0.0.1:1", interceptors=[Interceptor()]) as channel:
        method: Any = channel.unary_unary("/a/b")
        assert maker(method) is method

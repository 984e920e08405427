"""Limits for single calls: for a block or for one method, in both stacks, through channels and interceptors."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import grpc_heartbeat
from grpc_heartbeat import Timeouts, deadline, timeouts, with_timeouts
from grpc_heartbeat._current import current_overrides
from grpc_heartbeat.core.deadline import BUDGET_KEY
from grpc_heartbeat.core.limits import PARTS, Part, parts_of
from grpc_heartbeat.errors import timeout_of
from tests.chain.hops import AIO_STYLES, SYNC_STYLES, responses, start, stubs
from tests.channel.servers import HOLD, Server
from tests.peers import KINDS, PATIENCE, path

NO_LIMIT = 1e6
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def method_of(channel: Any, kind: str) -> Any:
    return dict(zip(KINDS, stubs(channel), strict=True))[kind]


def request(kind: str, content: bytes = b"hello") -> Any:
    return iter([content]) if kind.startswith("Stream") else content


def grpcs_kinds(method: Any) -> set[type]:
    """Return the kinds of multicallables, of both stacks, that ``method`` is."""
    names = [f"{kind}MultiCallable" for kind in KINDS]
    kinds = [getattr(module, name) for module in (grpc, grpc.aio) for name in names]
    return {kind for kind in kinds if isinstance(method, kind)}


values = st.none() | st.floats(0.001, 1e8)
named = st.dictionaries(st.sampled_from(PARTS), values, min_size=1)


@given(st.lists(named | st.builds(Timeouts, **dict.fromkeys(PARTS, values)), max_size=4))
def test_among_nested_blocks_the_inner_one_wins_part_by_part(blocks: list[Any]) -> None:
    expected: dict[Part, float | None] = {}
    with ExitStack() as stack:
        for block in blocks:
            if isinstance(block, Timeouts):
                stack.enter_context(timeouts(block))
                expected |= parts_of(block)
            else:
                stack.enter_context(timeouts(**block))
                expected |= block
        assert (current_overrides.get() or {}) == expected
    assert current_overrides.get() is None


def test_a_block_is_left_whatever_happens_in_it() -> None:
    with pytest.raises(ZeroDivisionError), timeouts(total=5), timeouts(idle=1):
        raise ZeroDivisionError
    assert current_overrides.get() is None


def test_a_block_may_be_left_in_another_context() -> None:
    def generate() -> Generator[int, None, None]:
        with timeouts(total=5):
            yield 1

    generator = generate()
    next(generator)
    thread = threading.Thread(target=generator.close)
    thread.start()
    thread.join()
    current_overrides.set(None)


@each_kind
@pytest.mark.parametrize("style", SYNC_STYLES)
def test_a_block_limits_the_calls_made_in_it(server: Server, style: str, kind: str) -> None:
    with SYNC_STYLES[style](server.target) as channel:
        with timeouts(total=5):
            responses(start(channel, kind, b"hello"), kind)
            responses(start(channel, kind, b"hello", timeout=2), kind)
            with deadline.limit(1):
                responses(start(channel, kind, b"hello"), kind)
        responses(start(channel, kind, b"hello"), kind)
    block, explicit, inherited, after = server.remaining
    assert 4 < block <= 5.2
    assert 1 < explicit <= 2.1
    assert inherited <= 1.1
    assert after > NO_LIMIT


@each_kind
@pytest.mark.parametrize("style", SYNC_STYLES)
def test_a_wrapper_limits_the_calls_made_through_it(server: Server, style: str, kind: str) -> None:
    with SYNC_STYLES[style](server.target) as channel:
        plain = method_of(channel, kind)
        limited = with_timeouts(plain, total=5)
        assert grpcs_kinds(limited) == grpcs_kinds(plain) != set()
        forms = [limited, limited.with_call, limited.future] if kind.endswith("Unary") else [limited]
        for form in forms:
            result = form(request(kind))
            if form is limited and kind.endswith("Unary"):
                assert result == b"hello"
            elif kind.endswith("Unary"):
                assert (result.result(PATIENCE) if form == limited.future else result[0]) == b"hello"
            else:
                assert list(result) == [b"hello", b"hello"]
        responses(start(channel, kind, b"hello"), kind)
    *through, after = server.remaining
    assert len(through) == len(forms)
    assert all(4 < remaining <= 5.2 for remaining in through)
    assert after > NO_LIMIT


@each_kind
@pytest.mark.parametrize("style", AIO_STYLES)
async def test_blocks_and_wrappers_limit_asyncio_calls(server: Server, style: str, kind: str) -> None:
    channel = AIO_STYLES[style](server.target)

    async def finish(call: Any) -> None:
        got = [await call] if kind.endswith("Unary") else [response async for response in call]
        assert got[0] == b"hello"

    try:
        method = method_of(channel, kind)
        limited = with_timeouts(method, total=5)
        assert grpcs_kinds(limited) == grpcs_kinds(method) != set()
        with timeouts(total=7):
            await finish(method(request(kind)))
            await finish(method(request(kind), timeout=2))
            await finish(limited(request(kind)))
        await finish(limited(request(kind)))
        await finish(method(request(kind)))
    finally:
        await channel.close()
    block, explicit, nested, wrapped, after = server.remaining
    assert 6 < block <= 7.3
    assert 1 < explicit <= 2.1
    assert 4 < nested <= 5.2
    assert 4 < wrapped <= 5.2
    assert after > NO_LIMIT


async def test_a_block_reaches_the_tasks_started_in_it_and_no_others(server: Server) -> None:
    async with grpc_heartbeat.aio.insecure_channel(server.target) as channel:
        method: Any = channel.unary_unary(path("UnaryUnary"))
        first, second = asyncio.Event(), asyncio.Event()

        async def later(go: asyncio.Event) -> None:
            await go.wait()
            await method(b"hello")

        outside = asyncio.create_task(later(first))
        with timeouts(total=5):
            inside = asyncio.create_task(later(second))
            first.set()
            await outside
        second.set()
        await inside
    assert server.remaining[0] > NO_LIMIT
    assert server.remaining[1] <= 5.2


@pytest.mark.parametrize("given", [{"total": None}, Timeouts(idle=5)])
def test_no_limit_lifts_the_policys(server: Server, given: Any) -> None:
    block = timeouts(given) if isinstance(given, Timeouts) else timeouts(**given)
    with grpc_heartbeat.insecure_channel(server.target, timeouts=Timeouts(total=5)) as channel:
        with block:
            responses(start(channel, "UnaryUnary", b"hello"), "UnaryUnary")
        responses(start(channel, "UnaryUnary", b"hello"), "UnaryUnary")
    lifted, limited = server.remaining
    assert lifted > NO_LIMIT
    assert limited <= 5.2


@pytest.mark.parametrize("form", ["call", "future"])
def test_an_override_that_ended_a_call_is_named_explicit(server: Server, form: str) -> None:
    with grpc_heartbeat.insecure_channel(server.target, timeouts=Timeouts(total=60)) as channel:
        method = with_timeouts(channel.unary_unary(path("UnaryUnary")), total=0.1)
        with pytest.raises(grpc.RpcError) as caught:
            method(HOLD) if form == "call" else method.future(HOLD).result()
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    if form == "call":
        facts = timeout_of(error)
        assert facts is not None
        assert (facts.layer, facts.limit, facts.source) == ("total", 0.1, "explicit")


def test_nothing_but_the_budget_travels(server: Server) -> None:
    with grpc_heartbeat.insecure_channel(server.target) as channel, timeouts(total=5, idle=2, header=3):
        responses(start(channel, "UnaryUnary", b"hello"), "UnaryUnary")
    (metadata,) = server.metadata
    assert {key for key, _ in metadata} <= {BUDGET_KEY, "user-agent"}


def seen(*args: Any, **kwargs: Any) -> Any:
    return dict(current_overrides.get() or {}), args, kwargs


def test_a_wrapper_wins_over_the_blocks_and_wrappers_it_is_in() -> None:
    first = with_timeouts(seen, total=1, idle=1)
    second = with_timeouts(first, idle=2)
    with timeouts(total=9, header=9):
        assert first(1, a=2) == ({"total": 1, "idle": 1, "header": 9}, (1,), {"a": 2})
        assert second()[0] == {"total": 1, "idle": 2, "header": 9}
        assert current_overrides.get() == {"total": 9, "header": 9}
    assert with_timeouts(seen, Timeouts(idle=3))()[0] == parts_of(Timeouts(idle=3))


def test_a_wrapper_has_the_methods_other_attributes_and_its_name() -> None:
    limited: Any = with_timeouts(seen, idle=2)
    assert limited.__name__ == "seen"
    assert "seen" in repr(limited)
    assert "{'idle': 2.0}" in repr(limited)
    with pytest.raises(AttributeError):
        limited.with_call  # noqa: B018 - a plain function has none


def test_a_wrapper_can_be_copied() -> None:
    assert copy.copy(with_timeouts(seen, idle=2)).__name__ == "seen"


async def helper() -> None:
    """Stands for code that makes calls."""


@pytest.mark.parametrize("apply", [timeouts, lambda *args, **kwargs: with_timeouts(seen, *args, **kwargs)])
@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((), {}, TypeError, r"timeouts\(\) needs a Timeouts or at least one part by name: total, connect, header"),
        ((8,), {}, TypeError, r"timeouts\(\) takes a Timeouts, or parts by name such as total=2\.0; got int \(8\)"),
        ((Timeouts(),), {"total": 1}, TypeError, r"timeouts\(\) takes a Timeouts or parts by name, not both"),
        ((), {"conect": 1}, ValueError, r"timeouts has no part 'conect' \(did you mean 'connect'\?\)"),
        ((), {"idle": 0}, ValueError, r"timeouts\.idle must be more than 0"),
        ((), {"idle": "3s"}, TypeError, r"timeouts\.idle must be a number of seconds, not str"),
    ],
)
def test_what_is_wrong_is_named_before_anything_runs(
    apply: Callable[..., Any], args: Any, kwargs: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        apply(*args, **kwargs)


@pytest.mark.parametrize("what", [None, 5, helper])
def test_only_methods_can_be_wrapped(what: Any) -> None:
    with pytest.raises(
        TypeError, match=r"with_timeouts needs a stub's method such as stub\.Place, not .*`with timeouts"
    ):
        with_timeouts(what, total=1)

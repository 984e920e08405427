"""Policies that are replaced while channels use them, by the program or by their file."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat as hb
import grpc_heartbeat.aio
from grpc_heartbeat import BreakerPolicy, HeartbeatPolicy, TimeoutPolicy, Timeouts
from grpc_heartbeat.adaptive import AdaptiveTimeouts
from grpc_heartbeat.errors import timeout_of
from grpc_heartbeat.live_policy import THREAD_NAME, LivePolicy, PolicyRejected, PolicyReplaced
from tests.channel.servers import HOLD, Server
from tests.peers import PATIENCE, LoopThread, SyncServer, path, wait_until

SHORT = 0.1
BEATS = HeartbeatPolicy(interval=0.2, misses=50)
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
NAMES = {kind: "".join(word.title() for word in kind.split("_")) for kind in KINDS}


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(cleanup: ExitStack) -> Server:
    server = Server()
    cleanup.callback(server.close)
    return server


def quick(seconds: float) -> TimeoutPolicy:
    """A policy under a name of its own, with this total for each kind."""
    return TimeoutPolicy(methods={path(name): {"total": seconds} for name in NAMES.values()}, name=f"total {seconds:g}")


def sync_channel(target: str, policy: LivePolicy, way: str) -> Any:
    if way == "interceptors":
        return grpc.intercept_channel(grpc.insecure_channel(target), *hb.client_interceptors(timeouts=policy))
    if way == "wrapped":
        return hb.wrap_channel(grpc.insecure_channel(target), timeouts=policy)
    more: Any = {"heartbeat": BEATS, "breaker": BreakerPolicy()} if way == "guarded" else {}
    return hb.insecure_channel(target, timeouts=policy, **more)


def aio_channel(target: str, policy: LivePolicy, way: str) -> Any:
    if way == "interceptors":
        return grpc.aio.insecure_channel(target, interceptors=hb.aio.client_interceptors(timeouts=policy))
    if way == "wrapped":
        return hb.aio.wrap_channel(grpc.aio.insecure_channel(target), timeouts=policy)
    more: Any = {"heartbeat": BEATS, "breaker": BreakerPolicy()} if way == "guarded" else {}
    return hb.aio.insecure_channel(target, timeouts=policy, **more)


WAYS = ("made", "wrapped", "guarded", "interceptors")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_calls_are_limited_by_the_policy_that_holds_when_they_start(
    server: Server, cleanup: ExitStack, way: str, kind: str
) -> None:
    policy = LivePolicy(quick(PATIENCE))
    channel = sync_channel(server.target, policy, way)
    cleanup.callback(channel.close)
    stub = getattr(channel, kind)(path(NAMES[kind]))

    def call(request: bytes) -> Any:
        found = stub(iter([request]) if kind.startswith("stream") else request)
        return list(found) if kind.endswith("stream") else found

    assert call(b"x") in (b"x", [b"x", b"x"])
    policy.replace(quick(SHORT))
    with pytest.raises(grpc.RpcError) as caught:
        call(HOLD)
    assert facts_of(caught.value) == (SHORT, f"policy:total 0.1:{path(NAMES[kind]).lstrip('/')}")
    policy.replace(Timeouts())
    assert call(b"x") in (b"x", [b"x", b"x"])
    assert server.remaining[-1] is None or server.remaining[-1] > 1e6  # as grpcio says "no deadline"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
async def test_so_they_are_on_asyncio(server: Server, way: str, kind: str) -> None:
    policy = LivePolicy(quick(PATIENCE))
    async with aio_channel(server.target, policy, way) as channel:
        stub = getattr(channel, kind)(path(NAMES[kind]))

        async def call(request: bytes) -> Any:
            found = stub(iter([request]) if kind.startswith("stream") else request)
            return [one async for one in found] if kind.endswith("stream") else await found

        assert await call(b"x") in (b"x", [b"x", b"x"])
        policy.replace(quick(SHORT))
        with pytest.raises(grpc.RpcError) as caught:
            await call(HOLD)
        assert facts_of(caught.value) == (SHORT, f"policy:total 0.1:{path(NAMES[kind]).lstrip('/')}")
        policy.replace(Timeouts())
        assert await call(b"x") in (b"x", [b"x", b"x"])


def facts_of(error: BaseException) -> tuple[float | None, str]:
    facts = timeout_of(error)
    assert facts is not None
    assert facts.layer == "total"
    return facts.limit, facts.source


@pytest.mark.parametrize("stack", ["sync", "aio"])
@pytest.mark.parametrize("part", ["header", "idle"])
def test_other_layers_come_and_go_as_well(server: Server, cleanup: ExitStack, stack: str, part: str) -> None:
    policy = LivePolicy(TimeoutPolicy({part: PATIENCE}))
    loop = LoopThread()
    cleanup.callback(loop.close)
    name, kind = ("UnaryUnary", "unary_unary") if part == "header" else ("UnaryStream", "unary_stream")
    if stack == "sync":
        channel = hb.insecure_channel(server.target, timeouts=policy)
        cleanup.callback(channel.close)
        stub = getattr(channel, kind)(path(name))
        call = (lambda request: next(stub(request))) if part == "idle" else stub
    else:
        call = loop.run(_aio_stub(server.target, policy, kind, path(name), loop, cleanup))
    assert call(b"x") == b"x"
    policy.replace(TimeoutPolicy({part: SHORT}))
    with pytest.raises(grpc.RpcError) as caught:
        call(HOLD)
    facts = timeout_of(caught.value)
    assert facts is not None
    assert (facts.layer, facts.limit, facts.source) == (part, SHORT, "policy:default")
    assert facts.elapsed < PATIENCE / 2
    policy.replace(Timeouts())
    assert call(b"x") == b"x"


@pytest.mark.parametrize("stack", ["sync", "aio"])
def test_a_header_limit_that_comes_later_ends_no_call_that_was_accepted(cleanup: ExitStack, stack: str) -> None:
    def slow(request: bytes, context: Any) -> bytes:
        context.send_initial_metadata(())
        threading.Event().wait(4 * SHORT)
        return request

    server, loop, policy = SyncServer({"UnaryUnary": slow}), LoopThread(), LivePolicy(Timeouts())
    cleanup.callback(server.close)
    cleanup.callback(loop.close)
    if stack == "sync":
        channel = hb.insecure_channel(server.target, timeouts=policy)
        cleanup.callback(channel.close)
        call: Any = channel.unary_unary(path("UnaryUnary"))
    else:
        call = loop.run(_aio_stub(server.target, policy, "unary_unary", path("UnaryUnary"), loop, cleanup))
    assert call(b"x") == b"x"
    policy.replace(TimeoutPolicy({"header": 2 * SHORT}))
    assert call(b"y") == b"y"


@pytest.mark.parametrize("way", ["made", "guarded"])
async def test_a_total_by_default_is_none_for_streams_later_on_either(way: str) -> None:
    policy = LivePolicy(Timeouts())
    for channel in (sync_channel("127.0.0.1:1", policy, way), aio_channel("127.0.0.1:1", policy, way)):
        stubs = {kind: getattr(channel, kind)(path(NAMES[kind])) for kind in KINDS}
        policy.replace(Timeouts(total=3.0))
        totals = [stubs[kind]._limits.total for kind in KINDS]
        policy.replace(Timeouts())
        closing = channel.close()
        if closing is not None:
            await closing
        assert totals == [3.0, None, 3.0, None]


async def _aio_stub(
    target: str, policy: LivePolicy, kind: str, method: str, loop: LoopThread, cleanup: ExitStack
) -> Any:
    channel = hb.aio.insecure_channel(target, timeouts=policy)
    cleanup.callback(lambda: loop.run(channel.close()))
    stub = getattr(channel, kind)(method)

    async def first(request: bytes) -> Any:
        call = stub(request)
        return await call.read() if kind == "unary_stream" else await call

    return lambda request: loop.run(first(request))


def test_a_call_that_is_under_way_keeps_its_limits(server: Server, cleanup: ExitStack) -> None:
    policy = LivePolicy(Timeouts(total=PATIENCE))
    channel = hb.insecure_channel(server.target, timeouts=policy)
    cleanup.callback(channel.close)
    stub = channel.unary_unary(path("UnaryUnary"))
    call = stub.future(HOLD)
    assert server.started.wait(PATIENCE)
    policy.replace(Timeouts(total=SHORT))
    with pytest.raises(grpc.RpcError):
        stub(HOLD)
    assert not call.done()
    call.cancel()


def test_watchers_are_told_of_changes_only_and_are_not_kept() -> None:
    live = LivePolicy(Timeouts(total=1.0))
    told: list[Any] = []
    live.observers.add(told.append)

    class Watcher:
        changes = 0

        def policy_changed(self, policy: TimeoutPolicy) -> None:
            assert policy is live
            self.changes += 1

    watcher = Watcher()
    live.watch(watcher)
    live.replace(Timeouts(total=1.0))
    assert watcher.changes == 1
    live.replace(Timeouts(total=2.0))
    assert watcher.changes == 2
    assert [event.policy for event in told if isinstance(event, PolicyReplaced)] == [TimeoutPolicy(Timeouts(total=2.0))]
    del watcher
    gc.collect()
    assert not live._watchers


def test_calls_of_many_threads_are_made_while_it_is_replaced(server: Server, cleanup: ExitStack) -> None:
    first, second = quick(PATIENCE), TimeoutPolicy(Timeouts(header=PATIENCE), name="header")
    policy, over = LivePolicy(first), threading.Event()
    channel = hb.insecure_channel(server.target, timeouts=policy)
    cleanup.callback(channel.close)
    made: list[int] = []

    def keep_calling() -> None:
        stub, count = channel.unary_unary(path("UnaryUnary")), 0
        while not over.is_set():
            assert stub(b"x") == b"x"
            count += 1
        made.append(count)

    threads = [threading.Thread(target=keep_calling) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(300):
        policy.replace((first, second)[number % 2])
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(made) == 4


def test_it_is_one_of_a_kind() -> None:
    policy = LivePolicy(TimeoutPolicy(services={"a.B": {"total": 1.0}}, methods={"a.B/C": {"idle": 2.0}}))
    assert policy != LivePolicy(policy.current)
    assert len({policy, policy}) == 1
    assert (dict(policy.services["a.B"]), dict(policy.methods["a.B/C"])) == ({"total": 1.0}, {"idle": 2.0})
    assert repr(policy) == f"LivePolicy({policy.current!r})"
    for duplicate in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="LivePolicy cannot be pickled or copied"):
            duplicate(policy)
    for wrong in (8.0, None, policy, AdaptiveTimeouts(Timeouts(total=1.0))):
        with pytest.raises(TypeError, match="policy must be Timeouts or a TimeoutPolicy"):
            policy.replace(wrong)  # type: ignore[arg-type]  # the point of the test


class Followed:
    """A policy and its file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "policy.json"
        self.write('{"default": {"total": 1}}')
        self.policy = LivePolicy.load(self.file, every=0.01)
        self.told: list[Any] = []
        self.policy.observers.add(self.told.append)

    def write(self, text: str) -> None:
        """Replace the file, as editors and deployments do."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        os.replace(new, self.file)

    @property
    def total(self) -> float | None:
        return self.policy.limits("/a.B/C", streams=False).total

    def rejections(self) -> list[str]:
        return [event.why for event in self.told if isinstance(event, PolicyRejected)]


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Followed]:
    followed = Followed(tmp_path)
    yield followed
    followed.policy.close()
    wait_until(lambda: not _followers())


def _followers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def test_a_file_that_changes_is_read_again(followed: Followed) -> None:
    followed.write('{"default": {"total": "250ms"}}')
    wait_until(lambda: followed.total == 0.25)
    target = followed.file.with_name("other.json")
    target.write_text('{"default": {"total": 3}}')
    followed.file.unlink()
    followed.file.symlink_to(target)
    wait_until(lambda: followed.total == 3.0)


def test_what_is_wrong_in_it_changes_nothing_and_is_told_once(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    followed.write('{\n"default": {"totl": 2}}')
    wait_until(followed.rejections)
    assert followed.total == 1.0
    followed.file.unlink()
    wait_until(lambda: len(followed.rejections()) == 2)
    began = monotonic()
    wait_until(lambda: monotonic() - began > 0.05)  # some more looks at what is wrong already
    first, second = followed.rejections()
    assert first.startswith(f"{followed.file}:2: default has no part 'totl' (did you mean 'total'?)")
    assert "No such file" in second
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    followed.write('{"default": {"total": 2}}')
    wait_until(lambda: followed.total == 2.0)


def test_the_first_reading_must_succeed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LivePolicy.load(tmp_path / "policy.json")
    (tmp_path / "policy.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        LivePolicy.load(tmp_path / "policy.json")
    with pytest.raises(ValueError, match="every must be more than 0"):
        LivePolicy.load(tmp_path / "policy.json", every=0.0)
    assert not _followers()


def test_a_policy_that_is_dropped_leaves_no_thread(tmp_path: Path) -> None:
    followed = Followed(tmp_path)
    assert _followers()
    del followed
    gc.collect()
    wait_until(lambda: not _followers())

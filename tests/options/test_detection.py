"""How long faults stay unnoticed, foretold and measured: a process killed, frozen, wedged, and a host that is gone."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest

from grpc_heartbeat.options import check_options
from grpc_heartbeat.options.detection import FAULTS, NEVER, Fault, detection, say
from grpc_heartbeat.options.settings import client_keepalive, server_keepalive
from tests.options import echo_process
from tests.options.grid import LATE, Pairs

WATCHED = 6.0
"""Seconds after the fault for which a channel is watched."""
QUIET = 2.6
"""Seconds of silence before the fault, in which a client uses up its PINGs without data."""


def options(
    time_ms: int | None = None, timeout: int | None = None, ping: int | None = None, pings: int = 0, permit: int = 0
) -> Pairs:
    named: dict[str, int | None] = {
        "grpc.keepalive_time_ms": time_ms,
        "grpc.keepalive_timeout_ms": timeout,
        "grpc.http2.ping_timeout_ms": ping,
        "grpc.http2.max_pings_without_data": pings,
        "grpc.keepalive_permit_without_calls": permit,
    }
    return [(name, value) for name, value in named.items() if value is not None]


CLIENTS = [
    options(),
    options(1000, timeout=1000),
    options(1000, timeout=1000, ping=1000, permit=1),
    options(1000, timeout=2000, ping=3000),
    options(2000, timeout=3000, ping=1000, permit=1),
    options(1000, timeout=1000, ping=1000, pings=2),
]


@dataclass
class Watched:
    """A channel, and when it noticed."""

    options: Pairs
    calls: bool
    channel: grpc.aio.Channel
    call: Any
    noticing: asyncio.Task[float]


async def open_all(target: str) -> list[Watched]:
    """Open a channel per entry of CLIENTS with a quiet stream, and one without calls."""
    return [await _open(target, pairs, calls=calls) for pairs in CLIENTS for calls in (True, False)]


async def _open(target: str, pairs: Pairs, *, calls: bool) -> Watched:
    channel = grpc.aio.insecure_channel(target, options=[*pairs, ("grpc.use_local_subchannel_pool", 1)])
    call: Any = channel.stream_stream(echo_process.METHOD)()
    await call.write(b"first")
    assert await call.read() == b"first"
    if not calls:
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        state = channel.get_state()
        assert state is grpc.ChannelConnectivity.READY
    noticing = asyncio.ensure_future(_broken(call) if calls else _changed(channel))
    return Watched(pairs, calls, channel, call, noticing)


async def _broken(call: Any) -> float:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return time.monotonic()


async def _changed(channel: grpc.aio.Channel) -> float:
    await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
    return time.monotonic()


async def complaints(fault: Fault, target: str, strike: Callable[[list[Watched]], Awaitable[None]]) -> list[str]:
    """Let the fault happen under every channel and return the predictions that were wrong."""
    watched = await open_all(target)
    await asyncio.sleep(QUIET)  # sleep: a quiet connection is the subject
    await strike(watched)
    started = time.monotonic()
    await asyncio.wait([one.noticing for one in watched], timeout=WATCHED)
    found = [complaint for one in watched if (complaint := _complaint(fault, one, started))]
    for one in watched:
        one.noticing.cancel()
        one.call.cancel()
    await asyncio.gather(*(one.noticing for one in watched), return_exceptions=True)
    await asyncio.gather(*(one.channel.close() for one in watched))
    return found


def _complaint(fault: Fault, one: Watched, started: float) -> str | None:
    predicted = check_options(client=one.options).prediction.detection
    limit = (predicted.client_in_call if one.calls else predicted.client_idle)[fault]
    noticed = one.noticing.result() - started if one.noticing.done() else None
    subject = f"{fault}, {'in a call' if one.calls else 'without calls'}, {one.options}: predicted {say(limit)}"
    if limit > WATCHED - LATE:
        return None if noticed is None else f"{subject}, but noticed after {noticed:.1f} s"
    if noticed is None or noticed > limit + LATE:
        return f"{subject}, but {'not noticed' if noticed is None else f'noticed after {noticed:.1f} s'}"
    return None


@pytest.mark.slow
async def test_what_happens_to_a_process_is_noticed_as_foretold() -> None:
    async def kill(watched: list[Watched]) -> None:
        victims["process killed"].kill()

    async def freeze(watched: list[Watched]) -> None:
        victims["process frozen"].send_signal(signal.SIGSTOP)

    async def wedge(watched: list[Watched]) -> None:
        await next(one for one in watched if one.calls).call.write(echo_process.WEDGE)

    strikes: dict[Fault, Any] = {"process killed": kill, "process frozen": freeze, "handler wedged": wedge}
    victims: dict[str, subprocess.Popen[str]] = {}
    with ExitStack() as stack:
        targets: dict[Fault, str] = {}
        for fault in strikes:
            victims[fault], targets[fault] = stack.enter_context(echo_process.process())
        found = await asyncio.gather(*(complaints(fault, targets[fault], strikes[fault]) for fault in strikes))
    assert [*filter(None, found)] == []


@pytest.fixture
def namespace() -> Iterator[tuple[str, str]]:
    """A network namespace that is reached through a virtual cable: its name and the address of its end."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and ip(8) to make a network namespace")
    name, octet = f"hb-{os.getpid()}", os.getpid() % 250 + 1
    near, far = f"hbn{os.getpid()}"[:15], f"hbf{os.getpid()}"[:15]
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made here: {error.stderr}")
    try:
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        _ip("addr", "add", f"10.203.{octet}.1/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", name, "addr", "add", f"10.203.{octet}.2/30", "dev", far)
        _ip("-n", name, "link", "set", far, "up")
        yield name, f"10.203.{octet}.2"
    finally:
        _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.mark.slow
async def test_a_host_that_is_gone_is_noticed_as_foretold(
    namespace: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, address = namespace
    monkeypatch.setenv("no_grpc_proxy", address)

    async def forget_the_address(watched: list[Watched]) -> None:
        _ip("-n", name, "addr", "del", f"{address}/30", "dev", f"hbf{os.getpid()}"[:15])

    with echo_process.process("ip", "netns", "exec", name, host=address) as (_, target):
        assert await complaints("host gone", target, forget_the_address) == []


def test_four_faults_by_hand() -> None:
    client = client_keepalive(dict(options(10_000, timeout=5000, ping=7000, permit=1)))
    found = detection(client, server_keepalive({}))
    assert tuple(found.client_in_call) == FAULTS
    assert list(found.client_in_call.values()) == [0.0, 15.0, 17.0, NEVER]
    assert found.client_idle == found.client_in_call
    assert list(found.server_in_call.values()) == [0.0, 7220.0, 7260.0, NEVER]


def test_the_shorter_time_out_ends_a_connection_to_nowhere() -> None:
    short_ping = client_keepalive(dict(options(10_000, timeout=9000, ping=2000)))
    found = detection(short_ping, server_keepalive({}))
    assert found.client_in_call["host gone"] == found.client_in_call["process frozen"] == 12.0
    assert found.client_idle["host gone"] == NEVER


def test_a_client_is_held_to_its_pace() -> None:
    fast = client_keepalive(dict(options(200, timeout=1000, ping=1000)))
    assert detection(fast, server_keepalive({})).client_in_call["host gone"] == 2.0
    throttled = client_keepalive(dict(options(10_000, timeout=1000, ping=1000, pings=2)))
    assert detection(throttled, server_keepalive({})).client_in_call["host gone"] == 61.0


def test_without_keepalive_nothing_is_noticed_but_the_kernel_s_word() -> None:
    found = detection(client_keepalive({}), server_keepalive({"grpc.keepalive_time_ms": 2**31 - 1}))
    for times in (found.client_in_call, found.client_idle, found.server_in_call):
        assert list(times.values()) == [0.0, NEVER, NEVER, NEVER]


def test_an_endless_time_out_unarms_the_ping() -> None:
    endless = client_keepalive(dict(options(1000, timeout=2**31 - 1, ping=1000)))
    assert detection(endless, server_keepalive({})).client_in_call["process frozen"] == NEVER


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "at once"), (0.25, "0.25 s"), (40.0, "40 s"), (60.0, "1 min"), (7220.0, "2 h 20 s"), (NEVER, "never")],
)
def test_times_for_people(seconds: float, said: str) -> None:
    assert say(seconds) == said

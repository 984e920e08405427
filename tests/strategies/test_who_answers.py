"""Who answers each strategy: told by a process whose event loop is blocked, and that is frozen."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest

from grpc_heartbeat import HeartbeatPolicy, events
from grpc_heartbeat.core.verdicts import Verdict
from tests.cli.conftest import ROOT, command_environment
from tests.strategies.certificates import Certificate
from tests.strategies.heard import Heard, probing

POLICY = HeartbeatPolicy(interval=0.1, misses=5, reconnect_min=0.05, reconnect_max=0.1)
PATIENCE = 20.0

ANSWERED = {
    # strategy: while the event loop is blocked, while the process is frozen
    "tcp": (True, True),
    "http2-ping": (True, False),
    "quic-ping": (False, False),
    "websocket-ping": (False, False),
    "grpc": (False, False),
}


@asynccontextmanager
async def child(certificate: Certificate) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, str]]]:
    arguments = ["-m", "tests.strategies.child", str(certificate.file), str(certificate.key_file)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=pipe, stdout=pipe, cwd=ROOT, env=command_environment()
    )
    try:
        assert process.stdout is not None
        ports = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
        at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        targets = {"tcp": at["tcp"], "http2-ping": at["grpc"], "grpc": at["grpc"], "quic-ping": at["quic"]}
        yield process, {**targets, "websocket-ping": f"ws://{at['websocket']}"}
    finally:
        process.kill()
        await process.wait()
        assert process.stdin is not None
        process.stdin.close()


async def settled(heard: dict[str, Heard], answered: dict[str, bool]) -> None:
    """Wait until each strategy finds what is expected; those that are answered go on being answered."""
    for name in sorted(heard, key=answered.__getitem__):
        if answered[name]:
            await heard[name].more(events.BeatAcked, 3)
            await heard[name].until(partial(has, heard[name], Verdict.UP), PATIENCE)
        else:
            await heard[name].until(partial(has, heard[name], Verdict.DOWN, Verdict.STUCK), PATIENCE)


def has(heard: Heard, *wanted: Verdict) -> bool:
    return heard.prober.snapshot().verdict in wanted


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP here")
@pytest.mark.slow
async def test_who_answers_while_the_loop_is_blocked_and_while_the_process_is_frozen(certificate: Certificate) -> None:
    all_answer = dict.fromkeys(ANSWERED, True)
    async with child(certificate) as (process, targets), AsyncExitStack() as stack:
        assert process.stdin is not None
        heard = {
            name: await stack.enter_async_context(
                probing(name, targets[name], POLICY, options={"roots": certificate.pem} if name == "quic-ping" else {})
            )
            for name in ANSWERED
        }
        await settled(heard, all_answer)
        process.stdin.write(b"block\n")
        await settled(heard, {name: blocked for name, (blocked, _) in ANSWERED.items()})
        process.stdin.write(b"go on\n")
        await settled(heard, all_answer)
        process.send_signal(signal.SIGSTOP)
        await settled(heard, {name: frozen for name, (_, frozen) in ANSWERED.items()})
        process.send_signal(signal.SIGCONT)
        await settled(heard, all_answer)

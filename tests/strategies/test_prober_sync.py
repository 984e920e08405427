"""Probers without an event loop: one thread for all of them, and processes that end or fork."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from grpc_heartbeat import events, strategies
from grpc_heartbeat.core.verdicts import Verdict
from tests.peers import PATIENCE, wait_until
from tests.strategies.heard import CALM
from tests.strategies.told import Told


def on_ack(act: Callable[[], None]) -> Callable[[events.Event], None]:
    return lambda event: act() if isinstance(event, events.BeatAcked) else None


def sync_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "grpc-heartbeat-probers"]


def test_without_a_loop_there_is_one_thread_for_all_until_the_last_ends() -> None:
    answered = [threading.Event(), threading.Event()]
    probers = [strategies.Prober(Told(), "peer", CALM) for _ in answered]
    for prober, event in zip(probers, answered, strict=True):
        prober.observers.add(on_ack(event.set))
    assert sync_threads() == []
    with probers[0]:
        with probers[1]:
            probers[1].start()
            assert all(event.wait(PATIENCE) for event in answered)
            assert len(sync_threads()) == 1
        assert probers[1].snapshot().state == "closed"
        assert len(sync_threads()) == 1
        assert probers[0].snapshot().verdict is Verdict.UP
    assert sync_threads() == []
    probers[0].close()
    probers[0].start()
    assert sync_threads() == []


def test_an_observer_may_close_the_last_prober() -> None:
    prober = strategies.Prober(Told(), "peer", CALM)
    prober.observers.add(on_ack(prober.close))
    prober.start()
    wait_until(lambda: prober.snapshot().state == "closed" and not sync_threads())


FORGETFUL = """
import threading
from grpc_heartbeat import HeartbeatPolicy, events, strategies

answered = threading.Event()
prober = strategies.Prober("tcp", "{target}", HeartbeatPolicy(interval=0.05))
prober.observers.add(lambda event: answered.set() if isinstance(event, events.BeatAcked) else None)
prober.start()
print(answered.wait(10))
"""


def test_a_program_that_forgets_to_close_ends_all_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        program = FORGETFUL.replace("{target}", f"127.0.0.1:{listener.getsockname()[1]}")
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_no_thread_and_may_start_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        program = FORGETFUL.replace("{target}", f"127.0.0.1:{listener.getsockname()[1]}") + FORKING
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "True\nTrue\nTrue\n"


FORKING = """
import os, sys
sys.stdout.flush()
child = os.fork()
if child == 0:
    prober.close()  # the parent's
    answered.clear()
    own = strategies.Prober("tcp", prober.target, HeartbeatPolicy(interval=0.05))
    own.observers.add(lambda event: answered.set() if isinstance(event, events.BeatAcked) else None)
    with own:
        print(answered.wait(10), flush=True)
    os._exit(0)
print(os.waitpid(child, 0)[1] == 0)
prober.close()
"""

"""Leak checks: what a test leaves behind is found, named and shown with its stack.

Theory of operation. A ``Probe`` lists living things of one kind. A ``Watch`` remembers what lived before the test;
after it, ``leaked()`` looks again until nothing new is left or its patience ends, because gRPC ends threads and closes
sockets some time after ``close()`` has returned. What is still there is described for people: a thread or task by its
stack, a socket by its addresses.

Add a kind by appending a probe to ``PROBES``; every test is then checked for it.
"""

from __future__ import annotations

import asyncio
import gc
import io
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from grpc_heartbeat import _in_flight, _ticks, _timers

PATIENCE = 3.0
"""Seconds that a thread, task or socket may take to go away after its test."""

KEPT_THREADS = {
    "grpc-heartbeat-timers": "the library's one timer thread of the process, started by first use and never stopped",
}
"""Names of threads that outlive a test on purpose, each with the reason."""


class LeakError(AssertionError):
    """Something outlived the test that made it."""


@dataclass(frozen=True)
class Probe:
    """One kind of thing that may leak: how to list the living ones and how to describe one for people."""

    kind: str
    look: Callable[[], Iterable[Hashable]]
    describe: Callable[[Any], str] = repr


def live_threads() -> list[threading.Thread]:
    """Return the Python threads that should not outlive a test."""
    return [thread for thread in threading.enumerate() if thread.name not in KEPT_THREADS]


def describe_thread(thread: threading.Thread) -> str:
    """Return the thread's name and where it is now."""
    frame = sys._current_frames().get(thread.ident or 0)
    return f"{thread!r}\n{''.join(traceback.format_stack(frame)) if frame else ''}"


def open_sockets() -> list[str]:
    """Return the process's open sockets as the kernel names them (``socket:[inode]``); none where there is no /proc."""
    try:
        descriptors = os.listdir("/proc/self/fd")
    except FileNotFoundError:
        return []
    targets = (_target(descriptor) for descriptor in descriptors)
    return [target for target in targets if target.startswith("socket:")]


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:  # the descriptor that listed the folder, or one that another thread has just closed
        return ""


def describe_socket(target: str) -> str:
    """Return the socket's descriptors and addresses."""
    return "\n".join(
        f"{target} = {_addresses(int(descriptor))}"
        for descriptor in os.listdir("/proc/self/fd")
        if _target(descriptor) == target
    )


def _addresses(descriptor: int) -> str:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as twin:
            return repr(twin)
    except OSError as error:
        return f"descriptor {descriptor} ({error})"


PROBES = [
    Probe("thread", live_threads, describe_thread),
    Probe("socket", open_sockets, describe_socket),
    Probe("timer", _timers.armed),
    Probe("member of the wheel", lambda: _ticks.ticks().queued()),  # its alarm is one timer for all of them
    Probe("RPC that is counted as in flight", lambda: range(_in_flight.in_flight() or 0)),
]


class Watch:
    """What lived when the watch began."""

    def __init__(self, probes: Iterable[Probe] | None = None) -> None:
        self._before = [(probe, frozenset(probe.look())) for probe in (PROBES if probes is None else probes)]

    def new(self) -> list[tuple[Probe, Hashable]]:
        """Return what lives now and did not when the watch began."""
        return [(probe, item) for probe, before in self._before for item in probe.look() if item not in before]

    def leaked(self, patience: float | None = None) -> list[str]:
        """Return the descriptions of what is still there after up to ``patience`` seconds (default: ``PATIENCE``)."""
        give_up = time.monotonic() + (PATIENCE if patience is None else patience)
        while self.new() and time.monotonic() < give_up:
            gc.collect()
            time.sleep(0.01)  # sleep: the kernel and C++ threads announce nothing that could be waited for
        return [f"leaked {probe.kind}: {probe.describe(item)}" for probe, item in self.new()]


async def end_of_tasks(patience: float | None = None) -> None:
    """Wait until the current task is the loop's only one.

    Raises:
        LeakError: other tasks are left after ``patience`` seconds (default: ``PATIENCE``); it shows their stacks.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + (PATIENCE if patience is None else patience)
    while (others := asyncio.all_tasks() - {asyncio.current_task()}) and loop.time() < give_up:
        await asyncio.wait(others, timeout=give_up - loop.time())
    if others:
        raise LeakError("\n".join(f"leaked task: {describe_task(task)}" for task in others))


def describe_task(task: asyncio.Task[Any]) -> str:
    """Return the task's name and where it waits."""
    stack = io.StringIO()
    task.print_stack(file=stack)
    return f"{task!r}\n{stack.getvalue()}"

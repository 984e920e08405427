"""The leak checks find leaks, say where they are, and leave clean tests alone."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from grpc_heartbeat import _timers
from tests import aiorun, leaks

QUICK = 0.05


def wait_here(release: threading.Event) -> None:
    release.wait(30)


def test_a_running_thread_is_reported_with_its_stack() -> None:
    release = threading.Event()
    watch = leaks.Watch()
    thread = threading.Thread(target=wait_here, args=(release,))
    thread.start()
    found = watch.leaked(QUICK)
    release.set()
    thread.join()
    assert len(found) == 1
    assert found[0].startswith("leaked thread: ")
    assert "in wait_here" in found[0]
    assert watch.leaked() == []


def test_a_thread_that_ends_late_is_no_leak() -> None:
    release = threading.Event()
    watch = leaks.Watch()
    threading.Thread(target=wait_here, args=(release,)).start()
    threading.Timer(0.1, release.set).start()
    assert watch.new()
    assert watch.leaked() == []


def test_the_librarys_own_timer_thread_may_stay() -> None:
    release = threading.Event()
    watch = leaks.Watch()
    (name,) = leaks.KEPT_THREADS
    thread = threading.Thread(target=wait_here, args=(release,), name=name)
    thread.start()
    found = watch.new()
    release.set()
    thread.join()
    assert found == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open sockets are listed by Linux only")
def test_an_open_socket_is_reported_with_its_address() -> None:
    watch = leaks.Watch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = watch.leaked(QUICK)
    assert len(found) == 1
    assert f"'127.0.0.1', {port}" in found[0]
    assert watch.leaked() == []


def test_an_armed_timer_is_reported() -> None:
    watch = leaks.Watch()
    timer = _timers.timers().timeout(60.0, lambda: None)
    timer.arm(_timers.clock())
    found = watch.leaked(QUICK)
    timer.cancel()
    assert len(found) == 1
    assert found[0].startswith("leaked timer: ")
    assert watch.leaked() == []


def test_an_added_probe_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = ["old"]
    monkeypatch.setattr(leaks, "PROBES", [leaks.Probe("toy", lambda: alive)])
    watch = leaks.Watch()
    alive.append("new")
    assert watch.leaked(QUICK) == ["leaked toy: 'new'"]


def test_a_task_left_running_is_reported_with_its_stack() -> None:
    async def wait_forever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(wait_forever())
        try:
            with pytest.raises(leaks.LeakError, match=r"(?s)leaked task: .*in wait_forever"):
                await leaks.end_of_tasks(QUICK)
        finally:
            task.cancel()

    aiorun.run(main())


async def test_a_task_that_ends_late_is_no_leak() -> None:
    release = asyncio.Event()
    task = asyncio.create_task(release.wait())
    asyncio.get_running_loop().call_later(0.05, release.set)
    await leaks.end_of_tasks()
    assert task.done()


def test_run_returns_the_result() -> None:
    async def seven() -> int:
        return 7

    assert aiorun.run(seven()) == 7


LEAKY = """
import asyncio, threading
import pytest
from tests import leaks

leaks.PATIENCE = 0.2
release = threading.Event()
kept = []

@pytest.fixture(scope="session", autouse=True)
def end_threads():
    yield
    release.set()

def test_leaves_a_thread():
    threading.Thread(target=release.wait).start()

def test_fails_and_leaves_a_thread():
    threading.Thread(target=release.wait).start()
    assert False

async def test_leaves_a_task():
    kept.append(asyncio.create_task(asyncio.Event().wait()))

@pytest.fixture
def number():
    return 3

async def test_is_clean(number):
    assert number == 3
    await asyncio.gather(asyncio.to_thread(int))
"""


@pytest.mark.slow
def test_every_test_of_the_suite_is_checked(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the suite's own conftest over a file of leaky tests."""
    root = Path(__file__).parent.parent
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    pytester.makepyfile(LEAKY)
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:cacheprovider")
    # Three pass their call; the thread is an error after its test, the task a failure of its test.
    result.assert_outcomes(passed=2, failed=2, errors=1)
    for line in ("ERROR *test_leaves_a_thread*", "FAILED *test_leaves_a_task*", "leaked thread: *", "*leaked task: *"):
        result.stdout.fnmatch_lines([line])

"""The pool that keeps nobody waiting."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from grpc_heartbeat.heartbeat.pool import DaemonPool
from tests.peers import PATIENCE, wait_until


def test_work_runs_on_daemon_threads_within_the_limit() -> None:
    pool = DaemonPool(2, "test")
    gate, running = threading.Event(), threading.Semaphore(0)

    def work() -> bool:
        running.release()
        gate.wait(PATIENCE)
        return threading.current_thread().daemon

    futures = [pool.submit(work) for _ in range(5)]
    assert running.acquire(timeout=PATIENCE)
    assert running.acquire(timeout=PATIENCE)
    assert not running.acquire(timeout=0.02)
    gate.set()
    assert all(future.result(PATIENCE) for future in futures)
    assert isinstance(pool, ThreadPoolExecutor)


def test_a_failure_is_the_futures_and_the_pool_goes_on() -> None:
    pool = DaemonPool(1, "test")
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result(PATIENCE)
    assert pool.submit(lambda: 5).result(PATIENCE) == 5


def test_lingering_threads_are_used_again_and_end_with_shutdown() -> None:
    pool = DaemonPool(4, "test", linger=3600)
    idents = {pool.submit(threading.get_ident).result(PATIENCE)}
    for _ in range(20):
        wait_until(lambda: pool._idle == 1)
        idents.add(pool.submit(threading.get_ident).result(PATIENCE))
    assert len(idents) == 1
    pool.shutdown()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test")]


def test_work_after_shutdown_is_still_done() -> None:
    pool = DaemonPool(1, "test")
    pool.shutdown()
    assert pool.submit(lambda: "done").result(PATIENCE) == "done"


@pytest.mark.internal_faults
def test_work_waits_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DaemonPool(1, "test")
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", _no_thread)
        waiting = pool.submit(lambda: "first")
    assert pool.submit(lambda: "second").result(PATIENCE) == "second"
    assert waiting.result(PATIENCE) == "first"


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_shutdown_waits_a_second_for_all_workers_together() -> None:
    pool, gate = DaemonPool(20, "test"), threading.Event()
    futures = [pool.submit(gate.wait, PATIENCE) for _ in range(20)]
    opening = threading.Timer(3.0, gate.set)
    opening.start()
    pool.shutdown()
    assert not gate.is_set()
    gate.set()
    opening.cancel()
    opening.join()
    assert all(future.result(PATIENCE) for future in futures)


def test_nothing_is_lost_under_a_crowd() -> None:
    pool = DaemonPool(3, "test", linger=0.001)
    futures = [pool.submit(lambda number=number: number) for number in range(500)]
    assert [future.result(PATIENCE) for future in futures] == list(range(500))
    pool.shutdown()


@pytest.mark.slow
def test_an_open_stream_does_not_keep_a_process_alive() -> None:
    program = """
import grpc
from concurrent.futures import ThreadPoolExecutor
from grpc_heartbeat.config import HeartbeatPolicy
from grpc_heartbeat.heartbeat.client import SyncHeartbeat
from grpc_heartbeat.heartbeat.server import add_to_server
server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
add_to_server(server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
heartbeat = SyncHeartbeat(grpc.insecure_channel(f"127.0.0.1:{port}"), HeartbeatPolicy(interval=0.05))
heartbeat.start()
while heartbeat.snapshot().state != "up":
    pass
print("leaving")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20, check=False)
    assert done.stdout.strip() == b"leaving"
    assert done.returncode == 0, done.stderr

"""The rule checker finds what it forbids and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import check_rules


def messages(folder: Path, path: str, source: str) -> list[str]:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    return [f"{breach.line}: {breach.message}" for breach in check_rules.breaches(folder)]


@pytest.mark.parametrize("call", ["time.sleep(1)", "asyncio.sleep(0.1)", "sleep(seconds)"])
def test_a_sleep_in_a_test_needs_a_reason(tmp_path: Path, call: str) -> None:
    assert len(messages(tmp_path, "tests/test_a.py", f"import time\n{call}\n")) == 1
    assert messages(tmp_path, "tests/test_a.py", f"{call}  # sleep: the handler under test is slow\n") == []


def test_a_yield_to_the_loop_is_free(tmp_path: Path) -> None:
    assert messages(tmp_path, "tests/test_a.py", "asyncio.sleep(0)\n") == []


def test_the_core_reads_no_clock(tmp_path: Path) -> None:
    assert messages(tmp_path, "grpc_heartbeat/core/a.py", "def f(now):\n    return now + 1\n") == []
    (found,) = messages(tmp_path, "grpc_heartbeat/core/a.py", "\nx = clock.monotonic()\n")
    assert found.startswith("2: the core must not read a clock")


@pytest.mark.parametrize(
    "line", ["import grpc._channel", "from grpc._cython import cygrpc", "from grpc.aio import _call"]
)
def test_private_grpc_modules_have_one_place(tmp_path: Path, line: str) -> None:
    assert messages(tmp_path, "grpc_heartbeat/_grpcio.py", line) == []
    (found,) = messages(tmp_path, "grpc_heartbeat/other.py", line)
    assert "is private to grpcio" in found


def test_public_names_are_free(tmp_path: Path) -> None:
    source = "import grpc\nfrom grpc import aio\nfrom grpc_health.v1 import health\nfrom . import _grpcio\n"
    assert messages(tmp_path, "grpc_heartbeat/other.py", source) == []


@pytest.mark.parametrize(
    "source",
    [
        "started = time.time()",
        "from time import monotonic, time",
        "clock = time.time_ns",
        "now = datetime.now(UTC)",
        "now = datetime.datetime.utcnow()",
        "text = time.strftime('%H:%M')",
    ],
)
def test_the_wall_clock_needs_a_reason(tmp_path: Path, source: str) -> None:
    (found,) = messages(tmp_path, "grpc_heartbeat/a.py", f"\n{source}\n")
    assert found.startswith("2: ")
    assert "use time.monotonic" in found
    assert messages(tmp_path, "grpc_heartbeat/a.py", f"{source}  # wall clock: spans are dated\n") == []
    assert messages(tmp_path, "tests/test_a.py", f"{source}\n") == []


def test_the_monotonic_clock_is_free(tmp_path: Path) -> None:
    source = "import time\nfrom time import monotonic\nx = time.monotonic() + monotonic()\nspan.time.time = 1\n"
    assert messages(tmp_path, "grpc_heartbeat/a.py", source) == []

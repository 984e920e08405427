"""The sync tables once more without any private name of grpcio: what is ``yes`` there is ``yes`` by public API alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_sync_tables_hold_without_private_names() -> None:
    tests = Path(__file__).with_name("test_sync.py")
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--reruns", "2", str(tests)]
    environment = {**os.environ, "GRPC_HEARTBEAT_PUBLIC_API_ONLY": "1"}
    run = subprocess.run(
        command, cwd=tests.parents[2], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]

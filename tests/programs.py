"""Programs of others that tests talk to: on the path or where ``make peers`` puts them; without one, the test is skipped."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[1] / ".peers" / "bin"


def program(name: str, package: str) -> str:
    """Return the path of ``name``; skips the test when it is not there."""
    found = shutil.which(name) or shutil.which(name, path=str(PEERS))
    if found is None:
        pytest.skip(f"needs {name} ({package}); `make peers` fetches it")
    return found


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports

"""What the conformance tests share: one server per module, and one channel per installation, made before any test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.channel import dead_ends
from tests.conformance.peers import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def silent_port() -> Iterator[str]:
    with dead_ends.silent() as target:
        yield target

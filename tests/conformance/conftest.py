"""What the conformance tests share: one server per module, and one channel per installation, made before any test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.peers import Server, SilentPort


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def silent_port() -> Iterator[SilentPort]:
    port = SilentPort()
    yield port
    port.close()

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from grpc_heartbeat import _grpcio
from tests.inband.ends import Server
from tests.peers import LoopThread


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture
def serve(loop: LoopThread, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Start servers that are stopped after the test: ``serve(style)``. The style may forbid private names, to clients too."""
    with ExitStack() as running:

        def start(style: str, **kwargs: Any) -> Server:
            if style.endswith("public API"):
                monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", True)
            server = Server(style, loop, **kwargs)
            running.callback(server.close)
            return server

        yield start

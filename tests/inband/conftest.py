from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.inband.ends import Server
from tests.peers import LoopThread


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture
def serve(loop: LoopThread) -> Iterator[Callable[..., Server]]:
    """Start servers that are stopped after the test: ``serve(style)``."""
    with ExitStack() as running:

        def start(style: str, **kwargs: Any) -> Server:
            server = Server(style, loop, **kwargs)
            running.callback(server.close)
            return server

        yield start

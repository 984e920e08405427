"""A server that keeps a book of what it was asked, and is slow or refuses where it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from tests.peers import PATIENCE, SyncServer, path

BOOK = path("UnaryUnary")


class Shop:
    """Answers each request by itself: ``slow…`` not before its RPC is over, ``refuse…`` with FAILED_PRECONDITION."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.cut = 0
        """How many slow RPCs were over before they were answered."""
        self.remaining: list[float | None] = []
        answer: Any = lambda request, context: self._answer(request, context)  # noqa: E731
        self._server = SyncServer({"UnaryUnary": answer})
        self.target = self._server.target

    def _answer(self, request: bytes, context: Any) -> bytes:
        self.asked.append(request.decode())
        self.remaining.append(context.time_remaining())
        over = threading.Event()
        if request.startswith(b"slow") and context.add_callback(over.set):
            self.cut += over.wait(PATIENCE)
        if request.startswith(b"refuse"):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no")
        return request

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.close()


@pytest.fixture
def ask(shop: Shop) -> Iterator[Any]:
    with grpc_heartbeat.insecure_channel(shop.target) as channel:
        yield channel.unary_unary(BOOK)

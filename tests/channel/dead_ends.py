"""Addresses at which no connection can be had, each in its own way."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def refused() -> Iterator[str]:
    """A port on which nobody listens, until a server with ``grpc.so_reuseport`` does."""
    with socket.socket() as taken:  # bound, so that nobody else gets it
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        yield _address(taken)


@contextmanager
def black_hole() -> Iterator[str]:
    """A port that answers no SYN: its backlog is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(listening.getsockname())
        yield _address(listening)
        for client in waiting:
            client.close()


@contextmanager
def silent() -> Iterator[str]:
    """A port that the kernel accepts connections at, and nobody ever answers: neither TLS nor HTTP/2 begins."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield _address(listening)


@contextmanager
def unresolvable() -> Iterator[str]:
    """A name that does not exist (RFC 6761)."""
    yield "dns:///no-such-host.invalid:1"


def _address(bound: socket.socket) -> str:
    return f"127.0.0.1:{bound.getsockname()[1]}"

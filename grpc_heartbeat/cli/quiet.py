"""Keeps gRPC's own log away from the terminal.

The C library logs failed handshakes and the like on file descriptor 2, which would repeat at length what the command says
in one line. ``GRPC_VERBOSITY`` cannot be set here: grpcio 1.85 reads it when it is imported, and importing anything of this
package imports grpcio.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_WANTED = ("GRPC_VERBOSITY", "GRPC_TRACE")
_STDERR = 2


@contextmanager
def native_log_silenced() -> Iterator[None]:
    """Discard what C code writes to descriptor 2 in this block; ``sys.stderr`` still reaches the old destination.

    Does nothing when the environment sets ``GRPC_VERBOSITY`` or ``GRPC_TRACE``: then the log is wanted. Nor does it where a
    shell has closed that descriptor, which is then something else's or nobody's.
    """
    python_stderr = sys.stderr
    if python_stderr is None or any(name in os.environ for name in _WANTED):
        yield
        return
    python_stderr.flush()
    with open(os.dup(_STDERR), "w", buffering=1, errors="backslashreplace") as duplicate:
        sys.stderr = duplicate
        _point_stderr_at(os.open(os.devnull, os.O_WRONLY))
        try:
            yield
        finally:
            sys.stderr = python_stderr
            _point_stderr_at(os.dup(duplicate.fileno()))


def _point_stderr_at(descriptor: int) -> None:
    os.dup2(descriptor, _STDERR)
    os.close(descriptor)

"""A relay between clients and server that is cut and frozen at random."""

from __future__ import annotations

import random
import socket
import threading
from types import TracebackType

from tests.heartbeat.relay import Relay


class UnreliableRelay(Relay):
    """Freezes for up to 60 ms now and then, and sometimes cuts all connections while it does."""

    def __init__(self, target: str, seed: int) -> None:
        super().__init__(target)
        self._dice = random.Random(seed)
        self._end = threading.Event()
        self._chaos = threading.Thread(target=self._play, name="chaos")

    def __enter__(self) -> UnreliableRelay:
        super().__enter__()
        self._chaos.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._chaos.join()
        super().__exit__(kind, error, trace)

    def _play(self) -> None:
        while not self._end.wait(self._dice.random() * 0.2):
            self.freeze()
            if self._dice.random() < 0.5:
                self._cut()
            self._end.wait(self._dice.random() * 0.06)
            self.thaw()

    def _cut(self) -> None:
        for end in self._sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:  # closed already
                pass

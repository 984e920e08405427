"""A TCP relay that can stop passing bytes on while its connections stay open."""

from __future__ import annotations

import math
import selectors
import socket
import threading
import time
from types import TracebackType


class Relay:
    """Relays connections to ``target`` until it is frozen, and again after it is thawed. Use it as a context manager."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._address = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._selector = selectors.DefaultSelector()
        self._flow = threading.Event()
        self._flow.set()
        self._passed: dict[object, float] = {}
        self._forget_before = 0.0
        self._forgotten = threading.Event()
        self._forgotten.set()
        self._stopping = False
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="relay")

    def freeze(self) -> None:
        self._flow.clear()

    def thaw(self) -> None:
        self._flow.set()

    def forget(self, idle: float = 0.0) -> None:
        """Pass nothing more on of the connections that there are, and do not close them; new ones are relayed.

        ``idle``: only of those on which nothing passed for so many seconds.
        """
        self._forget_before = time.monotonic() - idle if idle else math.inf
        self._forgotten.clear()
        self._forgotten.wait()

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self.thaw()
        self._thread.join()
        self._selector.close()
        for end in (self._listener, *self._sockets):
            end.close()

    def _run(self) -> None:
        while not self._stopping:
            if not self._forgotten.is_set():
                self._forget()
            for key, _ in self._selector.select(0.02):
                self._flow.wait()
                if key.data is None:
                    self._accept()
                else:
                    self._pass_on(key.fileobj, key.data)  # type: ignore[arg-type]

    def _forget(self) -> None:
        for key in list(self._selector.get_map().values()):
            if key.data is not None and self._passed[key.fileobj] <= self._forget_before:
                self._selector.unregister(key.fileobj)
        self._forgotten.set()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        self.connections += 1
        far = socket.create_connection(self._address)
        for here, there in ((near, far), (far, near)):
            self._selector.register(here, selectors.EVENT_READ, there)
            self._sockets.append(here)
            self._passed[here] = time.monotonic()

    def _pass_on(self, here: socket.socket, there: socket.socket) -> None:
        try:
            data = here.recv(65536)
            there.sendall(data)
            self._passed[here] = self._passed[there] = time.monotonic()
        except OSError:  # also for an end that was closed a moment ago
            data = b""
        if not data:
            self._hang_up(here)
            self._hang_up(there)

    def _hang_up(self, end: socket.socket) -> None:
        if end.fileno() >= 0:
            self._selector.unregister(end)
            end.close()

"""A TCP relay in a process of its own that can become a black hole.

``python -m bench.relay TARGET`` prints its port and takes orders on its standard input. ``vanish``: the kernel still takes what
both ends send, and nothing comes out any more. ``return``: what is opened from now on gets through, and so does what was
opened in between; connections that were there before stay dead for ever, as behind a router that has lost its state.
"""

from __future__ import annotations

import asyncio
import sys
import threading

from bench.orders import answer


class Relay:
    """The connections, and whether anything gets through."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._address = (host, int(port))
        self._through = asyncio.Event()
        self._through.set()
        self._age = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until the standard input ends."""
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        answer(port=server.sockets[0].getsockname()[1])
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def obey() -> None:
            for line in sys.stdin:
                loop.call_soon_threadsafe(self._vanish if line.strip() == "vanish" else self._through.set)
                answer()
            loop.call_soon_threadsafe(over.set)

        threading.Thread(target=obey, daemon=True).start()
        await over.wait()

    def _vanish(self) -> None:
        self._age += 1
        self._through.clear()

    def _begin(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._relay(near, to_near))
        self._tasks.add(task)  # the loop itself would forget it
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        age = self._age
        await self._through.wait()
        try:
            far, to_far = await asyncio.open_connection(*self._address)
        except OSError:
            to_near.close()
            return
        await asyncio.gather(self._pump(near, to_far, age), self._pump(far, to_near, age))

    async def _pump(self, here: asyncio.StreamReader, there: asyncio.StreamWriter, age: int) -> None:
        try:
            while data := await here.read(65_536):
                if age == self._age:
                    there.write(data)
            if age == self._age:
                there.close()
        except OSError:
            there.close()


if __name__ == "__main__":
    asyncio.run(Relay(sys.argv[1]).run())

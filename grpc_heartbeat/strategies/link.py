"""What the strategies of this library share: the one end that a connection has, and the trust that TLS needs."""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from typing import Any, TypeVar

from grpc_heartbeat.strategies.strategy import Lost, LostError

T = TypeVar("T")


class Link:
    """The end of one connection, whoever finds it first."""

    def __init__(self) -> None:
        self._lost: Lost | None = None
        self._over: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    @property
    def over(self) -> bool:
        """Whether the connection is over."""
        return self._over.done()

    def fail(self, error: Exception) -> None:
        """Note that the connection is over; the second time does nothing."""
        if not self._over.done():
            self._over.set_result(error)
            if self._lost is not None:
                self._lost(error)

    def tell(self, lost: Lost) -> None:
        """Have ``lost`` hear of the failure, also if it was a moment ago; ``start`` itself raises those that come before."""
        self._lost = lost
        if self._over.done():
            lost(self._over.result())

    def end(self) -> None:
        """Note that the connection is given up: what happens to it from now on is no news."""
        if not self._over.done():
            self._over.set_result(LostError("the connection was given up"))

    async def until(self, answer: asyncio.Future[T]) -> T:
        """Return the result of ``answer``.

        Raises:
            Exception: what the connection failed by, if that came first.
        """
        await asyncio.wait((answer, self._over), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise self._over.result()
        return answer.result()


@lru_cache(16)
def tls_context(roots: bytes | None, protocols: tuple[str, ...] = ()) -> ssl.SSLContext:
    """Return a context that checks certificates and names.

    Args:
        roots: PEM certificates to trust; ``None``: those of the system.
        protocols: ALPN protocols to offer (RFC 7301), best first.

    Raises:
        ValueError: ``roots`` holds no certificate in PEM form.
    """
    try:
        context = ssl.create_default_context(cadata=None if roots is None else roots.decode("ascii", "replace"))
    except ssl.SSLError as error:
        raise ValueError(f"roots holds no certificate in PEM form: {error.reason or error}") from None
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


async def closed(transport: Any, over: asyncio.Future[None], patience: float = 0.2) -> None:
    """Close ``transport``; cut it off if that takes more than ``patience`` seconds, as TLS to a frozen peer does.

    Args:
        over: Is done once the connection is lost.
    """
    transport.close()
    try:
        await asyncio.wait((over,), timeout=patience)
    finally:
        transport.abort()

"""Puts what can be seen of a call into words that are equal when two calls are: for comparing grpcio with and without us.

Whatever differs from run to run (addresses, times, the place in memory) is left out; the kinds of exceptions are told by their
public classes, because private classes may differ where both are grpc's public ones.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import threading
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

FAMILIES: tuple[type, ...] = (
    grpc.RpcError,
    grpc.Call,
    grpc.RpcContext,
    grpc.Future,
    grpc.FutureCancelledError,
    grpc.FutureTimeoutError,
    grpc.aio.AioRpcError,
    grpc.aio.UsageError,
    grpc.aio.BaseError,
    asyncio.CancelledError,
    asyncio.InvalidStateError,
    concurrent.futures.CancelledError,
    StopIteration,
    StopAsyncIteration,
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    NotImplementedError,
    Exception,
)

_VARYING = re.compile(r"0x[0-9a-f]+|\d[\d.:+-]*")
_DEBUG = re.compile(r'(debug_error_string = "\w*).*', re.DOTALL)
_OWN_NAME = re.compile(r"^<?\w+ (?=of RPC|object)")


def family(thing: object) -> tuple[str, ...]:
    """Return the names of the public classes that ``thing`` is an instance of."""
    return tuple(each.__name__ for each in FAMILIES if isinstance(thing, each))


def shape(text: str, details: str | None = None) -> str:
    """Return ``text`` without what varies; ``details``, where they are found in it, are left out."""
    if details:
        text = text.replace(details, "<details>")
    text = _DEBUG.sub(r"\1", text)  # C-core words it in more than one way for the same end
    return _VARYING.sub("#", _OWN_NAME.sub("<call ", text))


def unwrapped(details: str | None) -> str:
    """Return ``details`` without what C-core puts around them when the transport learns of an end before the call does."""
    return (details or "").removeprefix("Stream removed (").replace(")", "")


def value(seen: Any) -> Any:
    """Return ``seen`` in a form to compare."""
    if isinstance(seen, BaseException):
        return ("error", family(seen))
    if isinstance(seen, bool) or seen is None or isinstance(seen, (bytes, grpc.StatusCode)):
        return seen
    if isinstance(seen, (int, float)):
        return type(seen).__name__
    if isinstance(seen, str):
        return shape(seen)
    if isinstance(seen, (tuple, list, grpc.aio.Metadata)):
        return [value(each) for each in seen]
    return type(seen).__name__


def tell(look: Callable[[], Any]) -> Any:
    """Return what ``look`` returns or raises, in a form to compare."""
    try:
        return value(look())
    except Exception as error:
        return ("raises", family(error))


def prompt(look: Callable[[], str]) -> str:
    """Return what ``look`` returns, or say that it does not return."""
    found = ["it never returns"]
    thread = threading.Thread(target=lambda: found.append(look()), daemon=True)
    thread.start()
    thread.join(2)
    return found[-1]


def public(thing: object) -> set[str]:
    """Return the public attributes of ``thing``."""
    return {name for name in dir(thing) if not name.startswith("_")}

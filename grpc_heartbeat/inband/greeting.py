"""The server's answer to the offer: an entry in its initial metadata, whoever sends them.

Initial metadata goes out once, by the handler, by the early accepting, or by us where nobody else has sent it in time. So the
context's class is changed, as ``interceptors.accepting`` does, to one that adds our entry. It also hides the client's offer,
which holds for one hop, from handlers that copy their inbound metadata to outbound calls.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import grpc

from grpc_heartbeat.core.inband import KEY
from grpc_heartbeat.inband.end import without

_log = logging.getLogger("grpc_heartbeat.server")

_MOST_CLASSES = 64
_classes: dict[type, type | None] = {}


def merged(metadata: Any, token: bytes) -> tuple[tuple[str, str | bytes], ...]:
    """Return ``metadata`` and our entry."""
    return (*(metadata or ()), (KEY, token.hex()))


class Merged:
    """The same, looked at when it is sent: until then the early accepting on an asyncio server may be called off."""

    __slots__ = ("_metadata", "_token")

    def __init__(self, metadata: Any, token: bytes) -> None:
        self._metadata = metadata
        self._token = token

    def __iter__(self) -> Iterator[Any]:
        return iter(merged(self._metadata, self._token))


def greets(context: Any, token: bytes) -> bool:
    """Have ``context`` add our entry to the initial metadata; return whether that is possible."""
    kind = type(context)
    if kind not in _classes:
        if len(_classes) >= _MOST_CLASSES:
            return False
        _classes[kind] = _greeting(kind)
    greeting = _classes[kind]
    if greeting is None:
        return False
    try:
        context.__class__ = greeting
        context._inband_token = token
    except (TypeError, AttributeError):
        _classes[kind] = None
        context.__class__ = kind
        return False
    return True


def greet(context: Any, *, early: bool = False) -> bool:
    """Send initial metadata if nobody has, or return False where that is too late. ``context`` was made to greet.

    ``early`` says that the handler may still want to send its own, which is then forgiven.
    """
    greeted: bool = context._inband_greet(early)
    return greeted


def _greeting(kind: type) -> type:
    def greet_now(context: Any, early: bool) -> bool:
        if context._inband_sent:
            return False
        context._inband_early = early  # before sending: a handler that is refused looks for it
        try:
            inherited.send_initial_metadata(context, merged((), context._inband_token))
        except (ValueError, grpc.RpcError):  # the handler was first, or the RPC is over
            context._inband_early = False
            return False
        context._inband_sent = True
        return True

    def send_initial_metadata(context: Any, initial_metadata: Any) -> None:
        try:
            inherited.send_initial_metadata(context, merged(initial_metadata, context._inband_token))
        except ValueError:
            if not context._inband_early:
                raise
            if initial_metadata:
                context._inband_early = False  # a second time is the handler's own mistake
                lost()
        context._inband_sent = True

    def invocation_metadata(context: Any) -> Any:
        metadata = inherited.invocation_metadata(context)
        return metadata if metadata is None else tuple(without(metadata))

    inherited: Any = kind
    namespace = {
        "__slots__": (),
        "_inband_early": False,
        "_inband_greet": greet_now,
        "_inband_sent": False,
        "_inband_token": b"",
        "invocation_metadata": invocation_metadata,
        "send_initial_metadata": send_initial_metadata,
    }
    return type(kind.__name__, (kind,), namespace)


def says_something(metadata: Any) -> bool:
    """Tell whether initial ``metadata`` have entries. Those of the early accepting have none."""
    try:
        return any(True for _ in metadata or ())
    except RuntimeError:  # the early accepting's, called off
        return False


def lost() -> None:
    """Say that a handler came too late with its initial metadata."""
    _log.warning(
        "initial metadata of a handler came too late and had no effect: in-band keepalive had to accept the RPC before, "
        "to go on in time. Handlers whose own code names send_initial_metadata are left to send it."
    )

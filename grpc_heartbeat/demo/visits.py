"""How a handler reports a request's visit: what was left of its budget on arrival, and how it ended when it failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from grpc_heartbeat import deadline, errors
from grpc_heartbeat.demo.say import say


class Visit:
    """One request at one service."""

    def __init__(self, service: str, request: bytes) -> None:
        order = json.loads(request)
        self.id: str = order["id"]
        self.work: float = order["work"]
        self._own = {"service": service, "remaining": deadline.remaining()}

    def reply(self, further: bytes = b"[]") -> bytes:
        """Return the reply: this visit, before those that the next hops replied with."""
        return json.dumps([self._own, *json.loads(further)]).encode()


@contextmanager
def visit(service: str, request: bytes) -> Iterator[Visit]:
    """Report the visit's beginning, and its end if the block raises."""
    visit = Visit(service, request)
    say("arrived", id=visit.id)
    try:
        yield visit
    except BaseException as error:
        say("ended", id=visit.id, **failure(error))
        raise


def failure(error: BaseException) -> dict[str, Any]:
    """Return how a call ended: its code and details, and the facts of the limit that ended it, if one did."""
    details: Any = getattr(error, "details", None)
    facts = errors.timeout_of(error)
    return {
        "how": _status(error) or type(error).__name__,
        "details": details() if callable(details) else str(error),
        "reason": deadline.reason(),
        "limit": facts and {name: getattr(facts, name) for name in ("layer", "source", "limit", "elapsed")},
    }


def _status(error: BaseException) -> str:
    code: Any = getattr(error, "code", None)
    return code().name if code is not None else ""

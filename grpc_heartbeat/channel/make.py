"""Makes multicallables on the inner channel of a wrapper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def make(factory: Callable[..., Any], method: str, serializer: Any, deserializer: Any, registered: bool | None) -> Any:
    """Make a multicallable on the inner channel, which may be of a kind that knows no registered methods."""
    if registered:
        return factory(method, serializer, deserializer, registered)
    return factory(method, serializer, deserializer)

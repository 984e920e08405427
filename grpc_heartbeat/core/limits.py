"""The limits of one method's calls, with where each came from.

Theory of operation. A channel's policy says limits for patterns of methods. What holds for one method is worked out once, when
its multicallable is made, into a ``Limits``; a call only reads it. Parts given for single calls replace those of the policy
part by part (``changed``), and are then named ``explicit``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

Part = Literal["total", "connect", "header", "idle", "write"]
PARTS: tuple[Part, ...] = get_args(Part)
EXPLICIT = "explicit"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds per layer; ``None`` sets no limit. Made from checked numbers only.

    Args:
        total: From the start of the call to its end.
        connect: From the start of the call until its channel has a connection.
        header: From when the channel has a connection until the server has accepted the call (its initial metadata came).
        idle: Waiting for one response message.
        write: Waiting for one request message to be taken.
        sources: Where each part came from: ``policy:<name>`` or ``explicit``.
    """

    total: float | None = None
    connect: float | None = None
    header: float | None = None
    idle: float | None = None
    write: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def staged(self) -> bool:
        """Whether the start of a call is limited: there is a connect or a header limit."""
        return self.connect is not None or self.header is not None

    @property
    def per_message(self) -> bool:
        """Whether single messages are limited."""
        return self.idle is not None or self.write is not None

    def source(self, part: str) -> str:
        """Return where the limit of ``part`` came from."""
        return self.sources.get(part, "policy")

    def changed(self, parts: Mapping[Part, float | None], source: str = EXPLICIT) -> Limits:
        """Return these limits with ``parts`` in place of the same ones here."""
        values: dict[str, Any] = {"sources": {**self.sources, **dict.fromkeys(parts, source)}}
        values.update(parts.items())
        return replace(self, **values)


UNLIMITED = Limits()

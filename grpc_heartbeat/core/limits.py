"""The limits of one method's calls, with where each came from.

Theory of operation. A channel's policy says limits for patterns of methods. What holds for one method is worked out once, when
its multicallable is made, into a ``Limits``; a call only reads it. Parts given for single calls replace those of the policy
part by part (``changed``), and are then named ``explicit``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, get_args

from grpc_heartbeat.config import Timeouts, check_seconds

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
    sources: Mapping[Part, str] = field(default_factory=dict)

    @property
    def staged(self) -> bool:
        """Whether the start of a call is limited: there is a connect or a header limit."""
        return self.connect is not None or self.header is not None

    @property
    def per_message(self) -> bool:
        """Whether single messages are limited."""
        return self.idle is not None or self.write is not None

    def source(self, part: Part) -> str:
        """Return where the limit of ``part`` came from."""
        return self.sources.get(part, "policy")

    def changed(self, parts: Mapping[Part, float | None], source: str = EXPLICIT) -> Limits:
        """Return these limits with ``parts`` in place of the same ones here."""
        get = parts.get
        return Limits(
            get("total", self.total),
            get("connect", self.connect),
            get("header", self.header),
            get("idle", self.idle),
            get("write", self.write),
            {**self.sources, **dict.fromkeys(parts, source)},
        )


UNLIMITED = Limits()


def parts_of(timeouts: Timeouts) -> dict[Part, float | None]:
    """Return all five parts of ``timeouts``."""
    return {part: getattr(timeouts, part) for part in PARTS}


def checked_parts(where: str, parts: Mapping[str, object]) -> dict[Part, float | None]:
    """Return ``parts``, some of the five with their seconds or ``None``, as they may be put into a ``Limits``.

    Raises:
        TypeError: a value is not a number.
        ValueError: there is no such part, or a number is NaN, infinite, zero, negative or above 1e8. All messages name
            ``where`` and the part.
    """
    checked: dict[Part, float | None] = {}
    for name, value in parts.items():
        part = known_part(where, name)
        checked[part] = None if value is None else check_seconds(f"{where}.{part}", value)
    return checked


def known_part(where: str, name: object) -> Part:
    """Return ``name`` if it is a part.

    Raises:
        ValueError: it is not; the message has the part that was probably meant.
    """
    for part in PARTS:
        if part == name:
            return part
    raise ValueError(f"{where} has no part {name!r}{meant(name, PARTS)}; the parts are {', '.join(PARTS)}")


def meant(name: object, known: tuple[str, ...]) -> str:
    """Return ``: did you mean …?``, or nothing where ``name`` is like none of ``known``."""
    close = get_close_matches(str(name)[:50].lower(), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

"""What a server allows its callers: how long an RPC may take, and how little time is too little to start."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from types import MappingProxyType
from typing import Any, TypeAlias

from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.core.admission import InboundLimits
from grpc_heartbeat.policy import method_name, service_name

Entry: TypeAlias = Mapping[str, float | None]
"""Parts of the policy for one service or method: ``default``, ``maximum``, ``minimum_budget``, ``accept_after``."""

PARTS = ("default", "maximum", "minimum_budget", "accept_after")
LONGEST_ACCEPT = 10.0
"""Seconds. What has ended is remembered for as long as ``accept_after``, and a client that waits longer has given up."""

DEFAULT_ACCEPT_AFTER = 0.02
"""Seconds. Long enough that most handlers have answered, short against any sensible header time-out."""

_NOTHING: Mapping[str, float | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ServerPolicy:
    """Limits of a server's own, for ``server_interceptors(policy=…)``. All durations are seconds; ``None`` sets no limit.

    Args:
        default: The total of an RPC whose client gave no deadline. Default: none.
        maximum: The most that any RPC may take, whatever its client allows. Default: none.
        minimum_budget: An RPC that has less left when its handler should start is not worth starting. Default: none. Such
            RPCs are only counted until ``enforce`` is set.
        services: Parts that are different for a service, by its full name: ``{"shop.Orders": {"maximum": 5}}``.
        methods: The same by the full name of a method, ``"shop.Orders/Place"``, a leading slash may be there. The most exact
            entry wins part by part. Besides the three above, ``accept_after`` may be given.
        enforce: Reject RPCs below ``minimum_budget`` with DEADLINE_EXCEEDED. Default: False, they are counted and let in.
        max_reject_fraction: The largest fraction of all RPCs, 0 to 1, that may be rejected for it within ``window``: when a
            clock or a queue goes wrong, every RPC looks too late. Default 0.2.
        window: Seconds over which that fraction holds, 1 to 60. Default 10.

    An RPC whose own limit passes is ended with DEADLINE_EXCEEDED; what it called ends with it. A handler that streams
    responses is limited as others are, so give long streams an entry with ``None``.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a number is out of range, a part is unknown, or a name is not one of a service or a method.
    """

    default: float | None = None
    maximum: float | None = None
    minimum_budget: float | None = None
    services: Mapping[str, Entry] = field(default_factory=dict)
    methods: Mapping[str, Entry] = field(default_factory=dict)
    enforce: bool = False
    max_reject_fraction: float = 0.2
    window: float = 10.0

    def __post_init__(self) -> None:
        put = object.__setattr__
        for part in ("default", "maximum", "minimum_budget"):
            put(self, part, check_part(f"ServerPolicy.{part}", part, getattr(self, part)))
        put(self, "services", _entries("services", self.services, service_name))
        put(self, "methods", _entries("methods", self.methods, method_name))
        if not isinstance(self.enforce, bool):
            raise TypeError(f"ServerPolicy.enforce must be True or False, not {self.enforce!r}")
        put(self, "max_reject_fraction", _number("ServerPolicy.max_reject_fraction", self.max_reject_fraction, 0, 1))
        put(self, "window", _number("ServerPolicy.window", self.window, 1, 60))

    def limits(self, method: str) -> InboundLimits:
        """Return what holds for the RPCs of ``method``, such as ``"/shop.Orders/Place"``."""
        name, service, own = self._entries_for(method)
        parts: dict[str, Any] = {part: getattr(self, part) for part in ("default", "maximum", "minimum_budget")}
        parts |= service
        parts |= own
        parts.pop("accept_after", None)
        source = name if own else name.rpartition("/")[0] if service else "default"
        return InboundLimits(**parts, source=f"policy:{source}")

    def accept_after(self, method: str, default: float | None) -> float | None:
        """Return after how many seconds an RPC of ``method`` is accepted early."""
        _, service, own = self._entries_for(method)
        return own.get("accept_after", service.get("accept_after", default))

    def _entries_for(self, method: str) -> tuple[str, Entry, Entry]:
        name = method.removeprefix("/")
        service = self.services.get(name.rpartition("/")[0], _NOTHING)
        return name, service, self.methods.get(name, _NOTHING)


def check_part(name: str, part: str, value: object) -> float | None:
    """Return the value of ``part`` if it is ``None`` or a number of seconds in its range.

    Raises:
        TypeError, ValueError: it is not; the message begins with ``name``.
    """
    if value is None:
        return None
    seconds = check_seconds(name, value)
    if part == "accept_after" and seconds > LONGEST_ACCEPT:
        raise ValueError(f"{name} must be at most {LONGEST_ACCEPT:g} seconds; got {value!r}")
    return seconds


def _entries(
    field_name: str, entries: object, normal: Callable[[object], str]
) -> Mapping[str, Mapping[str, float | None]]:
    if not isinstance(entries, Mapping):
        raise TypeError(f"ServerPolicy.{field_name} must map names to parts, not be a {type(entries).__name__}")
    checked: dict[str, Mapping[str, float | None]] = {}
    for name, entry in entries.items():
        where = f"ServerPolicy.{field_name}[{name!r}]"
        key = normal(name)
        if key in checked:
            raise ValueError(f"{where} is there twice, with and without a leading slash")
        if not isinstance(entry, Mapping):
            raise TypeError(f"{where} must map parts to seconds, not be a {type(entry).__name__}")
        for part in entry:
            if part not in PARTS:
                near = difflib.get_close_matches(str(part), PARTS, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; the parts are {', '.join(PARTS)}"
                raise ValueError(f"{where} has no part {part!r}{hint}")
        checked[key] = MappingProxyType({part: check_part(f"{where}.{part}", part, entry[part]) for part in entry})
    return MappingProxyType(checked)


def _number(name: str, value: object, lowest: float, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {type(value).__name__} ({value!r})")
    if not lowest <= float(value) <= highest:
        raise ValueError(f"{name} must be between {lowest:g} and {highest:g}; got {value!r}")
    return float(value)

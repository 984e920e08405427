"""For which methods beats go inside the streams, and how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.policy import method_name, service_name

SHORTEST = 0.05
"""Shortest interval in seconds: what is quiet for less is not idle to anybody."""


@dataclass(frozen=True)
class InbandPolicy:
    """Which streams are kept alive from inside: by the method's entry, else its service's, else ``interval``.

    Give it to a channel and to ``server_interceptors`` as ``inband=``: both ends have to want it. It changes nothing for
    methods with one request and one response, nor for a stream on which messages flow.

    Args:
        interval: Seconds of quiet after which an end that may send sends a beat, at least 0.05. ``None`` is off. Choose less
            than half of the shortest idle limit on the way. Default: off.
        services: Intervals by the full name of a service, such as ``"shop.Orders"``; ``None`` is off.
        methods: Intervals by the full name of a method, such as ``"shop.Orders/Watch"``; a leading slash may be there.

    Raises:
        TypeError: an interval is no number, or a name no string.
        ValueError: an interval is NaN, infinite or out of its range, or a name is not one of a service or a method.
    """

    interval: float | None = None
    services: Mapping[str, float | None] | None = None
    methods: Mapping[str, float | None] | None = None

    def __post_init__(self) -> None:
        store = object.__setattr__
        store(self, "interval", _interval("InbandPolicy.interval", self.interval))
        store(self, "services", _intervals("InbandPolicy.services", self.services, service_name))
        store(self, "methods", _intervals("InbandPolicy.methods", self.methods, method_name))

    def interval_of(self, method: str) -> float | None:
        """Return the interval for ``method``, such as ``"/shop.Orders/Watch"``, or ``None`` where it is off."""
        name = method.removeprefix("/")
        methods, services = self.methods or {}, self.services or {}
        if name in methods:
            return methods[name]
        return services.get(name.rpartition("/")[0], self.interval)


def _interval(where: str, value: object) -> float | None:
    return None if value is None else check_seconds(where, value, minimum=SHORTEST, inclusive=True)


def _intervals(where: str, entries: object, name_of: Callable[[object], str]) -> Mapping[str, float | None]:
    if entries is None:
        return MappingProxyType({})
    if not isinstance(entries, Mapping):
        raise TypeError(f"{where} must be a mapping of names to seconds, not {type(entries).__name__} ({entries!r})")
    found: dict[str, float | None] = {}
    for key, value in entries.items():
        try:
            name = name_of(key)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: {error}") from None
        if name in found:
            raise ValueError(f"{where} has two entries for {name!r}")
        found[name] = _interval(f"{where}[{key!r}]", value)
    return MappingProxyType(found)


def checked(inband: object) -> InbandPolicy | None:
    """Return ``inband`` if it can be an argument of that name.

    Raises:
        TypeError: it is neither a policy nor ``None``.
    """
    if inband is None or isinstance(inband, InbandPolicy):
        return inband
    raise TypeError(f"inband must be an InbandPolicy or None, not {type(inband).__name__} ({inband!r})")

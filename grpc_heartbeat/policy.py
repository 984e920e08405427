"""Time-outs per channel, service and method: which limits hold for a call.

Theory of operation. A policy has up to three entries for a method: its own, its service's and the default, the more exact one
winning part by part. An entry that is a ``Timeouts`` says all five parts; one that is a mapping says only those it names and
leaves the others as the entries below have them. A total is the exception for methods that stream responses: a long stream is
not a slow call, so it counts there only when the method's own entry gives it.

What holds for a method is worked out once and kept; a program has few methods, and the memory of what was asked is bounded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn, Protocol, TypeAlias

from grpc_heartbeat.config import Timeouts
from grpc_heartbeat.core.limits import UNLIMITED, Limits, Part, checked_parts, parts_of

Entry: TypeAlias = Timeouts | Mapping[str, float | None]
"""The limits of a pattern: all of them, or those that are named."""

_Parts: TypeAlias = Mapping[Part, float | None]
_KEPT = 4096


class PolicyWatcher(Protocol):
    """Who has worked something out from a policy. It must be quick, and must not raise."""

    def policy_changed(self, policy: TimeoutPolicy) -> None:
        """Work it out anew: ``policy`` has other limits now."""


class TimeoutPolicy:
    """Limits for a channel's calls, by the longest match: the method's entry, then its service's, then the default.

    Give it to a channel or to ``client_interceptors`` as ``timeouts=``. It cannot be changed and may be shared.

    Args:
        default: What holds where no other entry says a part. Default: no limit.
        services: Entries by the full name of a service, such as ``"shop.Orders"``.
        methods: Entries by the full name of a method, such as ``"shop.Orders/Place"``; a leading slash may be there.
        name: Said in errors beside the entry that a limit came from. Default: nothing.

    An entry is a ``Timeouts``, which says all parts, or a mapping of parts to seconds, which leaves the parts that it does not
    name as they are; ``None`` sets no limit. A total limits calls that stream responses only where it is in the entry of their
    method.

    Raises:
        TypeError: an entry is neither, or a value is not a number.
        ValueError: a number is NaN, infinite, zero, negative or above 1e8; a part is unknown; a name is not one of a service
            or a method, or is given twice. The message names the entry.
    """

    __slots__ = ("_default", "_known", "_methods", "_name", "_services")

    def __init__(
        self,
        default: Entry | None = None,
        *,
        services: Mapping[str, Entry] | None = None,
        methods: Mapping[str, Entry] | None = None,
        name: str = "",
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"TimeoutPolicy.name must be a string, not {type(name).__name__} ({name!r})")
        self._name: str
        self._default: _Parts
        self._services: Mapping[str, _Parts]
        self._methods: Mapping[str, _Parts]
        self._known: dict[tuple[str, bool], Limits]
        set_once = object.__setattr__
        set_once(self, "_name", name)
        set_once(self, "_default", _parts("TimeoutPolicy.default", {} if default is None else default))
        set_once(self, "_services", _entries("services", services, service_name))
        set_once(self, "_methods", _entries("methods", methods, method_name))
        set_once(self, "_known", {})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TimeoutPolicy:
        """Read a policy from a YAML file (which needs the extra ``policy``) or a JSON file.

        Raises:
            ImportError: the file is YAML and PyYAML is not installed.
            OSError: the file cannot be read.
            ValueError: something in it is wrong; the message says the file, the line and what is allowed.
        """
        from grpc_heartbeat.policy_file import read

        return cls(**read(path))

    @property
    def services(self) -> Mapping[str, Mapping[Part, float | None]]:
        """The entries of services, by name: the parts that each says."""
        return self._services

    @property
    def methods(self) -> Mapping[str, Mapping[Part, float | None]]:
        """The entries of methods, by name without a leading slash: the parts that each says."""
        return self._methods

    def watch(self, watcher: PolicyWatcher) -> None:
        """Tell ``watcher`` whenever other limits hold. Of this class they never do; see ``LivePolicy``."""

    def limits(self, method: str, *, streams: bool) -> Limits:
        """Return the limits of ``method``, such as ``"/shop.Orders/Place"``; ``streams`` says that it streams responses."""
        known = self._known.get((method, streams))
        if known is None:
            known = self._find(method.removeprefix("/"), streams)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[method, streams] = known
        return known

    def _find(self, method: str, streams: bool) -> Limits:
        service = method.rpartition("/")[0]
        named = f"policy:{self._name}:" if self._name else "policy:"
        limits = UNLIMITED.changed(self._default, f"{named}default")
        limits = limits.changed(self._services.get(service, {}), f"{named}{service}")
        if streams:
            limits = limits.changed({"total": None}, limits.source("total"))
        return limits.changed(self._methods.get(method, {}), f"{named}{method}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a TimeoutPolicy cannot be changed; make another instead of setting {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __reduce__(self) -> Any:
        return _made_again, (dict(self._default), _plain(self._services), _plain(self._methods), self._name)

    def _said(self) -> tuple[object, ...]:
        return self._name, self._default, self._services, self._methods

    def __eq__(self, other: object) -> bool:
        return self._said() == other._said() if isinstance(other, TimeoutPolicy) else NotImplemented

    def __hash__(self) -> int:
        return hash((self._name, frozenset(self._services), frozenset(self._methods)))

    def __repr__(self) -> str:
        named = f", name={self._name!r}" if self._name else ""
        return (
            f"TimeoutPolicy({dict(self._default)!r}, services={_plain(self._services)!r}, "
            f"methods={_plain(self._methods)!r}{named})"
        )


def service_name(name: object) -> str:
    """Return ``name`` if it can be a service's.

    Raises:
        TypeError, ValueError: it cannot; the message says why.
    """
    text = _name_of("service", name)
    if "/" in text:
        raise ValueError(f"{name!r} is no service: give its full name such as 'shop.Orders', and methods under methods")
    return text


def method_name(name: object) -> str:
    """Return ``name`` without its leading slash if it can be a method's.

    Raises:
        TypeError, ValueError: it cannot; the message says why.
    """
    text = _name_of("method", name).removeprefix("/")
    service, slash, method = text.rpartition("/")
    if not (service and slash and method) or service.startswith("/"):
        raise ValueError(f"{name!r} is no method: give service and method such as 'shop.Orders/Place'")
    return text


def _name_of(kind: str, name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of a {kind} must be a string, not {type(name).__name__} ({name!r})")
    if not name or any(letter.isspace() for letter in name):
        raise ValueError(f"{name!r} is no {kind}: a name is not empty and has no spaces")
    if "*" in name:
        raise ValueError(
            f"{name!r} is no {kind}: there are no wildcards; an entry of a service holds for all its methods"
        )
    return name


def _entries(kind: str, entries: Mapping[str, Entry] | None, name_of: Any) -> Mapping[str, _Parts]:
    if entries is None:
        return MappingProxyType({})
    if not isinstance(entries, Mapping):
        raise TypeError(f"TimeoutPolicy.{kind} must be a mapping of names, not {type(entries).__name__}")
    found: dict[str, _Parts] = {}
    for key, entry in entries.items():
        try:
            name = name_of(key)
        except (TypeError, ValueError) as error:
            raise type(error)(f"TimeoutPolicy.{kind}: {error}") from None
        if name in found:
            raise ValueError(f"TimeoutPolicy.{kind} has two entries for {name!r}")
        found[name] = _parts(f"TimeoutPolicy.{kind}[{key!r}]", entry)
    return MappingProxyType(found)


def _parts(where: str, entry: object) -> _Parts:
    if isinstance(entry, Timeouts):
        return MappingProxyType(parts_of(entry))
    if not isinstance(entry, Mapping):
        raise TypeError(
            f"{where} must be a Timeouts or a mapping of parts to seconds, not {type(entry).__name__} ({entry!r})"
        )
    return MappingProxyType(checked_parts(where, entry))


def _plain(entries: Mapping[str, _Parts]) -> dict[str, dict[Part, float | None]]:
    return {name: dict(parts) for name, parts in entries.items()}


def _made_again(default: Any, services: Any, methods: Any, name: str) -> TimeoutPolicy:
    return TimeoutPolicy(default, services=services, methods=methods, name=name)

"""Targets as people write them; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect. ``path`` holds the query, too, and begins with ``/`` unless it is empty."""

    scheme: str
    host: str
    port: int
    path: str = ""


def parse(target: str, ports: Mapping[str, int | None], bare: str | None = None) -> Address:
    """Return the address that ``target`` says.

    Args:
        target: ``scheme://host:port/path``, or ``host:port`` with an IPv6 address in [brackets].
        ports: The schemes that are known, and the port of each where none is given; ``None``: one must be given.
        bare: The scheme of a target without one; ``None``: it must have one.

    Raises:
        TypeError: not a string.
        ValueError: anything else is wrong with it; the message says what.
    """
    if not isinstance(target, str):
        raise TypeError(f"target must be a string, not {type(target).__name__} ({target!r})")
    if not target.isprintable() or " " in target:
        raise ValueError(f"target {target!r} has a space or a control character in it")
    if "://" not in target:
        if bare is None:
            raise ValueError(f"target {target!r} must begin with {_written(ports)}")
        target = f"{bare}://{target}"
    try:
        parts = urlsplit(target)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"target {target!r} is no address: {error}") from None
    return _checked(target, parts, port, ports)


def _checked(target: str, parts: SplitResult, port: int | None, ports: Mapping[str, int | None]) -> Address:
    if parts.scheme not in ports:
        raise ValueError(f"target {target!r} must begin with {_written(ports)}, not {parts.scheme}://")
    if "@" in parts.netloc:
        raise ValueError("a target has no user name and no password")
    if not parts.hostname:
        raise ValueError(f"target {target!r} has no host")
    port = ports[parts.scheme] if port is None else port
    if not port:
        raise ValueError(f"target {target!r} needs a port from 1 to 65535")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return Address(parts.scheme, parts.hostname, port, path)


def _written(ports: Mapping[str, int | None]) -> str:
    return " or ".join(f"{scheme}://" for scheme in ports)

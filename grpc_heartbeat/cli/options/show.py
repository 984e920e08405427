"""The tables of ``options show``: what a profile sets, or every option that gRPC knows."""

from __future__ import annotations

from typing import Any

from grpc_heartbeat.options import ProfileName, keepalive_pair
from grpc_heartbeat.options.catalogue import Option, options


def rows(profile: ProfileName | None, *, everything: bool = False) -> list[dict[str, Any]]:
    """Return the rows, each a mapping of column to text."""
    if profile is None:
        known = [option for option in options().values() if everything or option.public]
        return [_described(option) for option in known]
    pair = keepalive_pair(profile)
    return [
        _set(end, name, value)
        for end, pairs in (("client", pair.client), ("server", pair.server))
        for name, value in pairs
    ]


def _set(end: str, name: str, value: int) -> dict[str, Any]:
    option = options()[name]
    return {
        "end": end,
        "option": name,
        "value": value,
        "unit": _unit(option),
        "grpc's default": option.default,
        "what it does": option.meaning,
        "source": option.source,
    }


def _described(option: Option) -> dict[str, Any]:
    return {
        "option": option.name,
        "kind": option.kind,
        "side": option.side,
        "grpc's default": option.default,
        "what it does": option.meaning,
        "source": option.source,
    }


def _unit(option: Option) -> str:
    units = {"milliseconds": "ms", "seconds": "s", "bytes": "bytes", "flag": "yes/no"}
    return units.get(option.kind, "")

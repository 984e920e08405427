"""Every channel argument that gRPC knows: kind of value, unit, side, default, source; and the nearest one to a wrong name.

gRPC ignores a name it does not know, so a list of all names is what tells a setting from a wish. ``_known`` is generated from
the sources of the oldest and the newest supported grpcio; ``_details`` adds what only a reader of those sources can say.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from grpc_heartbeat.options._details import DETAILS
from grpc_heartbeat.options._known import KNOWN, VERSIONS

Kind = Literal["flag", "integer", "milliseconds", "seconds", "bytes", "text", "object"]
Side = Literal["client", "server", "both", "nobody"]

PUBLIC = ("include/grpc/impl/channel_arg_names.h", "include/grpc/impl/compression_types.h")

MISNOMERS = {
    "grpc.http2.min_recv_ping_interval_without_data_ms": "grpc.http2.min_ping_interval_without_data_ms",
    "grpc.http2.min_sent_ping_interval_without_data_ms": "grpc.keepalive_time_ms",
    "grpc.max_message_length": "grpc.max_receive_message_length",
    "grpc.max_message_size": "grpc.max_receive_message_length",
    "grpc.permit_keepalive_time": "grpc.http2.min_ping_interval_without_data_ms",
    "grpc.permit_keepalive_without_calls": "grpc.keepalive_permit_without_calls",
    "grpc.keepalive_without_calls": "grpc.keepalive_permit_without_calls",
    "grpc.connect_timeout_ms": "grpc.min_reconnect_backoff_ms",
}
"""Names that look right because a macro, an older release or another language has them, with the one that is meant."""


@dataclass(frozen=True, slots=True)
class Option:
    """One channel argument.

    Args:
        name: As it is given in ``options``.
        kind: What its value is; a ``flag`` is 0 or 1, ``milliseconds``, ``seconds`` and ``bytes`` are whole numbers, an
            ``object`` is a pointer of C that Python code cannot make.
        side: Who reads it; ``nobody`` for a name without effect.
        default: gRPC's own default, in words.
        meaning: What it does, in a line; empty for internal ones.
        source: The file of gRPC's C core that defines it.
        releases: Which of the oldest and newest supported grpcio know it.
    """

    name: str
    kind: Kind
    side: Side
    default: str
    meaning: str
    source: str
    releases: tuple[str, ...]

    @property
    def public(self) -> bool:
        """Whether one of gRPC's public headers has it."""
        return self.source in PUBLIC

    @property
    def whole(self) -> bool:
        """Whether its value is a whole number."""
        return self.kind not in ("text", "object")


@cache
def options() -> dict[str, Option]:
    """Return every known option by name, sorted."""
    lines = DETAILS.strip().replace("\n  ", " ").splitlines()
    details = {name: rest for name, *rest in (line.split("|") for line in lines)}
    found = {option.name: option for option in _generated(details)}
    found.update((option.name, option) for option in _python())
    return dict(sorted(found.items()))


def _generated(details: Mapping[str, Sequence[str]]) -> Iterator[Option]:
    for source, lines in KNOWN.items():
        for line in lines.strip().splitlines():
            name, kind, indices = line.split()
            side, unit, default, meaning = details.get(name, ["both", "-", "-", ""])
            releases = tuple(VERSIONS[int(index)] for index in indices)
            yield Option(name, _kind(unit, kind), _side(side), default, meaning, source, releases)


def _python() -> Iterator[Option]:
    """What grpcio itself reads or adds, outside the C core."""
    yield Option(
        "SingleThreadedUnaryStream",
        "flag",
        "client",
        "0",
        "read responses of unary-stream calls in the caller's thread",
        "grpc/experimental/__init__.py",
        VERSIONS,
    )
    yield Option(
        "grpc.fork_epoch", "integer", "client", "set by grpcio", "", "grpc/_cython/_cygrpc/channel.pyx.pxi", VERSIONS
    )


def _kind(unit: str, kind: str) -> Kind:
    said: Kind
    for said in ("flag", "integer", "milliseconds", "seconds", "bytes", "text", "object"):
        if said == (kind if unit == "-" else unit):
            return said
    raise ValueError(f"unknown kind {kind!r}, unit {unit!r}")


def _side(word: str) -> Side:
    side: Side
    for side in ("client", "server", "both", "nobody"):
        if side == word:
            return side
    raise ValueError(f"unknown side {word!r}")


def nearest(name: str) -> str | None:
    """Return the public option that ``name`` was probably meant to be, or ``None`` if none is near."""
    if name in MISNOMERS:
        return MISNOMERS[name]
    usable = {option.name: option for option in options().values() if option.public and option.side != "nobody"}
    usable["grpc.http2.ping_timeout_ms"] = options()["grpc.http2.ping_timeout_ms"]
    by_ending = [known for known in usable if _ending(known) == _ending(name)]
    close = difflib.get_close_matches(name, usable, n=1, cutoff=0.8)
    return next(iter([*by_ending, *close]), None)


def _ending(name: str) -> str:
    """The last part of a name, without the unit that people forget or add."""
    return name.rpartition(".")[2].removesuffix("_ms").removesuffix("_seconds").replace("-", "_").lower()

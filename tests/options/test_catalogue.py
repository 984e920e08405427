"""The list of options: complete, described, as the installed gRPC has it; and the way from a wrong name to the right one."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import grpc
import pytest

from grpc_heartbeat.options._details import DETAILS
from grpc_heartbeat.options._known import VERSIONS
from grpc_heartbeat.options.catalogue import MISNOMERS, PUBLIC, nearest, options


def native() -> bytes:
    """The C core that is installed."""
    found = b"".join(path.read_bytes() for path in Path(grpc.__file__).parent.rglob("*cygrpc*.so"))
    if not found:
        pytest.skip("no native library of that form on this platform")
    return found


def test_every_public_option_is_described() -> None:
    described = {line.split("|")[0] for line in DETAILS.strip().replace("\n  ", " ").splitlines()}
    public = {option.name for option in options().values() if option.public}
    assert public <= described <= set(options())
    assert len(public) > 95
    for option in options().values():
        assert option.default
        assert option.source
        assert option.releases
        assert option.meaning or not option.public


def test_the_installed_grpc_has_what_the_code_reads() -> None:
    if version("grpcio") != VERSIONS[-1]:
        pytest.skip(f"the list was made from {VERSIONS[-1]}")
    core = native()
    used = [option for option in options().values() if option.side != "nobody" and VERSIONS[-1] in option.releases]
    absent = {option.name for option in used if option.name.encode() not in core}
    assert not {name for name in absent if options()[name].public}
    assert len(absent) < len(used) / 10  # what only some platforms' code reads


def test_misnomers_are_unknown_to_grpc_and_meant_for_something() -> None:
    core = native()
    for wrong, right in MISNOMERS.items():
        assert wrong.encode() + b"\0" not in core
        assert right.encode() in core
        assert wrong not in options()
        assert options()[right].side != "nobody"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("grpc.http2.min_recv_ping_interval_without_data_ms", "grpc.http2.min_ping_interval_without_data_ms"),
        ("grpc.http2.max_connection_age_ms", "grpc.max_connection_age_ms"),
        ("grpc.keepalive_time", "grpc.keepalive_time_ms"),
        ("grpc.keepalive-time-ms", "grpc.keepalive_time_ms"),
        ("keepalive_timeout_ms", "grpc.keepalive_timeout_ms"),
        ("grpc.max_recieve_message_length", "grpc.max_receive_message_length"),
        ("grpc.keepalive_permit_without_call", "grpc.keepalive_permit_without_calls"),
        ("grpc.ping_timeout_ms", "grpc.http2.ping_timeout_ms"),
        ("grpc.experimental.http2.max_frame_size", "grpc.http2.max_frame_size"),
        ("grpc.http2.keepalive_timeout_ms", "grpc.keepalive_timeout_ms"),
        ("grpc.nothing_of_the_kind", None),
        ("", None),
    ],
)
def test_the_nearest_name(wrong: str, right: str | None) -> None:
    assert nearest(wrong) == right


def test_sources_are_named() -> None:
    assert options()["grpc.keepalive_time_ms"].source == PUBLIC[0]
    assert options()["grpc.http2.ping_timeout_ms"].source.endswith("internal_channel_arg_names.h")
    assert options()["grpc.dns_ares_query_timeout"].kind == "milliseconds"

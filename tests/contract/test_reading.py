"""Contracts are read from every form of descriptors, with lines where there are any."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat import TimeoutPolicy, contract
from grpc_heartbeat.contract import MethodContract, Place
from grpc_heartbeat.core.contract import SAID
from grpc_heartbeat.v1 import heartbeat_pb2, timeouts_pb2
from tests.contract import shop

SHOP = {
    shop.PLACE: MethodContract(
        shop.PLACE, declared=True, total=2.0, header=1.0, p99=0.8, place=Place("shop.proto", 13)
    ),
    shop.WATCH: MethodContract(
        shop.WATCH, declared=True, idle=30.0, streams_responses=True, place=Place("shop.proto", 16)
    ),
    shop.IMPORT: MethodContract(
        shop.IMPORT, declared=True, total=60.0, write=5.0, streams_requests=True, place=Place("shop.proto", 19)
    ),
}


def without_lines(contracts: contract.Contracts) -> list[tuple[Any, ...]]:
    return [
        (*(getattr(one, name) for name in ("method", "declared", *SAID)), one.streams_responses)
        for one in contracts.values()
    ]


def pool() -> descriptor_pool.DescriptorPool:
    """Return a pool that has the shop and what it imports."""
    made = descriptor_pool.DescriptorPool()
    for module in (descriptor_pb2, timeouts_pb2):
        made.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    plain = shop.descriptors().file[0]
    plain.ClearField("source_code_info")
    made.AddSerializedFile(plain.SerializeToString())
    return made


def test_a_file_of_descriptors_has_the_lines_of_its_contracts() -> None:
    assert contract.load(shop.FILE) == SHOP
    lines = shop.FILE.with_suffix(".proto").read_text().splitlines()
    for one in SHOP.values():
        assert one.place is not None
        assert one.place.line is not None
        assert "option (grpc_heartbeat.v1.timeout)" in lines[one.place.line - 1]


def test_a_method_without_a_contract_has_the_line_of_the_method() -> None:
    extension: Any = timeouts_pb2.timeout
    changed = shop.descriptors()
    changed.file[0].service[0].method[0].options.ClearExtension(extension)
    info = changed.file[0].source_code_info
    kept = [location for location in info.location if list(location.path[:5]) != [6, 0, 2, 0, 4]]
    del info.location[:]
    info.location.extend(kept)
    found = contract.of_descriptors(changed.SerializeToString())[shop.PLACE]
    assert found == MethodContract(shop.PLACE, place=Place("shop.proto", 12))
    assert not found.declared


def test_modules_and_pools_have_no_lines() -> None:
    shops = pool()
    file = shops.FindFileByName("shop.proto")
    module = types.ModuleType("shop_pb2")
    module.DESCRIPTOR = file  # type: ignore[attr-defined]  # as generated modules have it
    wanted = without_lines(SHOP)
    for found in (
        contract.of_modules(module),
        contract.of_modules(file),
        contract.of_services("shop.Orders", pool=shops),
    ):
        assert without_lines(found) == wanted
        assert {one.place for one in found.values()} == {Place("shop.proto")}


def test_services_are_read_one_by_one() -> None:
    two = shop.descriptors().file[0]
    two.ClearField("source_code_info")
    two.name = "two.proto"
    two.package = "two"
    two.service.add(name="Cellar").method.add(name="Look", input_type=".two.Order", output_type=".two.Receipt")
    for one in two.service[0].method:
        one.input_type, one.output_type = ".two.Order", ".two.Receipt"
    shops = pool()
    shops.AddSerializedFile(two.SerializeToString())
    assert list(contract.of_services("two.Cellar", pool=shops)) == ["two.Cellar/Look"]
    assert len(contract.of_services("two.Cellar", "two.Orders", "shop.Orders", pool=shops)) == 7


def test_the_default_pool_has_what_is_imported() -> None:
    found = contract.of_services("grpc_heartbeat.v1.Heartbeat")
    assert list(found) == ["grpc_heartbeat.v1.Heartbeat/Keepalive", "grpc_heartbeat.v1.Heartbeat/Ping"]
    assert not any(one.declared for one in found.values())
    assert found == contract.of_modules(heartbeat_pb2)
    with pytest.raises(KeyError, match="shop"):
        contract.of_services("shop.Nothing")


@pytest.mark.parametrize("wrong", [types.ModuleType("empty"), None, "shop_pb2", b"", heartbeat_pb2.Beat])
def test_what_is_no_module_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="contracts are read from generated modules or their DESCRIPTOR, not from"):
        contract.of_modules(wrong)


@pytest.mark.parametrize("wrong", [b"\xff\xff", b"{}", shop.FILE.read_bytes()[:-5]])
def test_what_is_no_set_is_refused_by_name(wrong: bytes, tmp_path: Path) -> None:
    path = tmp_path / "shop.binpb"
    path.write_bytes(wrong)
    with pytest.raises(
        ValueError, match=f"^{path}: not a FileDescriptorSet, as `protoc --descriptor_set_out` writes it$"
    ):
        contract.load(path)


def test_a_file_may_be_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MAX_BYTES", len(shop.FILE.read_bytes()) - 1)
    with pytest.raises(ValueError, match=r"shop\.binpb: too large for descriptors: more than 0 MiB"):
        contract.load(shop.FILE)
    with pytest.raises(FileNotFoundError):
        contract.load(tmp_path / "none")


def test_strange_source_info_does_no_harm() -> None:
    strange = shop.descriptors()
    for path in ([6, 0, 2, 0], [6], [6, 0, 2, 0, 4, 58210], [6, 99, 2, 99], []):
        strange.file[0].source_code_info.location.add(path=path)
    assert contract.of_descriptors(strange.SerializeToString()) == SHOP


@given(
    st.fixed_dictionaries({name: st.integers(0, 2**32 - 1) for name in SAID}),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "a", "a.b"]),
)
def test_every_contract_is_read_as_it_was_written(
    said: dict[str, int], streams_requests: bool, streams_responses: bool, package: str
) -> None:
    written = descriptor_pb2.FileDescriptorSet()
    file = written.file.add(name="a.proto", package=package)
    method = file.service.add(name="S").method.add(
        name="M", client_streaming=streams_requests, server_streaming=streams_responses
    )
    shop.said(method).MergeFrom(timeouts_pb2.TimeoutContract(**{f"{name}_ms": value for name, value in said.items()}))
    ((name, found),) = contract.of_descriptors(written.SerializeToString()).items()
    assert name == found.method == (f"{package}.S/M" if package else "S/M")
    assert (found.streams_requests, found.streams_responses) == (streams_requests, streams_responses)
    assert {part: round((getattr(found, part) or 0) * 1000) for part in SAID} == said
    assert found.declared
    policy = contract.policy_of({name: found})  # every number of milliseconds is one that a policy takes
    assert dict(policy.methods.get(name, {})) == found.limits()


def test_the_policy_of_contracts_says_where_its_limits_are_from() -> None:
    policy = contract.policy_of(contract.load(shop.FILE), default={"total": 5, "connect": 1})
    assert policy == TimeoutPolicy(
        {"total": 5, "connect": 1},
        methods={
            shop.PLACE: {"total": 2, "header": 1},
            shop.WATCH: {"idle": 30},
            shop.IMPORT: {"total": 60, "write": 5},
        },
        name="contract",
    )
    limits = policy.limits(f"/{shop.PLACE}", streams=False)
    assert [limits.source(part) for part in ("total", "header", "connect")] == [
        "policy:contract:shop.Orders/Place",
        "policy:contract:shop.Orders/Place",
        "policy:contract:default",
    ]


def test_protoc_finds_the_option_where_it_is_said_to_be() -> None:
    shipped = Path(contract.include()) / "grpc_heartbeat" / "v1" / "timeouts.proto"
    source = Path(__file__).parents[2] / "proto" / "grpc_heartbeat" / "v1" / "timeouts.proto"
    assert shipped.read_text() == source.read_text()
    assert f"= {timeouts_pb2.TIMEOUT_FIELD_NUMBER};" in source.read_text()
    assert 50_000 <= timeouts_pb2.TIMEOUT_FIELD_NUMBER <= 99_999

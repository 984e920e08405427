"""A policy file remembers where each entry and each part of it stands, in both formats."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpc_heartbeat import contract
from grpc_heartbeat.contract import Place
from grpc_heartbeat.policy_file import read, read_with_lines
from tests.contract.shop import FILE

YAML = """\
name: shop
default: {connect: 3s,
  total: 8}
services:
methods:
  shop.Orders/Place:
    total: 3
  /shop.Orders/Watch: {idle: 1m}
"""
JSON = """\
{"name": "shop",
 "default": {"connect": "3s",
   "total": 8},
 "services": null, "methods":
 {
  "shop.Orders/Place": {
    "total": 3},
  "/shop.Orders/Watch": {"idle": "1m"}}}
"""
LINES = {
    ("default", "connect"): 2,
    ("default", "total"): 3,
    ("methods", "shop.Orders/Place"): 6,
    ("methods", "shop.Orders/Place", "total"): 7,
    ("methods", "shop.Orders/Watch"): 8,
    ("methods", "shop.Orders/Watch", "idle"): 8,
}


@pytest.mark.parametrize(("name", "text"), [("policy.yaml", YAML), ("policy.json", JSON)])
def test_every_entry_and_part_has_its_line(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    arguments, lines = read_with_lines(path)
    assert arguments == read(path)
    assert lines == LINES


def test_a_finding_has_the_line_of_the_entry_that_counts(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(YAML + "  shop.Orders/Plaice: {}\n")
    report = contract.check(contract.load(FILE), policy=path)
    assert {(finding.rule, finding.method): finding.place for finding in report.errors} == {
        ("longer-than-contract", "shop.Orders/Place"): Place(str(path), 7),
        ("longer-than-contract", "shop.Orders/Watch"): Place(str(path), 8),
        ("unknown-method", "shop.Orders/Plaice"): Place(str(path), 9),
    }
    assert {(finding.rule, finding.place) for finding in report.warnings} == {
        ("beyond-total", Place(str(path), 2)),  # connect 3 s, total 3 s
        ("not-limited", Place("shop.proto", 13)),
        ("not-limited", Place("shop.proto", 19)),
    }


def test_a_stream_has_no_total_from_a_default(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("default: {total: 1, idle: 2}\n")
    place = Place("shop.proto", 16)
    watch = contract.MethodContract("shop.Orders/Watch", True, 60, idle=30, streams_responses=True, place=place)
    (finding,) = contract.check({watch.method: watch}, policy=path).findings
    assert (finding.rule, finding.place) == ("not-limited", place)


def test_the_line_of_a_service_comes_before_that_of_the_default(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("default: {total: 70}\nservices:\n  shop.Orders: {header: 10, total: 90}\n")
    report = contract.check(contract.load(FILE), policy=path)
    found = {(finding.method, finding.message.split()[1]): finding.place for finding in report.errors}
    assert found[("shop.Orders/Place", "total")] == found[("shop.Orders/Place", "header")] == Place(str(path), 3)

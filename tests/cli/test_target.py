"""Addresses as people type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpc_heartbeat.cli.target import check_address, read_certificates


@pytest.mark.parametrize(
    "address",
    ["localhost:50051", "10.0.0.1:1", "[::1]:65535", "[fe80::1%eth0]:80", "unix:/run/x.sock", "dns:///orders:443"],
)
def test_addresses_that_grpc_understands_pass(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("localhost", "not HOST:PORT"),
        ("localhost:", "not HOST:PORT"),
        (":50051", "not HOST:PORT"),
        ("::1:50051", "brackets"),
        ("localhost:http", "not HOST:PORT"),
        ("localhost:0", "1 to 65535"),
        ("localhost:70000", "1 to 65535"),
        ("https://localhost:443", "URL"),
        ("local host:1", "not HOST:PORT"),
        ("", "not HOST:PORT"),
    ],
)
def test_other_text_is_refused_with_a_reason(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_address(address)


def test_certificates_are_read_and_looked_at(tmp_path: Path) -> None:
    pem, junk = tmp_path / "pem", tmp_path / "junk"
    pem.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    junk.write_bytes(b"hello")
    assert read_certificates(str(pem)) == pem.read_bytes()
    with pytest.raises(ValueError, match="no certificate"):
        read_certificates(str(junk))
    with pytest.raises(ValueError, match=r"cannot read .*missing"):
        read_certificates(str(tmp_path / "missing"))

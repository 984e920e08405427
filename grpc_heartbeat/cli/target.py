"""What to ping: an address as people type it, and the channel to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from grpc_heartbeat.options import MIN_CONNECT_TIMEOUT, client_options

_NAMED_SCHEME = re.compile(r"(unix|unix-abstract|vsock|dns|ipv4|ipv6):.")
_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """A server's address and how to speak to it.

    Args:
        address: ``HOST:PORT``, ``[IPv6]:PORT``, or a gRPC name such as ``unix:/path`` (gRPC naming.md).
        tls: Whether to use TLS.
        roots: PEM certificates to trust; ``None`` means those that gRPC ships.
        authority: The name that the server is asked for, and under TLS must prove. ``None`` means the address.
    """

    address: str
    tls: bool = False
    roots: bytes | None = None
    authority: str | None = None

    def open(self, connect_timeout: float) -> grpc.aio.Channel:
        """Return a new channel on which an attempt to connect is given up after ``connect_timeout`` seconds.

        Unacknowledged data is given up after 10 s, so that the channel recovers soon after the network does; no PINGs
        are sent, because the beats themselves are the traffic.
        """
        limit = max(connect_timeout, MIN_CONNECT_TIMEOUT)
        quiet_keepalive = client_options(keepalive_time=7200, permit_without_calls=False, connect_timeout=limit)
        options: list[tuple[str, int | str]] = [*quiet_keepalive]
        if self.authority is not None:
            options.append(("grpc.default_authority", self.authority))
        if self.tls:
            credentials = grpc.ssl_channel_credentials(root_certificates=self.roots)
            return grpc.aio.secure_channel(self.address, credentials, options=options)
        return grpc.aio.insecure_channel(self.address, options=options)


def check_address(text: str) -> str:
    """Return ``text`` if it is an address that gRPC understands.

    Raises:
        ValueError: no port, a port outside 1…65535, a URL, or no UTF-8.
    """
    check_text(text)
    if _NAMED_SCHEME.match(text):
        return text
    if "://" in text:
        raise ValueError(f"{text!r} is a URL; give HOST:PORT")
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not HOST:PORT, with an IPv6 address in [brackets]")
    if not 1 <= int(match["port"]) <= 65535:
        raise ValueError(f"port {match['port']} in {text!r} is not from 1 to 65535")
    return text


def check_text(text: str) -> str:
    """Return ``text`` if it can be sent.

    Raises:
        ValueError: it is no UTF-8; the bytes of a command line may be anything.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is not UTF-8") from None
    return text


def read_certificates(path: str) -> bytes:
    """Return the PEM file at ``path``.

    Raises:
        ValueError: it cannot be read or holds no certificate.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ValueError(f"{path} holds no certificate in PEM form")
    return content

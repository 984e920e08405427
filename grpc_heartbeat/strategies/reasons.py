"""Why connections fail, in words for people."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

BROKEN = (OSError, EOFError, asyncio.TimeoutError)
"""What means that a connection is lost, and no fault of a program. Python 3.10 has a ``TimeoutError`` of asyncio's own."""


def reason_of(error: Exception) -> str:
    """Return what ``error`` says, in one line."""
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, socket.gaierror):
        return f"the host name cannot be resolved: {error.strerror}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return " ".join(str(error).split()) or type(error).__name__

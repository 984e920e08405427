"""Tests of what grpcio's private names give, where only its public API may be used: they are skipped, and say so."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

from grpc_heartbeat import _grpcio

PUBLIC_API_ONLY = _grpcio._PUBLIC_API_ONLY
"""Whether the private names are forbidden. Where they are allowed and do not work, these tests are to fail."""

needs_seam = pytest.mark.skipif(PUBLIC_API_ONLY, reason="grpcio's public API alone cannot do it")


def each(ways: Iterable[str], needing: Collection[str]) -> list[Any]:
    """Return ``ways`` to parametrize by; those in ``needing`` need the private names."""
    return [pytest.param(way, marks=needs_seam) if way in needing else way for way in ways]

"""A heartbeat with a server that others wrote, in another language: etcd has ``grpc.health.v1`` and no heartbeats."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.core.heartbeat_events import BeatAcked
from grpc_heartbeat.core.levels import Level
from tests.cli.test_ping_etcd import etcd
from tests.heartbeat.ends import QUICK, Client

__all__ = ["etcd"]
pytestmark = [pytest.mark.peers, pytest.mark.slow]


def test_etcd_is_watched(etcd: str, beat: Callable[..., Client]) -> None:
    client = beat(etcd, QUICK)
    client.wait_for(BeatAcked, 3)
    known = client.snapshot()
    assert (known.state, known.serving) == ("up", ServingStatus.SERVING)
    assert known.level in (Level.WATCH, Level.CHECK)
    client.close()

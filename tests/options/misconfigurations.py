"""Mistakes that people really made, from public issue trackers: the options, where they were reported, and what is wrong.

The options are those that matter of what was reported; ``kind`` is the rule that must name them.
"""

from __future__ import annotations

from dataclasses import dataclass

from grpc_heartbeat.options import Enforcement

Values = dict[str, object]
GO_DEFAULTS = Enforcement()
ETCD = Enforcement(min_interval=5)


@dataclass(frozen=True)
class Mistake:
    """One report: GitHub's repository and number of the issue or pull request, the options, the rule that names it."""

    source: str
    kind: str
    says: str
    client: Values | None = None
    server: Values | Enforcement | None = None


MISTAKES = [
    Mistake(
        "sgl-project/sglang#19986",
        "unknown-option",
        "grpc.http2.min_ping_interval_without_data_ms",
        server={
            "grpc.http2.min_recv_ping_interval_without_data_ms": 10_000,
            "grpc.keepalive_permit_without_calls": True,
        },
    ),
    Mistake(
        "vllm-project/vllm#55102",
        "too-many-pings",
        "every 30 s",
        client={"grpc.keepalive_time_ms": 30_000, "grpc.http2.max_pings_without_data": 0},
        server={"grpc.http2.min_recv_ping_interval_without_data_ms": 10_000},
    ),
    Mistake(
        "llm-d/llm-d-kv-cache#359",
        "too-many-pings",
        "within 300 s as a strike",
        client={"grpc.keepalive_time_ms": 10_000, "grpc.keepalive_permit_without_calls": 1},
        server={},
    ),
    Mistake(
        "llm-d/llm-d-kv-cache#363",
        "no-effect",
        "Set grpc.keepalive_time_ms",
        server={"grpc.http2.min_time_between_pings_ms": 300_000},
    ),
    Mistake(
        "grpc/grpc#33661",
        "too-many-pings",
        "every 4 s",
        client={"grpc.keepalive_time_ms": 4000, "grpc.http2.max_pings_without_data": 0},
        server={},
    ),
    Mistake("grpc/grpc#25722", "pings-throttled", "to one a minute", client={"grpc.keepalive_time_ms": 500}),
    Mistake("grpc/grpc#25722", "wrong-unit", "500 ms is too short", client={"grpc.keepalive_time_ms": 500}),
    Mistake(
        "grpc/grpc#28830",
        "no-margin",
        "the server demands 20 s",
        client={
            "grpc.keepalive_time_ms": 20_000,
            "grpc.keepalive_permit_without_calls": 1,
            "grpc.http2.max_pings_without_data": 0,
        },
        server=Enforcement(min_interval=20, permit_without_calls=True),
    ),
    Mistake(
        "milvus-io/pymilvus#1059",
        "frozen-peer",
        "1 min 55 s",
        client={"grpc.keepalive_time_ms": 55_000, "grpc.http2.max_pings_without_data": 0},
    ),
    Mistake("milvus-io/pymilvus#1059", "too-many-pings", "every 55 s", client={"grpc.keepalive_time_ms": 55_000}),
    Mistake("grpc/grpc-node#154", "keepalive-off", "no PING is ever sent", client={"grpc.keepalive_timeout_ms": 1500}),
    Mistake(
        "etcd-io/etcd#8905",
        "too-many-pings",
        "within 5 s",
        client={"grpc.keepalive_time_ms": 1000, "grpc.http2.max_pings_without_data": 0},
        server=ETCD,
    ),
    Mistake(
        "etcd-io/etcd#15719",
        "pings-without-calls",
        "which the server does not permit",
        client={"grpc.keepalive_time_ms": 10_000, "grpc.keepalive_permit_without_calls": 1},
        server=ETCD,
    ),
    Mistake(
        "kvcache-ai/Mooncake#3144",
        "pings-without-calls",
        "leave it out on the client",
        client={"grpc.keepalive_time_ms": 30_000, "grpc.keepalive_permit_without_calls": 1},
        server=ETCD,
    ),
    Mistake(
        "googleapis/java-spanner#339",
        "too-slow",
        "33 h 20 min",
        client={"grpc.keepalive_time_ms": 120_000_000, "grpc.http2.max_pings_without_data": 0},
    ),
    Mistake(
        "grpc/grpc#11277",
        "backoff-order",
        "(10 s) is longer than the longest (1 s)",
        client={"grpc.initial_reconnect_backoff_ms": 10_000, "grpc.max_reconnect_backoff_ms": 1000},
    ),
    Mistake(
        "grpc/grpc#25540",
        "connect-limit-missing",
        "still takes 20 s",
        client={"grpc.initial_reconnect_backoff_ms": 1000, "grpc.max_reconnect_backoff_ms": 2000},
    ),
    Mistake(
        "grpc/grpc#11299",
        "unknown-option",
        "grpc.max_receive_message_length",
        client={"grpc.max_message_length": 30 * 1024 * 1024},
    ),
    Mistake(
        "grpc/grpc#23388",
        "unknown-option",
        "grpc.max_receive_message_length",
        server={"grpc.max_send_message_length": 50 * 1024 * 1024, "grpc.max_message_length": 50 * 1024 * 1024},
    ),
    Mistake(
        "hatchet-dev/hatchet-python#176",
        "message-size",
        "the server refuses more than 4194304 bytes",
        client={"grpc.max_send_message_length": 64 * 1024 * 1024},
        server={},
    ),
    Mistake(
        "grpc/grpc#33111",
        "wrong-side",
        "only a server reads it",
        client={"grpc.max_concurrent_streams": 30},
    ),
    Mistake(
        "malijs/mali#276", "age-without-grace", "a held stream never moves", server={"grpc.max_connection_age_ms": 1000}
    ),
    Mistake(
        "grpc/grpc#34379",
        "service-config",
        "it is not JSON",
        client={
            "grpc.service_config": '{"methodConfig": [{"timeout": "5s", "name": [{}]}], '
            '"loadBalancingConfig": [{"round_robin": {}}], }'
        },
    ),
    Mistake(
        "grpc/grpc#34547",
        "service-config",
        "1 to 2 s before it",
        client={"grpc.service_config": '{"methodConfig": [{"timeout": "1.2s", "name": [{}]}]}'},
    ),
    Mistake(
        "grpc/grpc#41217",
        "service-config",
        "gRPC does not try more than 5 times",
        client={
            "grpc.service_config": '{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 100, "initialBackoff": '
            '"0.1s", "maxBackoff": "1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}'
        },
    ),
    Mistake(
        "grpc/grpc-go#5224",
        "service-config",
        "healthCheckConfig does nothing under pick_first",
        client={"grpc.service_config": '{"healthCheckConfig": {"serviceName": ""}}'},
    ),
]

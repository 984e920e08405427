"""Heartbeats and time-out contracts, version 1, generated from ``proto/grpc_heartbeat/v1`` by ``make proto``."""

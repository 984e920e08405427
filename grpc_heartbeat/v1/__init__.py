"""The heartbeat protocol, version 1: code generated from ``proto/grpc_heartbeat/v1/heartbeat.proto`` by ``make proto``."""

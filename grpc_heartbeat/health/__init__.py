"""What this process says about itself: the board, its dependency checks, its drain, and the health services that show it."""

from grpc_heartbeat.health.board import HealthBoard

__all__ = ["HealthBoard"]

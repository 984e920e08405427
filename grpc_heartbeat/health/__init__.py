"""What this process says about itself: the board, its dependency checks, its drain, and the health services that show it."""

from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.core.health_checks import CheckReport
from grpc_heartbeat.health.board import HealthBoard
from grpc_heartbeat.health.drain import Drain

__all__ = ["CheckReport", "Drain", "HealthBoard", "ServingStatus"]

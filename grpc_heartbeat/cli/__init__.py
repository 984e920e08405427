"""The ``grpc-heartbeat`` command. ``main`` is its entry point; a subcommand's module is loaded when it is asked for."""

from grpc_heartbeat.cli.app import main

__all__ = ["main"]

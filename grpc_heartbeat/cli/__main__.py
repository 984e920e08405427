"""Runs the command as ``python -m grpc_heartbeat.cli``."""

import sys

from grpc_heartbeat.cli.app import main

sys.exit(main())

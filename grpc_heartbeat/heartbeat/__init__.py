"""Heartbeat streams: drivers, servicers and their codec, for both stacks; the thinking is in ``core``."""

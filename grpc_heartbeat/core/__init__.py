"""The thinking: deadlines, scopes, timers, heartbeats. No I/O, no clock: ``now`` is always an argument.

Nothing here imports grpc, asyncio, threading, time or opentelemetry; ``make check`` enforces it. Drivers outside this package
own clocks, locks, threads and tasks.
"""

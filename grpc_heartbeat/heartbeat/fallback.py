"""Health Checks as beats, on a synchronous channel: futures, whose ends come from the thread that serves the channel."""

from __future__ import annotations

from contextvars import Context
from functools import partial
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat.heartbeat.health_stream import HealthStream


class SyncHealthStream(HealthStream):
    """A ``HealthStream`` on a ``grpc.Channel``."""

    _call: Any = None

    def _ask(self, sequence: int, limit: float) -> None:
        try:
            # An empty context: no deadline, cancel scope or span of whoever happens to run this.
            call = Context().run(self._check.future, b"", timeout=limit, wait_for_ready=False)
        except ValueError as error:
            self.channel_closed(self, error)
            return
        self._call = call
        call.add_done_callback(partial(self._done, sequence))

    def _give_up(self) -> None:
        if self._call is not None:
            self._call.cancel()

    def _done(self, sequence: int, call: Any) -> None:
        try:
            code = call.code()
            self._answered(sequence, code, call.details(), call.result() if code is grpc.StatusCode.OK else b"")
        except Exception as error:
            _faults.record("heartbeat.check", error)

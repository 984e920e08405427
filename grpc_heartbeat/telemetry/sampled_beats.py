"""The client's spans on one stream when a sampler chooses among the beats (``core/sampling.py``).

A beat that is not chosen costs a reading of the clock. It carries a trace context that is marked as not sampled, so that the
server makes no span either. One that turns out to matter gets its span afterwards, with the time at which it was sent and the
attribute ``heartbeat.recorded`` = "afterwards"; there is no server's span to it.
"""

from __future__ import annotations

import random
import time

from grpc_heartbeat.core import tracecontext
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.core.heartbeat_events import BeatAbandoned, BeatAcked, BeatMissed
from grpc_heartbeat.core.sampling import Sampling
from grpc_heartbeat.telemetry.beats import BeatTracing, ClientBeats


class SampledBeats(ClientBeats):
    """As ``ClientBeats``, for the beats that matter. ``sampling`` is the heartbeat's."""

    def __init__(self, tracing: BeatTracing, sampling: Sampling) -> None:
        super().__init__(tracing)
        self._sampling = sampling
        self._untraced: dict[int, int] = {}
        sampling.notable = True  # the first answer of a stream is a change of state
        self._status: ServingStatus | None = None
        ids = random.getrandbits(128) or 1, random.getrandbits(64) or 1
        self._not_sampled = tracecontext.encode(tracecontext.TraceContext(*ids, flags=0))

    def start(self, sequence: int) -> bytes:
        if self._sampling.wants():
            return super().start(sequence)
        self._untraced[sequence] = time.time_ns()  # wall clock: spans are dated
        return self._not_sampled

    def drop(self, sequence: int) -> None:
        if self._untraced.pop(sequence, None) is None:
            super().drop(sequence)

    def _observe(self, event: Event) -> None:
        if isinstance(event, (BeatAcked, BeatMissed, BeatAbandoned)):
            matters = self._matters(event)
            sent = self._untraced.pop(event.sequence, None)
            if sent is not None:
                if not matters:
                    return
                self._begin(event.sequence, start_time=sent, extra={"heartbeat.recorded": "afterwards"})
        super()._observe(event)

    def _matters(self, event: BeatAcked | BeatMissed | BeatAbandoned) -> bool:
        if isinstance(event, BeatMissed):
            self._sampling.notable = True
            return True
        if isinstance(event, BeatAbandoned):
            return False
        changed = self._sampling.notable or event.ack.status is not self._status
        self._sampling.notable = False
        self._status = event.ack.status
        return self._sampling.slow(event.rtt) or changed

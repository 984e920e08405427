"""A tracer provider that counts spans instead of keeping them, so that a test may make a million."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Any

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind

from grpc_heartbeat.telemetry.rpc_spans import SCOPE

STATUS = "rpc.grpc.status_code"


class Tally(SpanProcessor):
    """Counts this library's spans of RPCs.

    Attributes:
        open: Ids of the spans that have started and not ended.
        ended: How many have ended, by kind and gRPC status.
        again: What was complained of spans that were ended a second time.
    """

    def __init__(self) -> None:
        self.open: set[int] = set()
        self.ended: Counter[tuple[SpanKind, Any]] = Counter()
        self.again: list[str] = []
        self._lock = threading.Lock()
        self._complaints = _Complaints(self.again)
        logging.getLogger("opentelemetry.sdk.trace").addHandler(self._complaints)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self)

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        assert span.instrumentation_scope.name == SCOPE
        with self._lock:
            self.open.add(span.context.span_id)

    def on_end(self, span: Any) -> None:
        with self._lock:
            self.open.remove(span.context.span_id)
            self.ended[span.kind, span.attributes.get(STATUS)] += 1

    def of(self, kind: SpanKind) -> dict[Any, int]:
        """Return how many spans of ``kind`` have ended, by status."""
        return {status: count for (each, status), count in self.ended.items() if each is kind}

    def close(self) -> None:
        logging.getLogger("opentelemetry.sdk.trace").removeHandler(self._complaints)
        self.provider.shutdown()


class _Complaints(logging.Handler):
    """The SDK warns of a second end and of what is said after the end."""

    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record.getMessage())

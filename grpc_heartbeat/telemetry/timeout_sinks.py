"""Where the records of calls that ended early go: ``logging``, a file of JSON lines, OpenTelemetry's logs.

OpenTelemetry is loaded by the sink that needs it.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

Record = Mapping[str, Any]


class Sink(Protocol):
    """Where records go. Called from one thread; may block."""

    def write(self, records: list[Record]) -> None:
        """Write ``records``, oldest first."""

    def close(self) -> None:
        """Release what it holds."""


class LoggingSink:
    """Writes each record as one line of ``logging``, with its fields as the record's ``timeout`` attribute."""

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.WARNING) -> None:
        self._logger = logger or logging.getLogger("grpc_heartbeat.timeouts")
        self._level = level

    def write(self, records: list[Record]) -> None:
        for record in records:
            self._logger.log(
                self._level,
                "%s ended early: %s time-out, %s after %.3f s (%s)",
                record["method"],
                record["layer"],
                record["status"],
                record["elapsed"],
                record["source"],
                extra={"timeout": record},
            )

    def close(self) -> None:
        """Nothing is held."""


class JsonLinesSink:
    """Appends each record to a file as one line of JSON."""

    def __init__(self, path: str | Path) -> None:
        self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115  # closed by close()

    def write(self, records: list[Record]) -> None:
        self._file.writelines(f"{_as_json(record)}\n" for record in records)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class OpenTelemetrySink:
    """Emits each record through OpenTelemetry's logs API, as the event ``grpc_heartbeat.timeout`` of the span it belongs to.

    Args:
        logger_provider: Default: the global one.
    """

    def __init__(self, logger_provider: Any = None) -> None:
        from opentelemetry._logs import get_logger_provider

        provider = logger_provider or get_logger_provider()
        self._logger = provider.get_logger("grpc_heartbeat")
        self._make = _maker(getattr(provider, "resource", None))

    def write(self, records: list[Record]) -> None:
        for record in records:
            self._logger.emit(self._make(record))

    def close(self) -> None:
        """Nothing is held: the provider is the application's."""


def _maker(resource: Any) -> Callable[[Record], Any]:
    """Return what makes OpenTelemetry's log records.

    Its API has records of its own; SDKs before 1.39 take theirs only, with the resource.
    """
    from opentelemetry import _logs
    from opentelemetry.sdk import _logs as sdk

    kind: Any = getattr(sdk, "LogRecord", None)
    extra: dict[str, Any] = {"resource": resource} if kind is not None else {}
    kind = kind or _logs.LogRecord
    with_context = "context" in inspect.signature(kind.__init__).parameters

    def make(record: Record) -> Any:
        return kind(
            timestamp=record["time_unix_nano"],
            severity_number=_logs.SeverityNumber.WARN,
            severity_text="WARN",
            body=f"{record['method']} ended early by its {record['layer']} time-out",
            attributes=_attributes(record),
            **_span(record, with_context),
            **extra,
        )

    return make


def _attributes(record: Record) -> dict[str, Any]:
    attributes: dict[str, Any] = {"event.name": "grpc_heartbeat.timeout"}
    for key, value in record.items():
        if value is not None and key not in _OF_THE_SPAN and key != "time_unix_nano":
            attributes[f"grpc_heartbeat.timeout.{key}"] = _as_json(value) if key == "load" else value
    return attributes


def _as_json(value: Any) -> str:
    """Return ``value`` as JSON; what an application's load has that JSON has not is said in words."""
    return json.dumps(value, default=str)


_OF_THE_SPAN = ("trace_id", "span_id", "trace_flags")


def _span(record: Record, with_context: bool) -> dict[str, Any]:
    if "trace_id" not in record:
        return {}
    from opentelemetry import trace
    from opentelemetry.context import Context

    trace_id, span_id = int(record["trace_id"], 16), int(record["span_id"], 16)
    flags = trace.TraceFlags(record["trace_flags"])
    if not with_context:
        return {"trace_id": trace_id, "span_id": span_id, "trace_flags": flags}
    context = trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags)
    return {"context": trace.set_span_in_context(trace.NonRecordingSpan(context), Context())}

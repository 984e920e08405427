"""Prints the course of a ``ping``: lines for people, or one JSON object per line for programs."""

from __future__ import annotations

import json
import sys
from typing import Any, Protocol, TextIO

from grpc_heartbeat.cli.explain import shorten
from grpc_heartbeat.cli.probe import Answered, Asked, Level, Lost
from grpc_heartbeat.cli.summary import Summary

_PHRASES = {
    Level.HEARTBEAT: "over grpc_heartbeat.v1.Heartbeat/Ping",
    Level.HEALTH: "over grpc.health.v1.Health/Check",
    Level.BARE: "over bare gRPC (UNIMPLEMENTED counts as an answer; health unknown)",
}


def _phrase(asked: Asked) -> str:
    return _PHRASES[asked] if isinstance(asked, Level) else f"by the strategy {asked.name}"


class Reporter(Protocol):
    """What a ``ping`` tells while it runs."""

    def started(self, target: str, level: Asked) -> None:
        """Before the first beat."""

    def stepped_down(self, missing: Level, now_used: Level) -> None:
        """When the server turns out to lack a level."""

    def beat(self, result: Answered | Lost) -> None:
        """After each beat."""

    def finished(self, target: str, level: Asked, summary: Summary) -> None:
        """Once, at the end."""


class TextReporter:
    """Lines like those of ping(8). ``quiet`` leaves out all but the start and the statistics."""

    def __init__(self, *, quiet: bool = False, out: TextIO | None = None) -> None:
        self._quiet = quiet
        self._out = sys.stdout if out is None else out

    def started(self, target: str, level: Asked) -> None:
        """Print which server is asked what."""
        self._print(f"PING {target} {_phrase(level)}")

    def stepped_down(self, missing: Level, now_used: Level) -> None:
        """Print that a level is missing, once per level."""
        if not self._quiet:
            self._print(f"the server has no {missing.value}: going on {_phrase(now_used)}")

    def beat(self, result: Answered | Lost) -> None:
        """Print one beat."""
        if not self._quiet:
            self._print(_answered_line(result) if isinstance(result, Answered) else _lost_line(result))

    def finished(self, target: str, level: Asked, summary: Summary) -> None:
        """Print the statistics."""
        self._print(f"\n--- {target} statistics ---")
        self._print(
            f"{summary.sent} sent, {summary.received} received, {summary.loss_percent:.3g} % loss, {_phrase(level)}"
        )
        if summary.spread is not None:
            spread = summary.spread
            values = "/".join(_millis(value) for value in (spread.min, spread.average, spread.p95, spread.max))
            self._print(f"rtt min/avg/p95/max = {values} ms")

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)


class JsonReporter:
    """One object per line; ``type`` is ``start``, ``step_down``, ``beat`` or ``summary``. Times are milliseconds."""

    def __init__(self, *, quiet: bool = False, out: TextIO | None = None) -> None:
        self._quiet = quiet
        self._out = sys.stdout if out is None else out

    def started(self, target: str, level: Asked) -> None:
        """Print the target and the method."""
        self._print({"type": "start", "target": target, "level": level.name.lower(), "method": level.value})

    def stepped_down(self, missing: Level, now_used: Level) -> None:
        """Print the levels before and after."""
        if not self._quiet:
            self._print({"type": "step_down", "from": missing.name.lower(), "to": now_used.name.lower()})

    def beat(self, result: Answered | Lost) -> None:
        """Print one beat; ``answered`` tells which other fields it has."""
        if self._quiet:
            return
        common = {"type": "beat", "sequence": result.sequence, "level": result.level.name.lower()}
        if isinstance(result, Lost):
            self._print({**common, "answered": False, "code": result.code, "reason": result.reason})
            return
        reply = result.reply
        peer = {"service": reply.service, "zone": reply.zone, "instance": reply.instance}
        said = {"status": reply.status, "message": reply.message, "peer": peer, "load": reply.load}
        self._print({**common, "answered": True, "rtt_ms": _rounded_millis(result.round_trip), **said})

    def finished(self, target: str, level: Asked, summary: Summary) -> None:
        """Print the statistics; the round-trip times are null when nothing was answered."""
        spread = summary.spread
        self._print(
            {
                "type": "summary",
                "target": target,
                "level": level.name.lower(),
                "sent": summary.sent,
                "received": summary.received,
                "loss_percent": round(summary.loss_percent, 3),
                "min_ms": spread and _rounded_millis(spread.min),
                "avg_ms": spread and _rounded_millis(spread.average),
                "p95_ms": spread and _rounded_millis(spread.p95),
                "max_ms": spread and _rounded_millis(spread.max),
            }
        )

    def _print(self, fields: dict[str, Any]) -> None:
        print(json.dumps(fields), file=self._out, flush=True)


def _answered_line(result: Answered) -> str:
    reply = result.reply
    words = [f"seq={result.sequence}", f"time={_millis(result.round_trip)} ms"]
    if reply.status:
        words.append(reply.status)
    if reply.message:
        words.append(f"({reply.message})")
    peer = (("service", reply.service), ("zone", reply.zone), ("instance", reply.instance))
    return " ".join(words + [f"{name}={shorten(value)}" for name, value in peer if value])


def _lost_line(result: Lost) -> str:
    return f"seq={result.sequence} lost: {result.reason}"


def _millis(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"


def _rounded_millis(seconds: float) -> float:
    return round(seconds * 1000, 3)

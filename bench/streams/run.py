"""The director: holds streams of each design in turn and says what they cost.

A trial is one design on one side of one stack. It holds the streams, has them beat as fast as they can (*saturated*) and then
at a fixed rate over all of them (*paced*), and is marked before and after. A server is saturated by a beat in flight on each
stream. Naive clients are by beating without a pause. Ours never beat faster than their policy says, so they are asked for
more and more, until they no longer keep up; the last rate that they did keep up with counts.

Designs that need threads per stream hold fewer streams. Their figures are per stream or per beat, so they say what more would
cost; the table has the number of streams of each. Fewer, because every thread that waits for the interpreter's lock wakes 200
times a second to ask for it. From about a thousand streams on, with three threads each, asking can take all of a core: then
nothing is answered any more, and it does not end. Whether that happens is a matter of chance, so a trial that gets no answer
in time is given up, with the figures that it has until then and a note under the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.comparison import Comparison
from bench.orders import Worker, cores, worker

NAIVE, OURS, PUBLIC = "naive", "ours", "public API"
DESIGNS = (NAIVE, OURS, PUBLIC)
SUBJECT, LOAD, ECHO = "bench.streams.subject", "bench.streams.load", "bench.streams.echo"
ENVIRONMENT = {PUBLIC: {"GRPC_HEARTBEAT_PUBLIC_API_ONLY": "1"}}
PROMISE = 60.0
"""Seconds within which the load promises the next beat of a stream."""

RATES = (8e3, 12e3, 16e3, 20e3, 25e3, 30e3, 40e3)
SHORTEST = 0.02
"""Seconds between beats of one client, at the least."""

SATURATING = 1_000
"""Clients that beat as fast as they can, at the most: more would not be faster."""

KEEPS_UP = 0.9
"""The share of the beats asked for that must come."""

SETTLING = 1.0

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Section:
    """A side of a stack, with one connection for all streams or one for each."""

    side: str
    stack: str
    apart: bool = False

    def __str__(self) -> str:
        return f"streams {self.side} {self.stack}" + (", a connection each" if self.apart else "")


SECTIONS = tuple(
    Section(side, stack, apart) for apart in (False, True) for side in ("server", "client") for stack in ("sync", "aio")
)


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Args:
        streams: Held at a time.
        threaded: Held at a time by designs that need threads for each.
        apart: Held at a time where each has a connection of its own, if not limited by ``threaded``.
        rate: Beats a second over all streams, when paced.
        seconds: Length of each measurement.
        patience: Seconds after which a process that does not answer is given up, beside the length of a measurement.
    """

    streams: int = 10_000
    threaded: int = 250
    apart: int = 500
    rate: float = 1_000.0
    seconds: float = 10.0
    patience: float = 60.0

    def of(self, section: Section, design: str) -> int:
        """Return how many streams are held."""
        held = self.apart if section.apart else self.streams
        return min(held, self.threaded) if section.stack == "sync" and design != OURS else held


QUICK = Effort(streams=60, threaded=40, apart=10, rate=200.0, seconds=0.5)

PROMISED: dict[tuple[str, str, str], dict[str, float]] = {
    ("server", "sync", "CPU per beat, saturated"): {OURS: 35},
    ("client", "sync", "CPU per beat, saturated"): {OURS: 38},
    ("server", "aio", "CPU per beat, saturated"): {OURS: 45, PUBLIC: 80},
    ("client", "aio", "CPU per beat, saturated"): {OURS: 45, PUBLIC: 80},
    ("server", "sync", "CPU per beat, paced"): {OURS: 50},
    ("server", "aio", "CPU per beat, paced"): {OURS: 60, PUBLIC: 100},
    ("server", "sync", "memory per stream"): {OURS: 21},
    ("server", "aio", "memory per stream"): {OURS: 24},
}
"""For 10,000 streams on one connection, and 1,000 beats a second."""

UNITS = {
    "streams": "",
    "CPU per beat, saturated": "µs",
    "beats a second, saturated": "",
    "CPU per beat, paced": "µs",
    "memory per stream": "KB",
    "threads": "",
    "tasks": "",
    "wake-ups per beat, paced": "",
    "collections a minute": "",
    "longest collection": "ms",
    "collections, in all a minute": "ms",
    "garbage a second": "KB",
    "late, p50": "ms",
    "late, p99": "ms",
}


def run_section(section: Section, effort: Effort, after_design: Callable[[], None]) -> list[Comparison]:
    """Measure all designs of a section."""
    found: dict[str, Figures] = {design: {} for design in DESIGNS}
    notes: list[str] = []
    for design, figures in found.items():
        trial = _serve if section.side == "server" else _beat
        try:
            trial(section, design, effort, figures)
        except RuntimeError as error:  # it did not answer, or has ended because its peer did not
            notes.append(f"{design} was given up: {error}")
        after_design()
    return [_comparison(section, name, found, notes) for name in UNITS]


def _comparison(section: Section, name: str, found: dict[str, Figures], notes: list[str]) -> Comparison:
    values = {design: figures.get(name) for design, figures in found.items()}
    promised = {} if section.apart else PROMISED.get((section.side, section.stack, name), {})
    ratio = None if name in ("streams", "beats a second, saturated") else (NAIVE, OURS)
    return Comparison(str(section), name, UNITS[name], values, ratio, promised, notes)


def _serve(section: Section, design: str, effort: Effort, figures: Figures) -> None:
    """Try a server. Figures are added as they are found."""
    streams = effort.of(section, design)
    with ExitStack() as stack:
        here, there = cores()
        process = partial(worker, patience=effort.seconds + effort.patience)
        environment = ENVIRONMENT.get(design, {})
        subject = stack.enter_context(
            process(SUBJECT, "server", section.stack, _kind(design), streams, core=here, environment=environment)
        )
        load = stack.enter_context(process(LOAD, f"127.0.0.1:{subject.first['port']}", PROMISE, core=there))
        load.ask("open", 1, 1)
        figures["streams"] = streams
        figures |= _held(subject, streams, lambda: load.ask("open", streams, streams if section.apart else 1))
        load.ask("saturate", effort.seconds / 10)
        subject.ask("mark")
        beats = load.ask("saturate", effort.seconds)
        figures |= _saturated(subject.ask("mark"), beats)
        load.ask("pace", effort.rate, effort.seconds / 10)
        subject.ask("mark")
        beats = load.ask("pace", effort.rate, effort.seconds)
        figures |= _paced(subject.ask("mark"), beats, beats["delays"])
        subject.ask("hoard")
        beats = load.ask("pace", effort.rate, effort.seconds / 2)
        figures |= _garbage(subject.ask("garbage"), beats)


def _beat(section: Section, design: str, effort: Effort, figures: Figures) -> None:
    """Try clients. Figures are added as they are found."""
    streams = effort.of(section, design)
    _beat_paced(section, design, streams, effort, figures)
    if section.apart:
        return
    held = min(streams, SATURATING)
    if design == NAIVE:
        figures |= _beat_saturated(section, design, held, 0.0, effort)
        return
    best: Figures = {}
    for rate in [rate for rate in RATES if rate <= held / SHORTEST] or [held / SHORTEST]:
        found = _beat_saturated(section, design, held, held / rate, effort)
        kept_up = (found["beats a second, saturated"] or 0) >= KEEPS_UP * rate
        best = found if kept_up or not best else best
        if not kept_up:
            break
    figures |= best


def _beat_paced(section: Section, design: str, streams: int, effort: Effort, figures: Figures) -> None:
    interval = streams / effort.rate
    with ExitStack() as stack:
        subject, echo = _clients(stack, section, design, interval, effort)
        subject.ask("hold", 1, interval, 1)
        channels = streams if section.apart else 1
        figures["streams"] = streams
        figures |= _held(subject, streams, lambda: subject.ask("hold", streams, interval, channels))
        time.sleep(max(interval, effort.seconds / 10))  # until each has beaten in its turn
        subject.ask("mark")
        echo.ask("mark")
        time.sleep(max(effort.seconds, 2.5 * interval))
        beats = echo.ask("mark")
        figures |= _paced(subject.ask("mark"), beats, beats["late"])
        subject.ask("hoard")
        echo.ask("mark")
        time.sleep(effort.seconds / 2)
        figures |= _garbage(subject.ask("garbage"), echo.ask("mark"))


def _beat_saturated(section: Section, design: str, streams: int, interval: float, effort: Effort) -> Figures:
    with ExitStack() as stack:
        subject, echo = _clients(stack, section, design, interval, effort)
        subject.ask("hold", streams, interval, streams if section.apart else 1)
        time.sleep(effort.seconds / 10)
        subject.ask("mark")
        echo.ask("mark")
        time.sleep(effort.seconds / 2)
        beats = echo.ask("mark")
        return _saturated(subject.ask("mark"), beats)


def _clients(stack: ExitStack, section: Section, design: str, interval: float, effort: Effort) -> tuple[Worker, Worker]:
    here, there = cores()
    process = partial(worker, patience=effort.seconds + effort.patience)
    echo = stack.enter_context(process(ECHO, interval, core=there))
    target, environment = f"127.0.0.1:{echo.first['port']}", ENVIRONMENT.get(design, {})
    subject = stack.enter_context(
        process(SUBJECT, "client", section.stack, _kind(design), target, core=here, environment=environment)
    )
    return subject, echo


def _kind(design: str) -> str:
    return NAIVE if design == NAIVE else OURS


def _held(subject: Worker, streams: int, open_them: Callable[[], Any]) -> Figures:
    """Return what the streams take that are opened between two looks at the memory."""
    before = subject.ask("settle")["kilobytes"]
    open_them()
    time.sleep(SETTLING)
    after = subject.ask("settle")["kilobytes"]
    marked = subject.ask("mark")
    return {
        "memory per stream": (after - before) / streams,
        "threads": marked["kernel_threads"],
        "tasks": marked["tasks"],
    }


def _saturated(marked: dict[str, Any], beats: dict[str, Any]) -> Figures:
    return {
        "CPU per beat, saturated": _each(marked["cpu"] * 1e6, beats["beats"]),
        "beats a second, saturated": round(beats["beats"] / beats["seconds"]),
    }


def _paced(marked: dict[str, Any], beats: dict[str, Any], late: dict[str, float]) -> Figures:
    minutes = beats["seconds"] / 60
    return {
        "CPU per beat, paced": _each(marked["cpu"] * 1e6, beats["beats"]),
        "wake-ups per beat, paced": _each(marked["wakeups"], beats["beats"]),
        "collections a minute": marked["gc_runs"] / minutes,
        "longest collection": marked["gc_longest"],
        "collections, in all a minute": marked["gc_paused"] / minutes,
        "late, p50": late.get("p50"),
        "late, p99": late.get("p99"),
    }


def _garbage(found: dict[str, Any], beats: dict[str, Any]) -> Figures:
    return {"garbage a second": found["garbage"] / 1024 / beats["seconds"]}


def _each(total: float, count: int) -> float | None:
    return total / count if count else None

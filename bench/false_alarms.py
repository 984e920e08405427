"""Counts false alarms: heartbeats of 200 ms, three misses, while everybody is busy, stalled or collecting garbage, and alive.

Servers of both stacks, clients of both stacks to each, and one trouble after the other for some minutes each. Nobody dies, so
every conviction is a false alarm, unless a server itself found that it stood still for almost as long as silence convicts: a
machine that is shared with others does that. Busy threads inside the servers must be seen, too: as OVERLOADED.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import comparison, report
from bench.comparison import Comparison
from bench.detection.clients import POLICY
from bench.orders import Worker, worker

RESULTS = Path(__file__).parent / "results" / "false_alarms.json"
EACH = 5
"""Heartbeats of each client stack to each server."""

BUSY = 4
PAUSE, EVERY = 0.15, 1.0
"""Seconds of a stall or collection, and between them."""

EXPLAINS = POLICY.misses * POLICY.interval - POLICY.interval
"""Seconds of standstill that explain a conviction: with the interval on top, silence convicts."""

VERDICTS = ("LATE", "OVERLOADED", "STUCK", "DOWN")
BURNING = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end: sum(n * n for n in range(20000))"


@dataclass
class Scene:
    """Everybody who takes part."""

    servers: list[Worker]
    watcher: Worker
    cleanup: ExitStack

    def busy_processes(self, seconds: float) -> None:
        for _ in range(BUSY):
            process = subprocess.Popen([sys.executable, "-c", BURNING.format(seconds)])
            self.cleanup.callback(process.wait)
            self.cleanup.callback(process.kill)

    def troubled_servers(self, seconds: float) -> None:
        for server in self.servers:
            server.ask("stall", PAUSE, EVERY, seconds)
            server.ask("collect", EVERY, seconds)

    def troubled_clients(self, seconds: float) -> None:
        self.watcher.ask("stall", PAUSE, EVERY, seconds)
        self.watcher.ask("collect", EVERY, seconds)

    def busy_threads(self, seconds: float) -> None:
        for server in self.servers:
            server.ask("burn", seconds, BUSY)


TROUBLES: dict[str, Callable[[Scene, float], None]] = {
    f"{BUSY} busy processes": Scene.busy_processes,
    f"stalls and collections of {PAUSE * 1e3:g} ms in the servers": Scene.troubled_servers,
    f"stalls and collections of {PAUSE * 1e3:g} ms in the clients": Scene.troubled_clients,
    f"{BUSY} busy threads in each server": Scene.busy_threads,
}
OVERLOADED = list(TROUBLES)[-1]


def count(trouble: str, seconds: float) -> dict[str, float]:
    """Make trouble for so many seconds.

    Returns:
        Beats ``echoed`` and ``missed``, how often which verdict was reached, and the longest ``standstill`` of a server in ms.
    """
    with ExitStack() as cleanup:
        servers = [cleanup.enter_context(worker("bench.detection.node", stack, 0)) for stack in ("sync", "aio")]
        targets = [f"127.0.0.1:{server.first['port']}" for server in servers]
        watcher = cleanup.enter_context(worker("bench.detection.watcher", EACH, *targets))
        if TROUBLES[trouble] in (Scene.troubled_servers, Scene.troubled_clients):
            for troubled in servers if TROUBLES[trouble] is Scene.troubled_servers else [watcher]:
                troubled.ask("fatten", PAUSE)
        standstills(servers)
        watcher.ask("report")
        TROUBLES[trouble](Scene(servers, watcher, cleanup), seconds)
        time.sleep(seconds)
        told: dict[str, float] = watcher.ask("report")
        return {**told, "standstill": max(standstills(servers)) * 1e3}


def standstills(servers: list[Worker]) -> list[float]:
    """Return for how long each server stood still at the most since it was asked last."""
    return [server.ask("standstill")["longest"] for server in servers]


def false_alarms(told: dict[str, float]) -> float:
    """Return how many convictions no standstill of a server explains."""
    convictions = told.get("STUCK", 0) + told.get("DOWN", 0)
    return 0 if told["standstill"] > EXPLAINS * 1e3 else convictions


def compare(found: dict[str, dict[str, float]]) -> list[Comparison]:
    """Return what was counted as lines to print."""
    lines: list[Comparison] = []
    for trouble, told in found.items():
        figures = {"beats echoed": told.get("echoed", 0), "beats missed": told.get("missed", 0)}
        figures |= {verdict: told.get(verdict, 0) for verdict in VERDICTS}
        figures |= {"longest standstill of a server, ms": told["standstill"], "false alarms": false_alarms(told)}
        for name, value in figures.items():
            most = {"count": 0.0} if name == "false alarms" else {}
            lines.append(Comparison(trouble, name, "", {"count": value}, None, most))
    return lines


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.false_alarms", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of each trouble (%(default)g)")
    parser.add_argument("--only", default="", metavar="TEXT", help=f"only: {', '.join(TROUBLES)}")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the results go (%(default)s)")
    arguments = parser.parse_args(argv)
    chosen = [trouble for trouble in TROUBLES if arguments.only in trouble]
    if not chosen or arguments.minutes <= 0:
        parser.error(f"--minutes must be more than 0, and --only part of: {', '.join(TROUBLES)}")
    progress = report.Progress(len(chosen))
    told: dict[str, dict[str, float]] = {}
    for trouble in chosen:
        progress.section(trouble)
        told[trouble] = count(trouble, arguments.minutes * 60)
        progress.step()
    progress.close()
    found = compare(told)
    settings = {"minutes": arguments.minutes, "heartbeats": 4 * EACH}
    comparison.write_json(arguments.json, found, environment=report.environment(), settings=settings)
    print(comparison.plain(found))
    alarms = sum(map(false_alarms, told.values()))
    unseen = OVERLOADED in told and not told[OVERLOADED].get("OVERLOADED")
    print(f"\n{alarms:.0f} false alarms" + ("; busy threads were not seen" if unseen else ""))
    return 1 if alarms or unseen else 0


if __name__ == "__main__":
    sys.exit(main())

"""Counts false alarms: heartbeats of 200 ms, three misses, while everybody is busy, stalled or collecting garbage, and alive.

Servers of both stacks, clients of both stacks to each, and one trouble after the other for some minutes each. Nobody dies, so
every conviction is a false alarm, unless a server itself found that it stood still for almost as long as silence convicts: a
machine that is shared with others does that. Busy threads inside the servers, one server at a time, must be seen, too: as
OVERLOADED. They need a core; where they did not get it, the machine was what was overloaded, and nothing is proved. Beside
them a server gets the interpreter some fifty times a second, and a beat takes it twice: so they have fewer heartbeats.
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

EACH_BUSY = 1
"""The same, while threads in the server are busy: ten beats a second in all, of the twenty-five that can be answered."""

BUSY = 4
PAUSE, EVERY = 0.15, 1.0
"""Seconds of a stall or collection, and between them."""

EXPLAINS = POLICY.misses * POLICY.interval - POLICY.interval
"""Seconds of standstill that explain a conviction: with the interval on top, silence convicts."""

NEEDED = 0.8
"""Cores that busy threads of one process use, if nobody takes them away."""

VERDICTS = ("LATE", "OVERLOADED", "STUCK", "DOWN")
BURNING = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end: sum(n * n for n in range(20000))"


@dataclass
class Scene:
    """Everybody who takes part."""

    servers: list[Worker]
    watcher: Worker
    cleanup: ExitStack
    standstill: float = 0.0
    """Longest of a server, in seconds."""

    starved: bool = False
    """Whether a server's busy threads did not get the core that they need."""

    def busy_processes(self, seconds: float) -> None:
        for _ in range(BUSY):
            process = subprocess.Popen([sys.executable, "-c", BURNING.format(seconds)])
            self.cleanup.callback(process.wait)
            self.cleanup.callback(process.kill)
        time.sleep(seconds)

    def troubled_servers(self, seconds: float) -> None:
        self._trouble(self.servers, seconds)

    def troubled_clients(self, seconds: float) -> None:
        self._trouble([self.watcher], seconds)

    def _trouble(self, whom: list[Worker], seconds: float) -> None:
        for one in whom:
            one.ask("stall", PAUSE, EVERY, seconds)
            one.ask("collect", EVERY, seconds)
        time.sleep(seconds)

    def busy_threads(self, seconds: float) -> None:
        for server in self.servers:
            self.look(server)
            server.ask("burn", seconds / len(self.servers), BUSY)
            time.sleep(seconds / len(self.servers))
            self.starved |= self.look(server) < NEEDED

    def look(self, server: Worker) -> float:
        """Ask how a server ran since it was asked last; return how many cores it had."""
        ran = server.ask("standstill")
        self.standstill = max(self.standstill, ran["longest"])
        return float(ran["cores"])


TROUBLES: dict[str, Callable[[Scene, float], None]] = {
    f"{BUSY} busy processes": Scene.busy_processes,
    f"stalls and collections of {PAUSE * 1e3:g} ms in the servers": Scene.troubled_servers,
    f"stalls and collections of {PAUSE * 1e3:g} ms in the clients": Scene.troubled_clients,
    f"{BUSY} busy threads in a server": Scene.busy_threads,
}
OVERLOADED = list(TROUBLES)[-1]


def count(trouble: str, seconds: float) -> dict[str, float]:
    """Make trouble for so many seconds.

    Returns:
        Beats ``echoed`` and ``missed``, how often which verdict was reached, the longest ``standstill`` of a server in ms, and
        whether one was ``starved``.
    """
    with ExitStack() as cleanup:
        servers = [cleanup.enter_context(worker("bench.detection.node", stack, 0)) for stack in ("sync", "aio")]
        targets = [f"127.0.0.1:{server.first['port']}" for server in servers]
        watcher = cleanup.enter_context(worker("bench.detection.watcher", _each(trouble), *targets))
        if TROUBLES[trouble] in (Scene.troubled_servers, Scene.troubled_clients):
            for troubled in servers if TROUBLES[trouble] is Scene.troubled_servers else [watcher]:
                troubled.ask("fatten", PAUSE)
        scene = Scene(servers, watcher, cleanup)
        for server in servers:
            scene.look(server)
        scene.standstill = 0.0
        watcher.ask("report")
        TROUBLES[trouble](scene, seconds)
        told: dict[str, float] = watcher.ask("report")
        for server in servers:
            scene.look(server)
        return {**told, "standstill": scene.standstill * 1e3, "starved": float(scene.starved)}


def _each(trouble: str) -> int:
    return EACH_BUSY if trouble == OVERLOADED else EACH


def false_alarms(told: dict[str, float]) -> float:
    """Return how many convictions no standstill of a server explains, nor a machine that had no core for it."""
    convictions = told.get("STUCK", 0) + told.get("DOWN", 0)
    return 0 if told["standstill"] > EXPLAINS * 1e3 or told["starved"] else convictions


def compare(found: dict[str, dict[str, float]]) -> list[Comparison]:
    """Return what was counted as lines to print."""
    lines: list[Comparison] = []
    for trouble, told in found.items():
        figures = {"beats echoed": told.get("echoed", 0), "beats missed": told.get("missed", 0)}
        figures |= {verdict: told.get(verdict, 0) for verdict in VERDICTS}
        figures |= {"longest standstill of a server, ms": told["standstill"], "a server was starved": told["starved"]}
        figures |= {"false alarms": false_alarms(told)}
        for name, value in figures.items():
            most = {"count": 0.0} if name == "false alarms" else {}
            lines.append(Comparison(trouble, name, "", {"count": value}, None, most))
    return lines


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.false_alarms", description=__doc__)
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
    settings = {"minutes": arguments.minutes, "heartbeats": {trouble: 4 * _each(trouble) for trouble in chosen}}
    comparison.write_json(arguments.json, found, environment=report.environment(), settings=settings)
    print(comparison.plain(found))
    alarms = sum(map(false_alarms, told.values()))
    busy = told.get(OVERLOADED)
    unseen = busy is not None and not busy.get("OVERLOADED") and not busy["starved"]
    print(f"\n{alarms:.0f} false alarms" + ("; busy threads were not seen" if unseen else ""))
    return 1 if alarms or unseen else 0


if __name__ == "__main__":
    sys.exit(main())

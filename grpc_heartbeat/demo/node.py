"""One process of the demo: ``python -m grpc_heartbeat.demo.node SERVICE``.

It reads the director's commands from its standard input, one JSON object per line, and answers each on its standard output. The
end of its input means that the director is gone or wants it gone: it ends at once.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from grpc_heartbeat.demo import metrics
from grpc_heartbeat.demo.beats import figures
from grpc_heartbeat.demo.hop_aio import AioHop
from grpc_heartbeat.demo.hop_client import ClientHop
from grpc_heartbeat.demo.hop_sync import SyncHop
from grpc_heartbeat.demo.hops import Hop
from grpc_heartbeat.demo.say import own_stdout, say
from grpc_heartbeat.demo.topology import CLIENT, PLACES, Place
from grpc_heartbeat.demo.tracing import Tracing

_PR_SET_PDEATHSIG = 1


def main(service: str) -> None:
    """Run the process of ``service`` until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the director decides
    _die_with_parent()
    own_stdout()
    place = PLACES[service]
    tracing = Tracing(place.identity())
    metrics.serve(place)
    commands = _commands(_hop(place), tracing)
    say("ready")
    for line in sys.stdin:
        request = json.loads(line)
        answer = commands[request["command"]](**request["arguments"])
        say("done", number=request["number"], **(answer or {}))
    os._exit(0)


def _hop(place: Place) -> Hop:
    if place is CLIENT:
        return ClientHop(place)
    return AioHop(place) if place.stack == "asyncio" else SyncHop(place)


def _commands(hop: Hop, tracing: Tracing) -> dict[str, Callable[..., dict[str, Any] | None]]:
    commands: dict[str, Callable[..., dict[str, Any] | None]] = {
        "start": lambda target: {"port": hop.start(target)},
        "beats": lambda: figures(hop.heartbeat),
        "leave": hop.leave,
        "stop": hop.stop,
        "flush": tracing.flush,
    }
    if isinstance(hop, ClientHop):
        commands |= {"send": hop.send, "begin": hop.begin, "cancel": hop.cancel}
    return commands


def _die_with_parent() -> None:
    """On Linux, have the kernel kill this process with its parent: a frozen process cannot see its input end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])

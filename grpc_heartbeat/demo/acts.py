"""The four acts. Each has the processes do something, waits for what it leads to, and returns the facts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from time import monotonic, sleep

from grpc_heartbeat.demo.children import PATIENCE, Child, Report
from grpc_heartbeat.demo.facts import Cancel, Ending, Flow, Freeze, Link, StateChange, Traces
from grpc_heartbeat.demo.receiver import Receiver
from grpc_heartbeat.demo.screen import Screen
from grpc_heartbeat.demo.topology import BUDGET, CHAIN, LINKS, Place
from grpc_heartbeat.demo.traces import grow

SHORT_BUDGET = 1.5
REQUESTS = 6
REQUEST_GAP = 0.4
WORK = 0.03
LONG_WORK = 30.0
REFRESH = 0.1
START = 30.0
"""Seconds that a process may take to start: a loaded machine reads and compiles slowly."""

SETTLE = 2.0
"""Seconds to wait for something that must follow soon, before it counts as not having happened."""

Cast = Mapping[str, Child]
SERVERS = tuple(place.service for place in CHAIN[1:])


def connect(cast: Cast) -> None:
    """Start the servers, the last first, each with a channel to the one behind it, and wait until every link is up."""
    target = ""
    for place in reversed(CHAIN):
        cast[place.service].expect("ready", patience=START, doing="start")
        target = f"127.0.0.1:{cast[place.service].ask('start', target=target)['port']}"
    for source, _ in LINKS:
        cast[source.service].expect("state", state="up", doing="get its heartbeat up")


def flow(cast: Cast, screen: Screen) -> Flow:
    """Send requests with a budget of 8 s and see what is left of it at each hop."""
    client = cast["client"]
    replies: list[Report] = []
    for number in range(1, REQUESTS + 1):
        screen.now(f"requests flow: {number} of {REQUESTS}")
        replies += _request(client, f"flow-{number}")
        sleep(REQUEST_GAP)
    hops = [(hop["service"], hop["remaining"]) for hop in replies[-1]["hops"]] if replies else []
    return Flow(BUDGET, REQUESTS, len(replies), hops, [_link(cast, source, target) for source, target in LINKS])


def _request(client: Child, order_id: str) -> list[Report]:
    """Send a request that takes a moment; return its answer, or nothing."""
    client.ask("send", order={"id": order_id, "work": WORK}, timeout=None)
    reply = client.find("answered", patience=BUDGET + SETTLE, id=order_id)
    return [] if reply is None else [reply]


def _link(cast: Cast, source: Place, target: Place) -> Link:
    beats = cast[source.service].ask("beats")["beats"]
    rtt = beats["rtt"] or {}
    return Link(source.service, target.service, beats["acked"], beats["missed"], rtt.get("min"), rtt.get("avg"))


def cancel(cast: Cast, screen: Screen) -> Cancel:
    """Cancel a request that the last hop has begun to work on."""
    screen.now("a slow request is under way")
    client = cast["client"]
    client.ask("begin", order={"id": "slow", "work": LONG_WORK})
    cast["stock"].expect("arrived", id="slow", doing="receive the slow request")
    screen.now("the client cancels it")
    client.ask("cancel", order_id="slow")
    cancelled = client.expect("cancelled", id="slow")["at"]
    return Cancel(_endings(cast, SERVERS, "slow", cancelled))


def _endings(cast: Cast, services: Iterable[str], order_id: str, since: float) -> list[Ending]:
    """Return how the request ended at each service where it did, in the order in which they noticed."""
    found = [(service, cast[service].find("ended", patience=SETTLE, id=order_id)) for service in services]
    endings = [_ending(service, report, report["at"] - since) for service, report in found if report is not None]
    return sorted(endings, key=lambda ending: ending.after)


def _ending(service: str, report: Report, after: float) -> Ending:
    return Ending(service, after, report["how"], report["details"], report["reason"], report["limit"])


def freeze(cast: Cast, screen: Screen, seconds: float) -> Freeze:
    """Freeze the stock service; send it a request with little time; let it go on; see it come back."""
    frozen = cast["stock"].freeze()
    try:
        cast["client"].ask("send", order={"id": "short", "work": WORK}, timeout=SHORT_BUDGET)
        sent = monotonic()
        _watch_frozen(cast["orders"], screen, frozen, seconds)
        endings = [*_client_ending(cast["client"]), *_endings(cast, ("gateway", "orders"), "short", sent)]
    finally:
        thawed = cast["stock"].thaw()
    screen.now("stock runs again")
    up = cast["orders"].find("state", patience=PATIENCE, since=thawed, state="up")
    again = _request(cast["client"], "again")
    return Freeze(
        lasted=thawed - frozen,
        budget=SHORT_BUDGET,
        endings=endings,
        states=_states(cast["orders"], frozen, thawed),
        misses=sum(report["at"] < thawed for report in cast["orders"].reports("missed", since=frozen)),
        up_after_thaw=None if up is None else up["at"] - thawed,
        request_after_thaw=again[0]["elapsed"] if again else None,
    )


def _watch_frozen(orders: Child, screen: Screen, frozen: float, seconds: float) -> None:
    while (passed := monotonic() - frozen) < seconds:
        states = orders.reports("state")
        misses = len(orders.reports("missed", since=frozen))
        screen.now(f"stock frozen for {passed:.1f} s: orders → stock {states[-1]['state']}, {misses} beats missed")
        sleep(REFRESH)


def _client_ending(client: Child) -> list[Ending]:
    failed = client.find("failed", patience=SETTLE, id="short")
    return [] if failed is None else [_ending("client", failed, failed["elapsed"])]


def _states(orders: Child, frozen: float, thawed: float) -> list[StateChange]:
    """Return the changes while stock was frozen, and those to the first "up" after it."""
    changes = orders.reports("state", since=frozen)
    until_up = itertools.takewhile(lambda change: change["at"] < thawed or change["state"] != "up", changes)
    up = [change for change in changes if change["at"] >= thawed and change["state"] == "up"][:1]
    return [
        StateChange(change["state"], change["at"] - frozen, change["misses"], change["error"])
        for change in (*until_up, *up)
    ]


def collect(cast: Cast, screen: Screen, receiver: Receiver | None, endpoint: str) -> Traces:
    """Have every process end its streams, so that every span ends, and export; then put the traces together."""
    screen.now("the spans are exported")
    for command in ("leave", "stop"):
        for place in CHAIN:
            cast[place.service].ask(command)
    counts = [cast[place.service].ask("flush") for place in CHAIN]
    spans = receiver.spans() if receiver is not None else []
    return Traces(
        ended=sum(count["ended"] for count in counts),
        delivered=sum(count["delivered"] for count in counts),
        received=len(spans),
        traces=grow(spans),
        endpoint=endpoint,
    )

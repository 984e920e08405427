"""Shows each act's facts: small tables, and traces as trees. At most ``WIDTH`` columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from grpc_heartbeat.demo.facts import Cancel, Check, Ending, Facts, Flow, Freeze, Traces
from grpc_heartbeat.demo.screen import Part, Screen
from grpc_heartbeat.demo.topology import CLIENT, ORDERS, PLACES, STOCK
from grpc_heartbeat.demo.traces import Branch, SpanRecord, Trace, answered, missed

_INDENT = "  "

WIDTH = 100
"""Columns."""


def table(screen: Screen, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Show rows in columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    screen.line(_INDENT, (_row(titles, widths), "dim"))
    for row in rows:
        screen.line(_INDENT, _row(row, widths))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def checks(screen: Screen, found: Sequence[Check]) -> None:
    """Show what was expected and whether it came true."""
    for check in found:
        screen.line(_INDENT, ("✓ ", "good") if check.ok else ("✗ ", "bad"), check.text)


def flow(screen: Screen, facts: Flow) -> None:
    """Show the budget at each hop and the beats on each link."""
    client = [("client", CLIENT.zone, "sync", f"{facts.budget:.4f} s", "its channel's policy")]
    rows = client + [
        (name, PLACES[name].zone, PLACES[name].stack, _seconds(left), "inherited") for name, left in facts.hops
    ]
    table(screen, ("hop", "zone", "stack", "left on arrival", "deadline"), rows)
    screen.line()
    table(
        screen,
        ("beats on", "answered", "missed", "RTT min", "RTT avg"),
        [
            (
                f"{link.source} → {link.target}",
                str(link.acked),
                str(link.missed),
                _millis(link.rtt_min),
                _millis(link.rtt_avg),
            )
            for link in facts.links
        ],
    )


def cancel(screen: Screen, facts: Cancel) -> None:
    """Show when each hop noticed."""
    rows = [(end.service, f"+{end.after * 1000:.1f} ms", _how(end)) for end in facts.endings]
    table(screen, ("hop", "noticed after", "how"), rows)


def freeze(screen: Screen, facts: Freeze) -> None:
    """Show which deadlines fired, and the heartbeat's way down and up."""
    screen.line(_INDENT, f"A request with a budget of {facts.budget:g} s, sent while stock was frozen, ended:")
    rows = [(end.service, f"+{end.after:.3f} s", _how(end), _limit(end)) for end in facts.endings]
    table(screen, ("hop", "after", "how", "the limit that ended it"), rows)
    for end in facts.endings:
        if end.service == ORDERS.service:
            for line in textwrap.wrap(f"{end.service}: “{end.details}”", WIDTH - len(_INDENT)):
                screen.line(_INDENT, (line, "dim"))
    screen.line()
    screen.line(_INDENT, f"The heartbeat orders → stock, from the freeze on ({facts.misses} beats missed):")
    table(screen, ("after", "state", "because"), [row[1:] for row in sorted(_course(facts))])


def _course(facts: Freeze) -> Iterator[tuple[float, str, str, str]]:
    """Yield what happened to the heartbeat: the instant to sort by, and the cells of its row."""
    up = facts.up_after_thaw
    back = "" if up is None else f" {up * 1000:.0f} ms after SIGCONT"
    because = {"late": "first beat missed", "up": f"a beat was echoed,{back}"}
    for change in facts.states:
        yield change.after, f"+{change.after:.3f} s", change.state, because.get(change.state, change.why)
    yield facts.lasted, f"+{facts.lasted:.3f} s", "", "SIGCONT: stock runs again"


def traces(screen: Screen, facts: Traces) -> None:
    """Show a request's trace, that of the one that met the frozen service, and those of some beats."""
    if facts.endpoint:
        _elsewhere(screen, facts)
        return
    for title, trace in _chosen(facts.traces):
        screen.line(_INDENT, (title, "dim"))
        for branch in (*trace.roots, *trace.orphans):
            _tree(screen, branch)
    beats = facts.beats
    screen.line()
    screen.line(
        _INDENT,
        f"{facts.received} spans received over OTLP/gRPC in {len(facts.traces)} traces; {len(beats)} of them heartbeats, ",
        f"{sum(map(missed, beats))} missed; orphans: {facts.orphans}",
    )


def _elsewhere(screen: Screen, facts: Traces) -> None:
    screen.line(_INDENT, f"{facts.delivered} spans were sent to ", (facts.endpoint, "name"))
    if facts.delivered < facts.ended:
        screen.line(_INDENT, "That is not all of them: is a collector listening there?")
        return
    screen.line(_INDENT, "In Jaeger's page (usually port 16686 of the same host) choose a service:")
    screen.line(
        _INDENT, ", ".join(PLACES), " for requests; operation ", ("…Keepalive beat", "name"), " for heartbeats."
    )


def _chosen(traces: Sequence[Trace]) -> Iterator[tuple[str, Trace]]:
    """Choose what to show: the first of each sort."""
    requests = [
        trace for trace in traces if trace.root.service == CLIENT.service and trace.root.name.startswith("/shop.")
    ]
    beats = [trace for trace in traces if trace.beat]
    yield from _first("a request", [trace for trace in requests if not trace.root.failed])
    hung = [trace for trace in requests if STOCK.service not in {span.service for span in trace.spans()}]
    yield from _first("the request that met the frozen service", hung)
    for service in (CLIENT.service, ORDERS.service):
        own = [trace for trace in beats if trace.root.service == service and answered(trace)]
        yield from _first(f"a beat of {service}", own)
    frozen = [trace for trace in beats if trace.root.service == ORDERS.service and missed(trace)]
    yield from _first(f"a beat that {STOCK.service} did not answer", frozen)


def _first(title: str, traces: Sequence[Trace]) -> Iterator[tuple[str, Trace]]:
    if traces:
        yield title, traces[0]


def _tree(screen: Screen, branch: Branch, above: SpanRecord | None = None, guides: str = "", last: bool = True) -> None:
    own = ("└─ " if last else "├─ ") if above else ""
    screen.line(_INDENT, (guides + own, "dim"), *_label(branch.span), (_later(branch.span, above), "dim"))
    below = guides + (("   " if last else "│  ") if above else "")
    for number, twig in enumerate(branch.children, 1):
        _tree(screen, twig, branch.span, below, number == len(branch.children))


def _later(span: SpanRecord, above: SpanRecord | None) -> str:
    """Say so when a span began after the one that caused it was over."""
    late = above is not None and span.start > above.end
    return f"  began {(span.start - above.start) / 1e9:.1f} s later" if above is not None and late else ""


def _label(span: SpanRecord) -> Iterator[Part]:
    what = span.name.rpartition(".")[2].removeprefix("Heartbeat/Keepalive ")
    sequence = span.attributes.get("heartbeat.sequence")
    yield f"{what} {sequence}" if sequence else what
    yield (f"  {span.kind}  ".ljust(10), "dim")
    yield (f"{span.service} ", "name")
    yield f"({span.zone})"
    yield f"  {span.millis:.1f} ms"
    if "upstream.zone" in span.attributes:
        yield (f"  upstream.zone={span.attributes['upstream.zone']}", "dim")
    if span.failed:
        yield (f"  ✗ {span.attributes.get('error.type', 'error')}", "bad")


def _limit(end: Ending) -> str:
    if end.limit is None:
        return "—"
    seconds = "" if end.limit["limit"] is None else f" {end.limit['limit']:.3f} s"
    return f"{end.limit['layer']}{seconds}, {end.limit['source']}"


def _how(end: Ending) -> str:
    return f"{end.how} ({end.reason})" if end.reason else end.how


def _seconds(value: float | None) -> str:
    return "—" if value is None else f"{value:.4f} s"


def _millis(value: float | None) -> str:
    return "—" if value is None else f"{value * 1000:.2f} ms"


def verdict(screen: Screen, facts: Facts) -> None:
    """Show how it went."""
    failed = sum(not check.ok for check in facts.checks)
    screen.line()
    if facts.ok:
        screen.line((f"All {len(facts.checks)} checks passed", "good"), f" in {facts.seconds:.1f} s.")
    else:
        screen.line((f"{failed} of {len(facts.checks)} checks failed", "bad"), f" in {facts.seconds:.1f} s.")

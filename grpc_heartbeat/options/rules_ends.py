"""Rules about the options of one end together: keepalive that is off or half set, ages, back-off, sizes of metadata."""

from __future__ import annotations

from collections.abc import Iterator

from grpc_heartbeat.options.detection import NEVER, say
from grpc_heartbeat.options.findings import Finding, Options
from grpc_heartbeat.options.settings import (
    MAX_PINGS,
    MAX_STRIKES,
    PERMIT,
    PING_TIMEOUT,
    THROTTLED_PACE,
    TIME,
    TIMEOUT,
    Keepalive,
    client_keepalive,
    seconds,
    server_keepalive,
    whole,
)

TOO_SLOW = 600.0
"""Seconds above which a lost peer that nothing else notices is called a mistake."""

AGE = "grpc.max_connection_age_ms"
GRACE = "grpc.max_connection_age_grace_ms"
MIN_BACKOFF = "grpc.min_reconnect_backoff_ms"
MAX_BACKOFF = "grpc.max_reconnect_backoff_ms"
FIRST_BACKOFF = "grpc.initial_reconnect_backoff_ms"
SOFT_METADATA = "grpc.max_metadata_size"
HARD_METADATA = "grpc.absolute_max_metadata_size"


def client_findings(client: Options) -> Iterator[Finding]:
    """Check the options of a channel by themselves."""
    keepalive = client_keepalive(client.values)
    if not keepalive.on:
        yield from _off(client)
    else:
        yield from _half_set(client, keepalive)
        if keepalive.max_pings and keepalive.pace < THROTTLED_PACE:
            message = (
                f"after {keepalive.max_pings} PINGs without data the client falls back from one every "
                f"{say(keepalive.pace)} to one a minute"
            )
            yield client.find("warning", "pings-throttled", MAX_PINGS, message, f"Set {MAX_PINGS} to 0")
        idle = seconds(client.values, "grpc.client_idle_timeout_ms", 1800.0)
        if keepalive.permit and idle <= keepalive.time:
            message = f"without calls the connection is dropped after {say(idle)}, before any PING"
            advice = f"PING sooner, or leave {PERMIT} out"
            yield client.find("note", "idle-before-ping", "grpc.client_idle_timeout_ms", message, advice)
    yield from _backoff(client)
    yield from _metadata(client)


def server_findings(server: Options) -> Iterator[Finding]:
    """Check the options of a server by themselves."""
    keepalive = server_keepalive(server.values)
    if TIME in server.values:
        yield from _half_set(server, keepalive)
    elif server.given:
        noticed = keepalive.time + min(keepalive.timeout, keepalive.ping_timeout)
        message = f"a client that vanishes while its call is quiet is noticed after {say(noticed)}"
        yield server.find("note", "slow-server", "", message, f"Set {TIME} and {PING_TIMEOUT}")
    if whole(server.values, MAX_STRIKES) == 0:
        message = "any number of PINGs is put up with, hostile ones included"
        yield server.find("note", "no-enforcement", MAX_STRIKES, message, "Fine within one's own network")
    age, grace = whole(server.values, AGE), whole(server.values, GRACE)
    if age is not None and grace is None:
        message = "calls may go on for ever on a connection that reached its age, so a held stream never moves"
        yield server.find("warning", "age-without-grace", AGE, message, f"Set {GRACE}")
    if grace is not None and age is None:
        yield server.find("warning", "grace-without-age", GRACE, f"without {AGE} it has no effect", f"Set {AGE}")
    yield from _metadata(server)


def _off(client: Options) -> Iterator[Finding]:
    tuned = [name for name in (TIMEOUT, PING_TIMEOUT, PERMIT, MAX_PINGS) if client.values.get(name)]
    if tuned:
        cause = "is set to never" if TIME in client.values else "is not set, and a client's default is never"
        message = f"{TIME} {cause}: no PING is ever sent, and {', '.join(tuned)} changes nothing"
        yield client.find("error", "keepalive-off", tuned[0], message, f"Set {TIME}")


def _half_set(end: Options, keepalive: Keepalive) -> Iterator[Finding]:
    waiting = keepalive.slowest if end.end == "client" else keepalive.time
    if keepalive.ping_timeout == NEVER and keepalive.on:
        message = "an endless time-out switches the PING's own timer off: a frozen peer is never noticed"
        option = TIMEOUT if whole(end.values, TIMEOUT) is not None else PING_TIMEOUT
        yield end.find("error", "frozen-peer", option, message, f"Set {TIMEOUT} and {PING_TIMEOUT} to seconds")
    elif keepalive.on and whole(end.values, PING_TIMEOUT) is None:
        message = (
            f"{PING_TIMEOUT} is missing, so a peer that is frozen while its kernel still answers is noticed only after "
            f"{say(waiting + keepalive.ping_timeout)}; {TIMEOUT} sets no more than TCP_USER_TIMEOUT"
        )
        yield end.find("warning", "frozen-peer", TIME, message, f"Set {PING_TIMEOUT} as well")
    noticed = waiting + min(keepalive.timeout, keepalive.ping_timeout)
    if noticed > TOO_SLOW and TIME in end.values:
        never = "it is set to never: no PING is sent"
        message = f"a peer whose host is gone is noticed only after {say(noticed)}" if keepalive.on else never
        yield end.find(
            "warning", "too-slow", TIME, message, "The unit is milliseconds; 10 s to a few minutes are usual"
        )


def _backoff(client: Options) -> Iterator[Finding]:
    attempt = max(0.1, seconds(client.values, MIN_BACKOFF, 20.0))
    first = max(0.1, seconds(client.values, FIRST_BACKOFF, 1.0))
    longest = max(0.1, seconds(client.values, MAX_BACKOFF, 120.0))
    if first > longest:
        option = FIRST_BACKOFF if FIRST_BACKOFF in client.values else MAX_BACKOFF
        message = (
            f"the first pause between attempts to connect ({say(first)}) is longer than the longest ({say(longest)})"
        )
        yield client.find("error", "backoff-order", option, message, f"Make {FIRST_BACKOFF} the smaller one")
    if MIN_BACKOFF in client.values and longest > attempt:
        message = (
            f"it limits an attempt to connect to {say(attempt)} at first only: the limit grows with the back-off, "
            f"to {say(longest)}"
        )
        yield client.find("warning", "connect-limit-grows", MIN_BACKOFF, message, f"Set {MAX_BACKOFF} to the same")
    if MIN_BACKOFF not in client.values and MAX_BACKOFF in client.values and longest < attempt:
        message = f"an attempt to connect that gets no answer still takes {say(attempt)}, whatever the back-off"
        yield client.find("warning", "connect-limit-missing", MAX_BACKOFF, message, f"Set {MIN_BACKOFF} too")


def _metadata(end: Options) -> Iterator[Finding]:
    soft, hard = whole(end.values, SOFT_METADATA), whole(end.values, HARD_METADATA)
    if soft is not None and hard is not None and soft > hard:
        message = f"the soft limit ({soft}) is above the hard one ({hard})"
        yield end.find("warning", "metadata-limits", SOFT_METADATA, message, f"Raise {HARD_METADATA}")

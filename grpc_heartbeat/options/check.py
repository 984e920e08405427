"""``check_options``: every rule over the options of one end or both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TypeAlias

from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.options.detection import detection
from grpc_heartbeat.options.findings import End, Finding, Options, Prediction, Report, in_order
from grpc_heartbeat.options.pings import fate
from grpc_heartbeat.options.rules_ends import client_findings, server_findings
from grpc_heartbeat.options.rules_entries import entry_findings
from grpc_heartbeat.options.rules_pairs import ping_findings, size_findings, speed_findings
from grpc_heartbeat.options.rules_service_config import service_config_findings
from grpc_heartbeat.options.settings import Enforcement, client_keepalive, enforcement, server_keepalive

OptionsLike: TypeAlias = "Mapping[str, object] | Iterable[tuple[str, object]]"


def check_options(
    *,
    client: OptionsLike | None = None,
    server: OptionsLike | Enforcement | None = None,
    detect_within: float | None = None,
) -> Report:
    """Check channel arguments by themselves and in pairs, and foretell what they will do. Nothing is sent or opened.

    Args:
        client: The ``options`` of a channel, as pairs or as a mapping. Default: not known; gRPC's defaults are assumed.
        server: The ``options`` of a Python server, or an ``Enforcement`` for a server in another language. Default: not known;
            then a GOAWAY that gRPC's defaults would bring is a warning, because the server may be set up for it.
        detect_within: Seconds in which a client in a call must notice that its peer's host is gone or its process frozen;
            slower is an error. Default ``None``: no demand.

    Returns:
        The findings, worst first, and the predictions.

    Raises:
        TypeError: the options are neither pairs nor a mapping.
        ValueError: ``detect_within`` out of range.
    """
    clients = _options("client", client)
    foreign = server if isinstance(server, Enforcement) else None
    servers = _options("server", None if isinstance(server, Enforcement) else server)
    allowed = foreign or enforcement(servers.values)
    prediction = predict(clients, servers, allowed)
    found: list[Iterable[Finding]] = []
    if clients.given:
        found += [entry_findings(clients), client_findings(clients), service_config_findings(clients)]
        found += [ping_findings(clients, allowed, server is not None, prediction)]
        if detect_within is not None:
            found += [speed_findings(clients, prediction, check_seconds("detect_within", detect_within))]
    if servers.given:
        found += [entry_findings(servers), server_findings(servers)]
    found += [size_findings(clients, servers), size_findings(servers, clients)]
    return Report(in_order(chain.from_iterable(found)), prediction)


def predict(client: Options, server: Options, allowed: Enforcement) -> Prediction:
    """Foretell what the options of both ends will do."""
    pinging = client_keepalive(client.values)
    return Prediction(
        in_call=fate(pinging, allowed, calls=True),
        without_calls=fate(pinging, allowed, calls=False),
        detection=detection(pinging, server_keepalive(server.values)),
    )


def _options(end: End, options: object) -> Options:
    if options is None:
        return Options(end, [], given=False)
    if isinstance(options, Mapping):
        return Options(end, list(options.items()))
    if isinstance(options, (str, bytes)) or not isinstance(options, Iterable):
        raise TypeError(
            f"{end} must be pairs of name and value, or a mapping; got {type(options).__name__} ({options!r})"
        )
    return Options(end, [_pair(end, entry) for entry in options])


def _pair(end: End, entry: object) -> tuple[object, object]:
    if isinstance(entry, (tuple, list)) and len(entry) == 2:
        return entry[0], entry[1]
    raise TypeError(f"{end} must be pairs of name and value; one entry is {entry!r}")

"""Options of both ends at once."""

from __future__ import annotations

from dataclasses import dataclass

from grpc_heartbeat.options._checks import seconds
from grpc_heartbeat.options.build import MAX_INTERVAL, ChannelOptions, client_options, server_options
from grpc_heartbeat.options.profiles import FROM_PROFILE, FromProfile, ProfileName, profile_named


@dataclass(frozen=True, slots=True)
class KeepalivePair:
    """Options of the two ends of one connection: pass ``client`` to the channel and ``server`` to the server."""

    client: ChannelOptions
    server: ChannelOptions


def keepalive_pair(
    profile: ProfileName = "default",
    *,
    keepalive_time: float | FromProfile = FROM_PROFILE,
    keepalive_timeout: float | FromProfile = FROM_PROFILE,
    permit_without_calls: bool | FromProfile = FROM_PROFILE,
    connect_timeout: float | FromProfile | None = FROM_PROFILE,
) -> KeepalivePair:
    """Return options for both ends, the server made to allow at least twice the rate at which this client PINGs.

    Args:
        profile: As for ``client_options``, for both ends.
        keepalive_time: Seconds of silence after which the client PINGs; with one given, the server PINGs after twice as
            long. Default: the profile's 30 and 60. At most 3600.
        keepalive_timeout: As for ``client_options`` and ``server_options``, for both ends. Default 10.
        permit_without_calls: The same, for both ends. Default true.
        connect_timeout: As for ``client_options``. Default ``None``.

    Raises:
        TypeError, ValueError: as ``client_options``.
    """
    base = profile_named(profile)
    client_time = (
        FROM_PROFILE if keepalive_time is FROM_PROFILE else seconds("keepalive_time", keepalive_time, MAX_INTERVAL / 2)
    )
    pinged = base.keepalive_time if client_time is FROM_PROFILE else client_time
    client = client_options(
        profile,
        keepalive_time=client_time,
        keepalive_timeout=keepalive_timeout,
        permit_without_calls=permit_without_calls,
        connect_timeout=connect_timeout,
    )
    server = server_options(
        profile,
        keepalive_time=FROM_PROFILE if client_time is FROM_PROFILE else client_time * 2,
        keepalive_timeout=keepalive_timeout,
        permit_without_calls=permit_without_calls,
        min_client_interval=min(pinged / 2, base.min_client_interval),
    )
    return KeepalivePair(client, server)

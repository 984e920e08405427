"""Settings for three kinds of network, and for none in particular. Every server of a profile allows every client of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

ProfileName = Literal["default", "datacenter", "behind-proxy", "mobile"]


class FromProfile(Enum):
    """The type of ``FROM_PROFILE``, which stands for an argument that was not given."""

    FROM_PROFILE = "the profile's"


FROM_PROFILE: Final = FromProfile.FROM_PROFILE


@dataclass(frozen=True, slots=True)
class Profile:
    """Arguments of ``client_options`` and ``server_options`` that go together. Seconds; ``None`` leaves gRPC's default.

    ``keepalive_timeout`` and ``permit_without_calls`` are for both ends; those from ``server_keepalive_time`` on for servers.
    """

    summary: str
    keepalive_time: float = 30.0
    keepalive_timeout: float = 10.0
    permit_without_calls: bool = True
    connect_timeout: float | None = None
    server_keepalive_time: float = 60.0
    min_client_interval: float = 5.0
    max_connection_age: float | None = None
    max_connection_age_grace: float | None = None
    max_connection_idle: float | None = None


PROFILES: dict[str, Profile] = {
    "default": Profile("nothing is known of the network: a lost peer is noticed within 40 s"),
    "datacenter": Profile(
        "both ends in one network, packets cost nothing: a lost peer is noticed within 15 s",
        keepalive_time=10.0,
        keepalive_timeout=5.0,
        connect_timeout=3.0,
        server_keepalive_time=20.0,
    ),
    "behind-proxy": Profile(
        "balancers and proxies between, most of which drop a connection that is silent for 60 s; "
        "connections are renewed, so that calls spread over new servers",
        connect_timeout=5.0,
        server_keepalive_time=30.0,
        min_client_interval=10.0,
        max_connection_age=1800.0,
        max_connection_age_grace=60.0,
    ),
    "mobile": Profile(
        "batteries and carriers' NAT, which forgets a silent connection after some five minutes: "
        "no PINGs without calls, slow ones with",
        keepalive_time=240.0,
        keepalive_timeout=20.0,
        permit_without_calls=False,
        connect_timeout=15.0,
        server_keepalive_time=300.0,
        min_client_interval=60.0,
        max_connection_idle=900.0,
    ),
}


def profile_named(name: object) -> Profile:
    """Return a profile by name.

    Raises:
        TypeError, ValueError: not a name, or of no profile; the message lists those that there are.
    """
    if not isinstance(name, str):
        raise TypeError(f"profile must be a string, not {type(name).__name__} ({name!r})")
    if name not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(map(repr, PROFILES))}; got {name!r}")
    return PROFILES[name]

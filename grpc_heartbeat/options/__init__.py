"""Channel arguments that cannot bite: built from plain words, checked by name and in pairs, with what they will do foretold.

Theory of operation. gRPC's transport keepalive has two sides that are set apart from each other. The client sends
HTTP/2 PINGs; the server counts each PING that comes sooner than it allows as a strike, and after more than
``grpc.http2.max_ping_strikes`` of them ends the connection with GOAWAY ``too_many_pings``, which the client sees as
UNAVAILABLE (gRFC A8). With gRPC's own defaults a server allows one PING in five minutes while a call is held and one
in two hours otherwise, so a client that turns keepalive on is cut off by every server that was left alone. The
builders write both sides so that they match: ``client_options()`` is accepted by ``server_options()`` of the same profile,
and ``keepalive_pair()`` derives the server's tolerance from the client's interval. ``check_options()`` says what is wrong
with options that somebody else wrote, how long faults stay unnoticed, and when a GOAWAY will come.

Three rules are easy to miss, and are why these are functions:

* gRPC ignores a name it does not know. The server's tolerance is ``grpc.http2.min_ping_interval_without_data_ms``; the
  C macro for it says "MIN_RECV", the string does not.
* ``grpc.keepalive_timeout_ms`` sets TCP_USER_TIMEOUT, which notices a dead network. A frozen process whose kernel still
  acknowledges is noticed only by ``grpc.http2.ping_timeout_ms``, one minute by default. Both get the same value here.
* A client sends only two PINGs between data frames and then falls back to one a minute, unless
  ``grpc.http2.max_pings_without_data`` is 0.

A PING proves that the peer's transport runs, not that its application does; that is what heartbeats are for.

Names and native defaults: ``catalogue``, from the sources of gRPC.
"""

from typing import TYPE_CHECKING

from grpc_heartbeat._lazy import loader
from grpc_heartbeat.options.build import (
    MAX_AGE,
    MAX_INTERVAL,
    MAX_TIMEOUT,
    MIN_CONNECT_TIMEOUT,
    ChannelOptions,
    client_options,
    server_options,
)
from grpc_heartbeat.options.pair import KeepalivePair, keepalive_pair
from grpc_heartbeat.options.profiles import PROFILES, Profile, ProfileName

__all__ = [
    "MAX_AGE",
    "MAX_INTERVAL",
    "MAX_TIMEOUT",
    "MIN_CONNECT_TIMEOUT",
    "PROFILES",
    "ChannelOptions",
    "Enforcement",
    "Finding",
    "KeepalivePair",
    "OptionsLike",
    "Prediction",
    "Profile",
    "ProfileName",
    "Report",
    "check_options",
    "client_options",
    "keepalive_pair",
    "server_options",
]

if TYPE_CHECKING:
    from grpc_heartbeat.options.check import OptionsLike, check_options
    from grpc_heartbeat.options.findings import Finding, Prediction, Report
    from grpc_heartbeat.options.settings import Enforcement
else:
    __getattr__ = loader(
        __name__,
        {
            "Enforcement": "grpc_heartbeat.options.settings",
            "Finding": "grpc_heartbeat.options.findings",
            "OptionsLike": "grpc_heartbeat.options.check",
            "Prediction": "grpc_heartbeat.options.findings",
            "Report": "grpc_heartbeat.options.findings",
            "check_options": "grpc_heartbeat.options.check",
        },
    )

"""Faults that a server injects into its own RPCs, so that tests and drills see what time-outs and retries make of them.

::

    plan = FaultPlan(methods={"shop.Orders/Place": Fault(delay=3, share=0.1)}, seed=7)
    server = grpc.server(pool, interceptors=[*grpc_heartbeat.server_interceptors(), *faults.server_interceptors(plan)])

Behind ``grpc_heartbeat.server_interceptors()`` a delayed RPC is accepted early, as that of a slow handler would be; alone it is
not. Calls that are not struck get their handlers untouched. A delay ends when its RPC is cancelled or expires, and the handler
does not run then.
"""

from __future__ import annotations

from typing import Any

from grpc_heartbeat.testing.fault_plan import Fault, FaultPlan
from grpc_heartbeat.testing.faulty import FaultServerInterceptor
from grpc_heartbeat.testing.faulty_aio import AioFaultServerInterceptor

__all__ = [
    "AioFaultServerInterceptor",
    "Fault",
    "FaultPlan",
    "FaultServerInterceptor",
    "aio_server_interceptors",
    "server_interceptors",
]


def server_interceptors(
    plan: FaultPlan,
) -> list[Any]:  # of the type that grpc wants; a list of ours would not be one of its
    """Return interceptors for ``grpc.server``. The one in the list has ``injected()``: how many faults each method got."""
    return [FaultServerInterceptor(plan)]


def aio_server_interceptors(plan: FaultPlan) -> list[Any]:
    """Return interceptors for ``grpc.aio.server``. The one in the list has ``injected()``, as on the sync stack."""
    return [AioFaultServerInterceptor(plan)]

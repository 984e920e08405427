"""What came of one call, in the same words for every call path of both stacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc

from grpc_heartbeat.errors import TimeoutFacts, timeout_of


@dataclass
class Outcome:
    """How one call went.

    Attributes:
        call: The call object, if the path gives one.
        responses: The messages that came.
        error: What was raised, or ``None``.
        status: The status in the end; ``None`` when the path does not tell.
        details: Its text.
        misled: Whether ``write()`` raised grpc.aio's ``InvalidStateError`` instead of the call's own error.
        seconds: From the start of the call until it was over for the caller.
    """

    call: Any = None
    responses: list[bytes] = field(default_factory=list)
    error: BaseException | None = None
    status: grpc.StatusCode | None = None
    details: str = ""
    misled: bool = False
    seconds: float = 0.0

    @property
    def facts(self) -> TimeoutFacts | None:
        """The facts on what was raised; on the call object where the raised thing (a cancellation) is not gRPC's."""
        carrier = self.error if isinstance(self.error, grpc.RpcError) else self.call
        return timeout_of(carrier)

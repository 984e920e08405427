"""Retry policies: what gRPC is to try again, how often, and after which pauses."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.options.rules_service_config import CODES, MAX_ATTEMPTS

JITTER = 1.2
"""gRPC's pauses are up to this many times the nominal ones."""
NEVER_RETRIED = {
    "OK": "it is no error",
    "CANCELLED": "the caller wants no answer any more",
    "DEADLINE_EXCEEDED": "one deadline spans all attempts, so no time is left for another",
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What is tried again, how often, and after which pauses.

    Args:
        attempts: Attempts in all, the first one included: 2 to 5, gRPC's own limit. Default 3.
        initial_backoff: Seconds before the second attempt, ±20 %. Default 0.1.
        max_backoff: Longest pause in seconds. Default 1.
        multiplier: By how much each pause is longer than the one before; at least 1. Default 2.
        codes: Status codes that are tried again. Default UNAVAILABLE, which a server that did no work says. Others only for
            methods that may run twice.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a value outside its range, or a code that is unknown or never worth a retry.
    """

    attempts: int = 3
    initial_backoff: float = 0.1
    max_backoff: float = 1.0
    multiplier: float = 2.0
    codes: tuple[str, ...] = ("UNAVAILABLE",)

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            raise TypeError(f"RetryPolicy.attempts must be an integer, not {self.attempts!r}")
        if not 2 <= self.attempts <= MAX_ATTEMPTS:
            raise ValueError(
                f"RetryPolicy.attempts must be from 2 to {MAX_ATTEMPTS}, the first attempt included; got {self.attempts}"
            )
        first = check_seconds("RetryPolicy.initial_backoff", self.initial_backoff, minimum=0.001, inclusive=True)
        longest = check_seconds("RetryPolicy.max_backoff", self.max_backoff, minimum=first, inclusive=True)
        if isinstance(self.multiplier, bool) or not isinstance(self.multiplier, Real):
            raise TypeError(f"RetryPolicy.multiplier must be a number, not {self.multiplier!r}")
        if not 1 <= self.multiplier <= 100:
            raise ValueError(f"RetryPolicy.multiplier must be from 1 to 100; got {self.multiplier!r}")
        object.__setattr__(self, "initial_backoff", first)
        object.__setattr__(self, "max_backoff", longest)
        object.__setattr__(self, "codes", _codes(self.codes))

    @property
    def pauses(self) -> float:
        """Seconds that all pauses together last at most."""
        nominal = (self.initial_backoff * self.multiplier**retry for retry in range(self.attempts - 1))
        return math.fsum(min(pause, self.max_backoff) * JITTER for pause in nominal)

    def fitted(self, budget: float) -> RetryPolicy | None:
        """Return this policy with as many attempts as have pauses within ``budget`` seconds; ``None`` if that is one."""
        for attempts in range(self.attempts, 1, -1):
            if (fewer := replace(self, attempts=attempts)).pauses < budget:
                return fewer
        return None

    def as_dict(self) -> dict[str, Any]:
        """Return what a service config has for it."""
        return {
            "maxAttempts": self.attempts,
            "initialBackoff": duration(self.initial_backoff),
            "maxBackoff": duration(self.max_backoff),
            "backoffMultiplier": self.multiplier,
            "retryableStatusCodes": list(self.codes),
        }


def duration(seconds: float) -> str:
    """Return seconds as a service config writes them, to the nanosecond."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _codes(codes: object) -> tuple[str, ...]:
    if isinstance(codes, str) or not isinstance(codes, Iterable):
        raise TypeError(f"RetryPolicy.codes must be names of status codes in a tuple, not {codes!r}")
    names = tuple(str(getattr(code, "name", code)) for code in codes)
    if not names:
        raise ValueError("RetryPolicy.codes must not be empty: nothing would ever be tried again")
    for name in names:
        if name not in CODES:
            raise ValueError(f"RetryPolicy.codes has {name!r}, which is no status code; there are {', '.join(CODES)}")
        if name in NEVER_RETRIED:
            raise ValueError(f"RetryPolicy.codes has {name}, which is never worth a retry: {NEVER_RETRIED[name]}")
    return names

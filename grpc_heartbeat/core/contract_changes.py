"""What became of the contracts that a baseline had: a change may break clients that were written against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from grpc_heartbeat.core.contract import SAID, Finding, MethodContract, Place, Said, Severity, longer, say
from grpc_heartbeat.core.contract_rules import is_foreign

MUCH = 2
"""Factor above which a change is remarkable in either direction."""

_RENEW = "keep it, or agree with the clients and renew the baseline"


def change_findings(now: Mapping[str, MethodContract], before: Mapping[str, MethodContract]) -> Iterator[Finding]:
    """Compare the contracts of a baseline with those of now. New methods and new contracts break nobody."""
    for method, old in before.items():
        if not old.declared or is_foreign(method):
            continue
        new = now.get(method)
        if new is None:
            what = "the baseline has this method, the descriptors do not"
            place = None if old.place is None else Place(old.place.file)
            yield Finding("error", "contract-removed", method, what, _RENEW, place)
        elif not new.declared:
            yield _of(new, "error", "contract-removed", "it had a contract in the baseline and has none")
        else:
            for name in SAID:
                yield from _changed(name, new, getattr(old, name), getattr(new, name))


def _changed(name: Said, contract: MethodContract, old: float | None, new: float | None) -> Iterator[Finding]:
    if old is None:
        return
    was = f"its {name} was {say(old)} in the baseline and is"
    if new is None:
        severity: Severity = "error" if name == "total" else "warning"
        yield _of(contract, severity, "limit-removed", f"{was} not said any more")
    elif name == "total" and longer(old, new):
        yield _of(contract, "error", "total-shortened", f"{was} {say(new)}: calls that succeeded may fail")
    elif longer(new, old * MUCH) or longer(old, new * MUCH):
        much = "more than twice" if new > old else "less than half"
        yield _of(contract, "warning", "changed-much", f"{was} {say(new)}: {much} as long")


def _of(contract: MethodContract, severity: Severity, rule: str, message: str) -> Finding:
    return Finding(severity, rule, contract.method, message, _RENEW, contract.place)

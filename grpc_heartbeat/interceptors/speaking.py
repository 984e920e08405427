"""Finding handlers that send initial metadata of their own, which an RPC accepted early could no longer send.

Initial metadata goes out once. A handler whose code names ``send_initial_metadata`` is found when it is wrapped, also behind
decorators. One that hides the call in a helper is found when it first does so; if it was slower than the early accepting then,
that one RPC's metadata is lost, which is logged, and later RPCs of the method are left alone.
"""

from __future__ import annotations

import functools
import logging
from types import CodeType, FunctionType, MethodType
from typing import Any

from grpc_heartbeat.interceptors.method import Method

_log = logging.getLogger("grpc_heartbeat.server")
_NAME = "send_initial_metadata"
_DEPTH = 6
"""Decorators and nested functions that are looked through."""


def speaks(behavior: Any, depth: int = _DEPTH) -> bool:
    """Tell whether the code of ``behavior``, or of functions that it closes over, sends initial metadata."""
    if depth == 0:
        return False
    if isinstance(behavior, functools.partial):
        return speaks(behavior.func, depth - 1)
    if isinstance(behavior, MethodType):
        return speaks(behavior.__func__, depth - 1)
    if isinstance(behavior, FunctionType):
        cells = behavior.__closure__ or ()
        return _names(behavior.__code__) or any(speaks(_content(cell), depth - 1) for cell in cells)
    call = getattr(type(behavior), "__call__", None)  # noqa: B004 - the function itself is wanted
    return isinstance(call, FunctionType) and speaks(call, depth - 1)


def heard(method: Method) -> None:
    """Note that a handler of ``method`` sends initial metadata."""
    method.speaks = True


def lost(method: Method, what: str) -> None:
    """Say that a handler came too late with ``what``: its RPC had been accepted early."""
    method.speaks = True
    _log.warning(
        "%s was accepted after %g s, before its handler came to %s, which had no effect. This is the last time: RPCs of this "
        "method are not accepted early any more. accept_after=None for it in the ServerPolicy avoids the first time, too.",
        method.path,
        method.accept_after,
        what,
    )


def _names(code: CodeType) -> bool:
    return _NAME in code.co_names or any(isinstance(inner, CodeType) and _names(inner) for inner in code.co_consts)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None

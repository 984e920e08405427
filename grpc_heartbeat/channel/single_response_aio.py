"""Reads the one response of a method with a single response whose call was made as one for a response stream.

On the wire both are the same. grpc.aio tells of the server's initial metadata as soon as it comes for streams only, so a header
limit on a unary-unary call needs this. The rest has to be as it is for unary calls:

- The response is read whether anybody awaits it or not: gRPC gives the status of a stream after its last message was taken.
  Whoever awaits the call at once reads by himself, which saves a task; else one is started in the loop's next round.
- The result can be awaited by several and again; a task that is cancelled while it waits cancels the call.
- OK without a message is the result ``None``. More than one message is waited out, as grpcio does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from copy import copy
from typing import Any

import grpc
import grpc.aio


class SingleResponse:
    """The response of ``call``. To be made on the loop's thread."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._begun = False
        self._over = False
        self._message: Any = None
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        try:
            asyncio.get_running_loop().call_soon(self._begin)
        except RuntimeError:  # made outside of a loop: whoever awaits it reads
            pass

    def __await__(self) -> Generator[Any, None, Any]:
        if self._begun:
            return self._get().__await__()
        self._begun = True
        return self._read().__await__()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._task = asyncio.get_running_loop().create_task(self._read_for_all())

    async def _read_for_all(self) -> None:
        try:
            await self._read()
        except (Exception, asyncio.CancelledError):
            pass  # kept for those who await
        finally:
            self._task = None

    async def _read(self) -> Any:
        call = self._call
        try:
            message = await call.read()
            code = await call.code()
            if code is not grpc.StatusCode.OK:
                raise await _error_of(call, code)
            self._message = None if message is grpc.aio.EOF else message
        except (asyncio.CancelledError, GeneratorExit):
            self._error = asyncio.CancelledError()
            if not call.done():
                call.cancel()
            raise
        except grpc.aio.AioRpcError as error:
            self._error = copy(error)  # has no traceback, in which this frame would be, and so this object
            raise
        except Exception as error:
            self._error = error
            raise
        finally:
            self._over = True
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
        return self._message

    async def _get(self) -> Any:
        if not self._over:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not self._call.done():
                    self._call.cancel()
                raise
        if isinstance(self._error, asyncio.CancelledError):
            raise asyncio.CancelledError
        if self._error is not None:
            raise self._error
        return self._message


async def _error_of(call: Any, code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        code,
        await call.initial_metadata(),
        await call.trailing_metadata(),
        await call.details(),
        await call.debug_error_string(),
    )

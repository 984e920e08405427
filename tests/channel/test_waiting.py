"""A call object of the sync stack that waits for its breaker, by itself."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from grpc_heartbeat._grpcio_ended import status_of
from grpc_heartbeat.channel.switch import Switch
from grpc_heartbeat.channel.waiting import WaitingCall
from tests.channel.test_switch import CLOSED, Fitter, opened
from tests.peers import PATIENCE


def waiting_call(switch: Switch[str], begin: Any = None) -> WaitingCall:
    switch.hear(opened(1))
    return WaitingCall(switch, begin, lambda limit, elapsed: begin, None, None)


def test_nobody_who_looks_for_an_attribute_waits_for_the_start() -> None:
    """Telemetry looks at call objects on the thread of the application, which might be the one to cancel the call."""
    call = waiting_call(Switch("channel 0", Fitter()))
    with ThreadPoolExecutor(1) as pool:
        looked = pool.submit(lambda: (hasattr(call, "_state"), status_of(call)))
        try:
            known, asked = looked.result(PATIENCE)
            assert not known
            assert asked() is call
        finally:
            call.cancel()


def test_a_call_that_was_let_through_has_the_attributes_of_the_real_one() -> None:
    class Real:
        extra = 3

    switch = Switch("channel 0", Fitter())
    call = waiting_call(switch, lambda left: Real())
    switch.hear(CLOSED)
    assert call.extra == 3


def test_a_call_that_was_cancelled_before_its_start_can_be_sent_to_another_process() -> None:
    call = waiting_call(Switch("channel 0", Fitter()))
    assert call.cancel()
    again = pickle.loads(pickle.dumps(call._inner))
    assert again.code() is grpc.StatusCode.CANCELLED
    assert again.details() == call.details()

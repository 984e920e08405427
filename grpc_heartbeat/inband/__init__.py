"""Keepalive inside business streams, so that proxies which cut idle ones leave them alone.

``core.inband`` has the theory: what a beat looks like, when one is sent, how the ends agree. Here are its drivers.

- ``policy``: for which methods, how often.
- ``messages``: how beats get past the application's serializers.
- ``end``: what one end of one stream knows, on either stack.
- ``client``, ``server``, ``greeting``: the sync stack. ``beside`` sends beats beside the application's iterator,
  ``outlet`` between its messages, by public API alone.
- ``client_aio``, ``interceptors_aio``, ``server_aio``, ``plain_aio``: the asyncio stack, over ``loop_end``.

The layer is the outermost one. On a client it is around this library's limited calls, so that a beat is a message to them and
ends a wait that the idle limit would judge. On a server it is around all interceptors. Where it is off nothing of it is made.
"""

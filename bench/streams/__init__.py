"""Thousands of held heartbeat streams: what people write today beside this library, in one run.

The side under test (the *subject*, :mod:`.subject`) has a process and a core to itself. At the other end is a peer that speaks
HTTP/2 with its own hands (:mod:`.load` for servers, :mod:`.echo` for clients), so cheap that the subject is what is saturated,
and the same for every design.
"""

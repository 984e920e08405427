"""How long it takes to notice that a peer is gone, stuck or overloaded, and that it is back: real processes, real faults.

Beats every 200 ms, three misses. Each fault meets a client of each stack at the same instant, and, beside them, a call on a
plain gRPC channel with keepalive of 1 s, time-out 1 s.
"""

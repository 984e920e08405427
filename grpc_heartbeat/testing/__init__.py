"""For tests of programs that use gRPC: faults that a server injects, and the proof that declared time-outs work."""

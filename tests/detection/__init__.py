"""Faults of real processes are noticed in time, and called by their names."""

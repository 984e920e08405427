"""Fallbacks, degraded answers and sagas, over real calls."""

"""Observers that turn events into telemetry. Nothing outside this package imports opentelemetry."""

"""Programs to start from; each runs under test."""

"""Channels that give their calls a deadline and end them with the request they belong to."""

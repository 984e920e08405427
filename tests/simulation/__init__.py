"""A great many connections in virtual time."""

"""Totals that follow how long the calls of a method take."""

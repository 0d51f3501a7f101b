"""Derived rows: how a row of the projection is read, changed, marked dirty and counted."""

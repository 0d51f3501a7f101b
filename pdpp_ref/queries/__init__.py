"""Reads beyond the summary: sizes, rankings, listings and growth."""

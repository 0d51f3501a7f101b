"""The write side: how records come to exist, change and go.  Canonical rows are the source of truth."""

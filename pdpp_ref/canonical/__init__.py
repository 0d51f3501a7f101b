"""The write side: how records are created, changed and deleted.  Canonical rows are the source of truth."""

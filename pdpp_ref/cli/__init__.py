"""The `pdpp-ref` command."""

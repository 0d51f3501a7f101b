"""`python -m pdpp_ref` is `pdpp-ref`."""

from .cli.main import main

main(prog_name="pdpp-ref")

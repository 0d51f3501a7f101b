"""Lines that the operator should see at startup, and may hold paths or new secrets.

They go to a logger of their own.  The command prints it as it is; under `flask` and other servers it
appears on standard error unless their logging is configured otherwise.
"""

import logging
from functools import cache

log = logging.getLogger(__name__)


def show(line: str) -> None:
    log.warning("%s", line)


@cache
def show_once(line: str) -> None:
    """Show a line that several steps of one start may lead to."""
    show(line)

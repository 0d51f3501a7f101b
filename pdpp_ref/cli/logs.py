"""Where a command's log goes: standard error, as much of it as PDPP_LOG_LEVEL asks for."""

import logging

from . import output

FORMAT = "%(levelname)s %(name)s: %(message)s"


class _Plain(logging.Handler):
    """Shows messages as they are."""

    def emit(self, record: logging.LogRecord) -> None:
        output.report(record.getMessage())


def configure() -> None:
    """Log warnings until the settings are known.  Requests and notices have lines of their own."""
    logging.basicConfig(level=logging.WARNING, format=FORMAT)
    _print_plainly("pdpp_ref.access", logging.StreamHandler())
    _print_plainly("pdpp_ref.notices", _Plain())
    logging.getLogger("pdpp_ref.notices").setLevel(logging.WARNING)  # shown at every level


def _print_plainly(name: str, handler: logging.Handler) -> None:
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.addHandler(handler)


def set_level(name: str) -> None:
    """Log this program's messages from that level on, and those of its libraries from `warning` on."""
    level = logging.getLevelNamesMapping()[name.upper()]
    logging.getLogger("pdpp_ref").setLevel(level)
    logging.getLogger().setLevel(max(level, logging.WARNING))

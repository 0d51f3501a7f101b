"""Where a command's log goes: standard error, as much of it as PDPP_LOG_LEVEL asks for.

A server logs one JSON object per line; other commands log lines for people.
"""

import json
import logging
import sys

from ..access_log import AccessLog
from ..timestamps import utc_now
from . import output

FORMAT = "%(levelname)s %(name)s: %(message)s"


class _Plain(logging.Handler):
    """Shows messages as they are."""

    def emit(self, record: logging.LogRecord) -> None:
        output.report(record.getMessage())


class JsonFormatter(logging.Formatter):
    """Never the text of an exception: it may have a path or personal data."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": utc_now(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False)


def configure() -> None:
    """Log warnings until the settings are known.  Notices have lines of their own."""
    logging.basicConfig(level=logging.WARNING, format=FORMAT)
    notices = logging.getLogger("pdpp_ref.notices")
    notices.propagate = False
    notices.addHandler(_Plain())
    notices.setLevel(logging.WARNING)  # shown at every level


def set_level(name: str) -> None:
    """Log this program's messages from that level on, and those of its libraries from `warning` on."""
    level = logging.getLevelNamesMapping()[name.upper()]
    logging.getLogger("pdpp_ref").setLevel(level)
    logging.getLogger().setLevel(max(level, logging.WARNING))


def serve(level: str) -> None:
    """The same, for a server, which also logs each request as `info`."""
    set_level(level)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter())
    if level == "info":
        AccessLog.stream = sys.stderr

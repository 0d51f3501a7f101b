"""What a server logs, besides requests."""

import json
import logging
import sys

from pdpp_ref.cli.logs import JsonFormatter
from pdpp_ref.timestamps import is_time


def test_errors_are_logged_as_json() -> None:
    """One line each, whatever is in the message, and never the text of an exception."""
    try:
        raise ValueError("personal data")
    except ValueError:
        record = logging.LogRecord(
            "pdpp_ref.x", logging.ERROR, "path.py", 7, 'it "failed"\n%s', ("here",), sys.exc_info()
        )
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert is_time(line.pop("time"))
    assert line == {
        "level": "error",
        "logger": "pdpp_ref.x",
        "message": 'it "failed"\nhere',
        "error": "ValueError",
    }

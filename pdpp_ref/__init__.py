"""pdpp-ref: a personal data server's account of what it stores.

Importing the package imports none of its parts, so that commands start quickly.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

__version__ = "0.1.0"  # the package's metadata has it from here


def create_app(
    overrides: Mapping[str, Any] | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Any:
    """The WSGI application, a `flask.Flask`; see `application.create_app`."""
    from . import application

    return application.create_app(overrides, clock=clock)

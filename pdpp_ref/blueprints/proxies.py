"""What reverse proxies say about a request: the visitor's address, and the address that was visited."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PREFIX = "HTTP_X_FORWARDED_PREFIX"
_PREFIXES = re.compile(r"(?:(?:/[A-Za-z0-9._~-]+)*/?(?:, ?|$))+")
_RAW = ("REQUEST_URI", "RAW_URI")  # see routing.py


class TrustedProxies:
    """Believes the X-Forwarded-* headers that so many proxies have set, and no others."""

    def __init__(self, app: "WSGIApplication", count: int) -> None:
        self._app = ProxyFix(
            self._with_prefix(app), x_for=count, x_proto=count, x_host=count, x_port=count, x_prefix=count
        )

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if not _PREFIXES.fullmatch(environ.get(_PREFIX, "")):
            environ.pop(_PREFIX, None)  # it would become part of every address that is answered
        return self._app(environ, start)

    @staticmethod
    def _with_prefix(app: "WSGIApplication") -> "WSGIApplication":
        """The proxy has removed the prefix; an address as requested has it, as PEP 3333 servers do."""

        def called(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
            prefix = environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "").rstrip("/")
            for name in _RAW:
                if prefix and environ.get(name, "").startswith("/"):
                    environ[name] = prefix + environ[name]
            return app(environ, start)

        return called

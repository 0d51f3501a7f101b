"""The owner's session: a signed cookie that says when it was last renewed."""

import re
import time

from flask import Flask, Request, Response, g, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import BadSignature

from ..credentials import Credentials

SESSION_SECONDS = 7 * 24 * 3600
# A session in use is renewed once a day: a cookie with every response would be another one each time.
RENEW_SECONDS = 24 * 3600
MOST_KNOWN = 1_000


class _Interface(SecureCookieSessionInterface):
    """Sets another cookie too, after that of the session, which clients expect first.

    Behind a path prefix, cookies are for what is below it.
    """

    def get_cookie_path(self, app: Flask) -> str:
        return app.config["SESSION_COOKIE_PATH"] or request.script_root or super().get_cookie_path(app)

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if "HTTP_COOKIE" not in request.environ:  # Flask prepares to check one before it looks for it
            return self.session_class()
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        super().save_session(app, session, response)
        if also := g.pop("cookie", None):
            response.set_cookie(**also)


class OwnerSessions:
    """Signs the owner in, and recognises sessions."""

    def __init__(self, app: Flask, credentials: Credentials) -> None:
        app.config.update(
            SESSION_COOKIE_NAME="pdpp_owner_session",
            SESSION_COOKIE_HTTPONLY=True,
            SESSION_COOKIE_SAMESITE="Lax",
            SESSION_REFRESH_EACH_REQUEST=False,
            PERMANENT_SESSION_LIFETIME=SESSION_SECONDS,
        )
        app.session_interface = _Interface()
        self._app = app
        self._cookie = str(app.config["SESSION_COOKIE_NAME"])
        self._credentials = credentials
        # By cookie and fingerprint: until when it need not be checked again.
        self._known: dict[tuple[str, str], float] = {}
        self._in_header = re.compile(rf"(?:^|; ?){re.escape(self._cookie)}=([\w.-]+)(?=;|$)".encode())

    def start(self) -> None:
        session.clear()
        session.permanent = True
        session["owner"] = self._credentials.session_fingerprint
        session["renewed"] = int(time.time())
        # The same in every session of this owner: forms that are open in another tab stay valid after a new
        # sign-in.  It is not taken from the session before, which somebody else may have planted.
        session["csrf_token"] = self._credentials.form_token

    def is_owners(self) -> bool:
        """Whether the request's session is the owner's, which is renewed if it is due."""
        if "HTTP_COOKIE" not in request.environ or self._cookie not in request.cookies:
            return False
        if session.get("owner") != self._credentials.session_fingerprint:
            return False
        if time.time() - session.get("renewed", 0) >= RENEW_SECONDS:
            session["renewed"] = int(time.time())
        return True

    def is_known(self, header: bytes) -> bool:
        """Whether a `Cookie` header has the owner's session, and it need not be renewed.

        Needs no request of Flask.
        """
        found = self._in_header.findall(header)
        if len(found) != 1:
            return False
        cookie = found[0].decode(), self._credentials.session_fingerprint
        until = self._known.get(cookie) or self._valid_until(*cookie)
        if until <= time.time():
            self._known.pop(cookie, None)
            return False
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[cookie] = until
        return True

    def _valid_until(self, cookie: str, fingerprint: str) -> float:
        """A time; 0 if it is nobody's."""
        signer = SecureCookieSessionInterface().get_signing_serializer(self._app)
        if signer is None:
            return 0.0
        try:
            found, signed_at = signer.loads(cookie, max_age=SESSION_SECONDS, return_timestamp=True)
        except BadSignature:
            return 0.0
        if found.get("owner") != fingerprint:
            return 0.0
        return float(min(signed_at.timestamp() + SESSION_SECONDS, found.get("renewed", 0) + RENEW_SECONDS))

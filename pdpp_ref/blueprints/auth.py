"""Signing in, and who may call: the owner in a session, others with a bearer token that has the scope."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from typing import Annotated, Any, Protocol
from urllib.parse import quote, urlsplit

import msgspec
from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    g,
    redirect,
    request,
    session,
    url_for,
)
from flask_wtf.csrf import CSRFError, CSRFProtect
from itsdangerous import BadSignature, URLSafeSerializer
from msgspec import Meta, Struct

from .. import tokens
from ..authentication import BearerTokens
from ..credentials import ERASE, FIGURES, MAINTAIN, OWNER, WRITE, Caller, Credentials
from ..schemas.server import Login, LoginForm
from ..sign_in_attempts import SignInAttempts, network_of
from .errors import ApiError, error_response
from .openapi.decorator import (
    FORM,
    PAGE,
    Responses,
    Security,
    operation,
)
from .owner.pages import FormProblem, LoginPage
from .responses import JSON, render, wants_html
from .return_paths import came_from, here, local_path
from .sessions import OwnerSessions

blueprint = Blueprint("auth", __name__)

csrf = CSRFProtect()

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# A browser in which the owner has signed in: wrong passwords of others don't count against it.
BROWSER_COOKIE, BROWSER_SECONDS = "pdpp_known_browser", 365 * 24 * 3600
# What a page of another site can send without asking this server first.
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")


WITHHELD = (
    "The browser does not say which page sent this (Origin: null). Use https, or allow it for this site "
    "in the browser's privacy settings."
)
ELSEWHERE = (
    "This request came from a page at another address than this server's. If it is the right page, the "
    "proxy in front of the server must pass on Host with its port, or PDPP_TRUSTED_PROXIES must be set."
)
EXPIRED = "The form has expired. Reload it and try again."
NO_COOKIE = (
    "The browser did not send the form's cookie. Allow cookies for this site; with "
    "PDPP_SESSION_COOKIE_SECURE, use https."
)


class ReturnTo(Struct):
    return_to: Annotated[str, Meta(description="A path of this server.")] = ""


class _View(Protocol):
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


def init_app(app: Flask) -> None:
    # Only forms are checked: see `check_form`.  Browsers may send no Referer; `_check_origin` does without.
    app.config.update(WTF_CSRF_CHECK_DEFAULT=False, WTF_CSRF_TIME_LIMIT=None, WTF_CSRF_SSL_STRICT=False)
    csrf.init_app(app)
    app.before_request(_check_origin)
    app.after_request(_record_use)


def _credentials() -> Credentials:
    found: Credentials = current_app.extensions["credentials"]
    return found


def _sessions() -> OwnerSessions:
    found: OwnerSessions = current_app.extensions["owner_sessions"]
    return found


def is_owner() -> bool:
    return _sessions().is_owners()


def _bearer() -> Caller | None:
    bearers: BearerTokens = current_app.extensions["bearer_tokens"]
    return bearers.caller(request.headers.get("Authorization", ""))


def owner_only(view: _View) -> _View:
    """A page of the owner: anybody else is redirected to the sign-in form."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs) if is_owner() else _sign_in_first()

    return _secured(guarded, Security(("session",), ("owner_session_required",), redirects=True))


def requires(scope: str) -> Callable[[_View], _View]:
    """A route for callers with a scope: a bearer token that has it, or the owner's session."""
    missing = "owner_session_required" if scope in (FIGURES, MAINTAIN) else "bearer_token_required"

    def guard(view: _View) -> _View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            caller = _caller()
            if caller is None:
                raise ApiError(missing)
            g.caller = caller
            if scope not in caller.scopes:
                raise ApiError("insufficient_scope", f"This token does not have the scope {scope}.")
            return view(*args, **kwargs)

        errors = (missing, "insufficient_scope")
        return _secured(guarded, Security(("session", "bearer"), errors, scope=scope))

    return guard


def requires_write_or_erase(view: _View) -> _View:
    """A route that deletes, for callers who may write; or erases a record with `erase=true`, for those who
    may.
    """
    writing, erasing = requires(WRITE)(view), requires(ERASE)(view)

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        names_record = "key" in kwargs or "key" in request.args
        is_erasure = names_record and request.args.get("erase") == "true"
        return (erasing if is_erasure else writing)(*args, **kwargs)

    return _secured(guarded, writing.security)  # type: ignore[attr-defined]


def _caller() -> Caller | None:
    if not is_owner():
        return _bearer()
    if request.method not in SAFE_METHODS and request.mimetype in FORM_TYPES:
        raise ApiError(
            "cross_site_request", "In a session, send this with another Content-Type than a form's."
        )
    return OWNER


def _record_use(response: Response) -> Response:
    """Store, once the response is sent, that a named token was used."""
    bearers: BearerTokens = current_app.extensions["bearer_tokens"]
    caller: Caller | None = g.get("caller")
    if caller and caller.token and bearers.use_is_due(caller.token):
        response.call_on_close(partial(tokens.record_use, caller.token))
    return response


def restriction() -> str | None:
    """The only connection that the caller may touch; None: all."""
    only: str | None = g.caller.connection
    return only


def check_connection(connection: str) -> None:
    """Raise ApiError if the caller is restricted to another connection."""
    if restriction() not in (None, connection):
        raise ApiError("insufficient_scope", "This token is restricted to another connection.")


def _secured(view: _View, security: Security) -> _View:
    """Declares who may call, for the description of the API."""
    view.security = security  # type: ignore[attr-defined]
    return view


def _sign_in_first() -> Response:
    login = url_for("auth.login_form")
    if request.headers.get("HX-Request"):
        # A redirect would put the form inside the fragment's place; this moves the whole page.
        response = error_response("owner_session_required", "Sign in as the owner.", html=False)
        response.headers["HX-Redirect"] = f"{login}?return_to={quote(came_from())}"
        return response
    if wants_html():
        target = here() if request.method in SAFE_METHODS else came_from()
        return redirect(f"{login}?return_to={quote(target)}")  # type: ignore[return-value]
    raise ApiError("owner_session_required", "Sign in as the owner.")


def _check_origin() -> None:
    """Refuse to change anything if another site's page sent the request.

    Clients that are not browsers send neither header, and pass.
    """
    if request.method in SAFE_METHODS:
        return
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if site not in (None, "same-origin", "none"):
        raise ApiError("cross_site_request")
    if origin == "null" and site is None:
        raise ApiError("cross_site_request", WITHHELD)
    if origin not in (None, "null") and _host_of(origin) != request.host:
        raise ApiError("cross_site_request", ELSEWHERE)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def check_form() -> None:
    """Forms carry a token.  JSON can't be sent cross-site without the server's consent."""
    if (problem := _form_problem()) is not None:
        raise ApiError("csrf_token_required", EXPIRED if problem == "expired" else NO_COOKIE)


def _form_problem() -> FormProblem | None:
    if request.is_json or not request.mimetype:
        return None
    try:
        csrf.protect()
    except CSRFError:
        has_cookie = current_app.config["SESSION_COOKIE_NAME"] in request.cookies
        return "expired" if has_cookie else "no_cookie"
    return None


_SIGNED_IN: dict[int, Responses] = {302: "Signed in; redirects to `return_to`."}


@blueprint.get("/owner/login")
@operation("The form to sign in with", {200: PAGE, **_SIGNED_IN}, query=ReturnTo)
def login_form(query: ReturnTo) -> Any:
    target = local_path(query.return_to)
    return redirect_to(target) if is_owner() else render(LoginPage(target))


@blueprint.post("/owner/login")
@operation(
    "Sign in as the owner",
    _SIGNED_IN,
    errors=(
        "invalid_request",
        "invalid_password",
        "csrf_token_required",
        "body_too_large",
        "too_many_requests",
    ),
    body={JSON: Login, FORM: LoginForm},
)
def login() -> Any:
    target = local_path(request.form.get("return_to"))
    if wants_html() and (problem := _form_problem()):
        # Signed in meanwhile, in another tab; or else the form again, with a new token and cookie.
        return redirect_to(target) if is_owner() else (render(LoginPage(target, problem)), 403)
    check_form()
    password = _password()
    if not _is_right(password):
        if wants_html() and not request.is_json:
            return render(LoginPage(target, "wrong")), 401
        raise ApiError("invalid_password")
    _sessions().start()
    _remember_browser()
    return redirect_to(target)


def redirect_to(path: str, status: int = 302) -> Any:
    """To a path of this server, below its prefix."""
    return redirect(request.script_root + path, status)


def _is_right(password: str) -> bool:
    """Raises ApiError after too many wrong ones from the same network, or the same known browser."""
    attempts: SignInAttempts = current_app.extensions["sign_in_attempts"]
    who = _known_browser() or network_of(request.remote_addr or "")
    if wait := attempts.begin(who):
        raise ApiError("too_many_requests", retry_after=wait)
    is_right = _credentials().is_owner(password)
    if is_right:
        attempts.forgive(who)
    return is_right


def _browsers() -> URLSafeSerializer:
    return URLSafeSerializer(current_app.secret_key or "", salt=_credentials().session_fingerprint)


def _known_browser() -> str | None:
    with suppress(BadSignature):
        return str(_browsers().loads(request.cookies.get(BROWSER_COOKIE, "")))
    return None


def _remember_browser() -> None:
    name = _known_browser() or secrets.token_urlsafe(9)
    g.cookie = {
        "key": BROWSER_COOKIE,
        "value": _browsers().dumps(name),
        "max_age": BROWSER_SECONDS,
        "path": url_for("auth.login"),
        "secure": current_app.config["SESSION_COOKIE_SECURE"],
        "httponly": True,
        "samesite": "Lax",
    }


def _password() -> str:
    """The password from the JSON body or the form."""
    with suppress(msgspec.ValidationError, RecursionError):
        if request.is_json:
            return msgspec.convert(request.get_json(silent=True), Login).password
        if "password" in request.form:
            return request.form["password"]
    raise ApiError("invalid_request", 'Send the password as {"password": "..."}.')


@blueprint.post("/owner/logout")
@operation("Sign out", {302: "Signed out."}, errors=("csrf_token_required", "body_too_large"))
def logout() -> Any:
    if not (wants_html() and not is_owner()):  # somebody who is signed out already needs no form for it
        check_form()
    session.clear()
    return redirect(url_for("auth.login_form"))

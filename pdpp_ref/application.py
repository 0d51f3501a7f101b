"""The WSGI application, put together from its parts."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask import Flask

from . import credentials, instance_folder, notices, parts, startup
from .authentication import BearerTokens
from .blueprints import (
    alerting_metrics,
    auth,
    connector_api,
    connector_deletes,
    connector_files,
    dashboard,
    data_api,
    day_pages,
    delete_pages,
    download_pages,
    metrics,
    middleware,
    operator_api,
    operator_growth,
    record_pages,
    retention_api,
    room_pages,
    token_pages,
)
from .blueprints.openapi import document
from .blueprints.owner import formatting
from .blueprints.proxies import TrustedProxies
from .blueprints.responses import FinalResponse
from .blueprints.sessions import OwnerSessions
from .config import PREFIX, InvalidSetting, Settings
from .instance_folder import PACKAGE
from .services.background_rebuild import BackgroundRebuild
from .services.prepared_files import PreparedFiles
from .services.readiness import Readiness
from .services.room import RecentRoom
from .sign_in_attempts import SignInAttempts

# A checkout has templates/ and static/ next to the package; an installed wheel has them inside.
ASSETS = PACKAGE if (PACKAGE / "templates").is_dir() else PACKAGE.parent

Function = TypeVar("Function", bound=Callable[..., Any])


class _Flask(Flask):
    response_class = FinalResponse

    def ensure_sync(self, func: Function) -> Function:
        """The function itself: none is a coroutine, which Flask would look for ten times a request."""
        return func


def create_app(
    overrides: Mapping[str, Any] | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Flask:
    """The WSGI application.  `overrides` of settings have names without PDPP_; `clock` is for the cooldown.

    Raises config.InvalidSetting and database.DatabaseUnusable, whose messages are for the operator.
    """
    settings = Settings.load(overrides)
    app = _flask(settings, overrides or {})
    startup.open_database(settings)
    startup.watch_for_restores(instance_folder.create(settings))
    app.extensions["auto_reconcile"] = parts.auto_reconcile(settings, clock)
    app.extensions["background_rebuild"] = BackgroundRebuild()
    app.extensions["recent_room"] = RecentRoom(clock)
    app.extensions["readiness"] = Readiness()
    app.extensions["credentials"] = known = _credentials(settings)
    app.extensions["prepared_files"] = prepared = PreparedFiles(instance_folder.path_for(settings), clock)
    app.extensions["housekeeping"] = parts.housekeeping(settings, prepared)
    app.extensions["bearer_tokens"] = BearerTokens(known, clock)
    app.extensions["owner_sessions"] = OwnerSessions(app, known)
    app.extensions["sign_in_attempts"] = SignInAttempts(clock)
    app.config["SECRET_KEY"] = known.secret_key
    middleware.init_app(app)
    auth.init_app(app)
    document.init_app(app)
    pages = (dashboard, day_pages, record_pages, room_pages, delete_pages, download_pages, token_pages)
    protocol = (connector_api, connector_files, connector_deletes, data_api)
    operators = (operator_api, operator_growth, retention_api)
    for part in (auth, *pages, *protocol, formatting, metrics, document, *operators):
        app.register_blueprint(part.blueprint)
    metrics.init_app(app)
    alerting_metrics.init_app(app)
    return app


def _flask(settings: Settings, overrides: Mapping[str, Any]) -> Flask:
    """Flask with the settings, those of its own included: PDPP_SESSION_COOKIE_NAME, say."""
    app = _Flask(
        "pdpp_ref",
        template_folder=str(ASSETS / "templates"),
        static_folder=str(ASSETS / "static"),
        instance_path=str(instance_folder.path_for(settings)),
    )
    app.config.from_prefixed_env(PREFIX.removesuffix("_"))
    app.config.from_mapping(overrides)
    app.config.from_mapping({name.upper(): value for name, value in vars(settings).items()})
    app.config["TRUSTED_HOSTS"] = list(settings.trusted_hosts) or None
    if proxies := settings.trusted_proxies:
        app.wsgi_app = TrustedProxies(app.wsgi_app, proxies)  # type: ignore[assignment,method-assign]
    return app


def _credentials(settings: Settings) -> credentials.Credentials:
    """The credentials; new ones are shown this once.  Raises InvalidSetting."""
    folder = instance_folder.create(settings)
    try:
        known = credentials.load(
            folder,
            password=settings.owner_password,
            token=settings.operator_token,
            secret_key=settings.secret_key,
        )
    except OSError:
        raise InvalidSetting(instance_folder.UNUSABLE) from None
    instance_folder.warn_if_open(folder)
    for name, secret in known.new_secrets.items():
        notices.show(f"New {name}, shown only once: {secret}")
    return known

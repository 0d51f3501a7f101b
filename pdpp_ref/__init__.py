"""pdpp-ref: a personal data server's account of what it keeps.

`create_app` puts the parts together; the layers are blueprints and cli, services, models, database.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from . import config, credentials, database, migrations
from .services.auto_reconcile import AutoReconcile
from .services.background_rebuild import BackgroundRebuild
from .services.cooldown import Cooldown
from .services.reconcile import Limits

__version__ = "0.1.0"

_HERE = Path(__file__).resolve().parent
# A checkout has templates/ and static/ beside the package; an installed wheel has them inside.
_ASSETS = _HERE if (_HERE / "templates").is_dir() else _HERE.parent


def create_app(
    settings: Mapping[str, Any] | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Flask:
    """The WSGI application.  `settings` override the environment; `clock` is for the cooldown.

    Raises config.InvalidSetting and database.DatabaseUnusable, whose messages are for the operator.
    """
    from .blueprints import (
        auth,
        connector_api,
        dashboard,
        metrics,
        middleware,
        operator_api,
    )
    from .blueprints.openapi import document
    from .blueprints.owner import formatting

    app = bare_app(settings)
    open_database(app)
    app.extensions["auto_reconcile"] = auto_reconcile(app, clock)
    app.extensions["background_rebuild"] = BackgroundRebuild()
    folder = config.instance_folder(app)
    try:
        known = credentials.load(
            folder,
            password=app.config["OWNER_PASSWORD"],
            token=app.config["OPERATOR_TOKEN"],
            secret_key=app.config["SECRET_KEY"],
        )
    except OSError:
        raise config.InvalidSetting(config.INSTANCE_UNUSABLE) from None
    config.warn_of_others(folder)
    for name, secret in known.news.items():
        what = {"password": "owner password", "token": "operator token"}[name]
        click.echo(f"New {what}, shown this once: {secret}", err=True)
    app.extensions["credentials"] = known
    app.config["SECRET_KEY"] = known.secret_key
    middleware.init_app(app)
    auth.init_app(app)
    metrics.init_app(app)
    document.init_app(app)
    for part in (auth, dashboard, connector_api, formatting, metrics, document, operator_api):
        app.register_blueprint(part.blueprint)
    return app


def bare_app(settings: Mapping[str, Any] | None = None) -> Flask:
    """An application that knows its settings and nothing else; what the commands start from."""
    instance = (settings or {}).get("INSTANCE_PATH") or os.environ.get("PDPP_INSTANCE_PATH")
    app = Flask(
        __name__,
        template_folder=str(_ASSETS / "templates"),
        static_folder=str(_ASSETS / "static"),
        instance_path=str(config.instance_path(instance, _HERE)),
    )
    config.load(app, settings)
    if proxies := app.config["TRUSTED_PROXIES"]:
        fixed = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies)
        app.wsgi_app = fixed  # type: ignore[method-assign]
    return app


def open_database(app: Flask) -> None:
    """Bind the database of the settings and bring it to this program's schema."""
    url = app.config["DATABASE_URL"]
    folder = Path() if url else config.instance_folder(app)
    database.connect(url, folder)
    migrations.prepare()
    if not url:
        config.warn_of_others(folder)


def auto_reconcile(app: Flask, clock: Callable[[], float] = time.monotonic) -> AutoReconcile:
    limits = Limits(app.config["RECONCILE_MAX_ROWS"], app.config["RECONCILE_BUDGET_MS"] / 1000)
    return AutoReconcile(limits, Cooldown(app.config["RECONCILE_COOLDOWN_SECONDS"], clock))

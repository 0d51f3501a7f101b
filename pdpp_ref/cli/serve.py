"""Serving the owner's own data, or sample data."""

import errno
import os
import secrets
import sys

import click
from flask import Flask

from .. import instance_folder
from ..application import create_app
from ..config import Settings
from ..database import fetch_all
from ..operations import demo_data
from ..server import Workers, listen
from . import logs, output
from .common import cli_errors
from .errors import UsageError

PORT = 7663
USUAL_WORKERS = 4  # at most, unless PDPP_WORKERS says more
LOOPBACK = ("127.0.0.1", "::1", "localhost")

_host = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
_port = click.option(
    "--port", default=PORT, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on."
)


@click.command()
@_host
@_port
def serve(host: str, port: int) -> None:
    """Serve the dashboard and the API."""
    with cli_errors():
        logs.serve(Settings.load().log_level)
        app = create_app()
    _serve(app, host, port, "with the owner password (forgotten? set PDPP_OWNER_PASSWORD)")


@click.command()
@_host
@_port
def demo(host: str, port: int) -> None:
    """Serve sample data from a database of its own."""
    with cli_errors():
        settings = Settings.load()
        logs.serve(settings.log_level)
        password = settings.owner_password or secrets.token_urlsafe(9)
        app = create_app(
            {
                "INSTANCE_PATH": str(instance_folder.create(settings) / "demo"),
                "DATABASE_URL": "",
                "OWNER_PASSWORD": password,
                "SAMPLE_DATA": True,
            }
        )
        if not fetch_all("SELECT 1 FROM connections LIMIT 1"):
            output.report("Loading sample data ...")
            demo_data.load()
    _serve(app, host, port, f"with the password {password}")


def _serve(app: Flask, host: str, port: int, how_to_sign_in: str) -> None:
    try:
        sockets = listen(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} is in use; choose another with --port") from None
        raise UsageError(f"can't listen on {host} port {port}: {error.strerror or 'unknown'}") from None
    except ValueError:  # UnicodeError is one
        raise UsageError(f"can't listen on {host} port {port}: not an address") from None
    if host not in LOOPBACK:
        output.report("Others can reach this address, unencrypted: put a TLS proxy in front of it.")
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"Dashboard: http://{shown}:{port}/dashboard\nSign in {how_to_sign_in}.  Stop with Ctrl-C.")
    sys.stdout.flush()  # or each process would have it to print
    Workers(app, sockets, app.config["WORKERS"] or min(_processors(), USUAL_WORKERS)).run()


def _processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

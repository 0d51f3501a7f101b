"""Serving the owner's own data, or made-up data."""

import errno
import os
import secrets

import click
from flask import Flask

from .. import bare_app, config, create_app
from ..database import fetch_all
from ..operations import demo_data
from ..server import listen
from .common import TemporaryFailure, UsageError, cli_errors

PORT = 7663
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
        app = create_app()
    _serve(app, host, port, "with the owner password (forgotten? set PDPP_OWNER_PASSWORD)")


@click.command()
@_host
@_port
def demo(host: str, port: int) -> None:
    """Serve sample data from a database of its own."""
    with cli_errors():
        folder = config.instance_folder(bare_app()) / "demo"
        password = os.environ.get("PDPP_OWNER_PASSWORD") or secrets.token_urlsafe(9)
        settings = {
            "INSTANCE_PATH": str(folder),
            "DATABASE_URL": "",
            "OWNER_PASSWORD": password,
            "SAMPLE_DATA": True,
        }
        app = create_app(settings)
        if not fetch_all("SELECT 1 FROM connections LIMIT 1"):
            click.echo("Loading sample data ...", err=True)
            demo_data.load()
    _serve(app, host, port, f"with the password {password}")


def _serve(app: Flask, host: str, port: int, way_in: str) -> None:
    try:
        server = listen(app, host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} is in use; choose another with --port") from None
        raise UsageError(f"can't listen on {host} port {port}: {error.strerror or 'unknown'}") from None
    if host not in LOOPBACK:
        click.echo("Others can reach this address, unencrypted: put a proxy with TLS in front.", err=True)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"Dashboard: http://{shown}:{port}/dashboard\nSign in {way_in}.  Stop with Ctrl-C.")
    try:
        server.run()
    except OSError as error:  # the server thread could not go on, as where memory or files ran out
        raise TemporaryFailure(f"the server stopped: {error.strerror}") from None

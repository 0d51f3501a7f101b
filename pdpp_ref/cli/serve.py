"""Serving the owner's own data, or sample data."""

import errno
import os
import secrets
import socket
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
from .settings_help import Command

PORT = 7663
USUAL_WORKERS = 4  # at most, unless PDPP_WORKERS says more
LONGEST_SHOWN = 60  # of a host
LOOPBACK = ("127.0.0.1", "::1", "localhost")

_host = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
_port = click.option(
    "--port", default=PORT, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on."
)


@click.command(cls=Command)
@_host
@_port
def serve(host: str, port: int) -> None:
    """Serve the dashboard and the API."""
    with cli_errors():
        logs.serve(Settings.load().log_level)
    sockets = _listen(host, port)
    with cli_errors():
        app = create_app()
    _serve(
        app, sockets, host, port, "with the owner password (forgotten? pdpp-ref password prints a new one)"
    )


@click.command(cls=Command)
@_host
@_port
def demo(host: str, port: int) -> None:
    """Serve sample data from a database of its own."""
    with cli_errors():
        settings = Settings.load()
        logs.serve(settings.log_level)
    sockets = _listen(host, port)
    with cli_errors():
        made = None if settings.owner_password else secrets.token_urlsafe(9)
        app = create_app(
            {
                "INSTANCE_PATH": str(instance_folder.create(settings) / "demo"),
                "DATABASE_URL": "",
                "OWNER_PASSWORD": settings.owner_password or made,
                "SAMPLE_DATA": True,
            }
        )
        if not fetch_all("SELECT 1 FROM connections LIMIT 1"):
            output.report("Loading sample data ...")
            demo_data.load()
    # One that somebody has chosen is a secret, and this may be a log.
    way_in = f"with the password {made}" if made else "with the password in PDPP_OWNER_PASSWORD"
    _serve(app, sockets, host, port, way_in)


def _listen(host: str, port: int) -> list[socket.socket]:
    """Before anything is created.  Raises UsageError."""
    try:
        return listen(host, port)
    except socket.gaierror as error:
        reason = error.strerror or "unknown"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} is in use; choose another with --port") from None
        reason = os.strerror(error.errno or 0)
    except ValueError:  # UnicodeError is one
        reason = "not an address"
    raise UsageError(f"can't listen on {_shown(host)} port {port}: {reason}")


def _shown(host: str) -> str:
    text = host if host.isprintable() and host.strip() else ascii(host)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _serve(app: Flask, sockets: list[socket.socket], host: str, port: int, how_to_sign_in: str) -> None:
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

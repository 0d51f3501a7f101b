"""Settings: one declaration each, read from PDPP_* variables, checked at start."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Any

import click
import platformdirs
from flask import Flask

from . import private_files


class InvalidSetting(Exception):
    """A setting can't be used.  The message names its variable and never quotes a secret."""


@dataclass(frozen=True)
class Number:
    """A whole number and its range."""

    default: int
    least: int
    most: int


@dataclass(frozen=True)
class Text:
    """Text that is taken as it stands, even where it looks like a number."""


@dataclass(frozen=True)
class Names:
    """Names with commas between them; none where it is empty."""


# What tells that an instance folder has been used.
INSTANCE_FILES = ("pdpp-ref.sqlite3", "owner_password.hash", "operator_token.hash", "secret_key")
INSTANCE_UNUSABLE = (
    "the instance folder can't be used; set PDPP_INSTANCE_PATH to a folder that you can write to"
)

SETTINGS: dict[str, Number | Text | Names] = {
    "DATABASE_URL": Text(),
    "OWNER_PASSWORD": Text(),
    "OPERATOR_TOKEN": Text(),
    "SECRET_KEY": Text(),
    "RECONCILE_COOLDOWN_SECONDS": Number(30, 1, 86_400),
    "RECONCILE_MAX_ROWS": Number(64, 1, 100_000),
    "RECONCILE_BUDGET_MS": Number(250, 1, 60_000),
    "HERO_POLL_SECONDS": Number(10, 1, 3_600),
    "TRUSTED_PROXIES": Number(0, 0, 10),
    "TRUSTED_HOSTS": Names(),
}


def load(app: Flask, overrides: Mapping[str, Any] | None = None) -> None:
    """Fill `app.config` from the environment, then from `overrides`.  Raises InvalidSetting."""
    app.config.from_prefixed_env("PDPP")
    for name in SETTINGS:
        if f"PDPP_{name}" in os.environ:
            app.config[name] = os.environ[f"PDPP_{name}"]
    app.config.from_mapping(overrides or {})
    for name, kind in SETTINGS.items():
        app.config[name] = _checked(f"PDPP_{name}", kind, app.config.get(name))


def _checked(variable: str, kind: Number | Text | Names, value: Any) -> int | str | list[str] | None:
    if isinstance(kind, Text):
        return "" if value is None else str(value)
    if isinstance(kind, Names):
        return [name.strip() for name in str(value or "").split(",") if name.strip()] or None
    if value in (None, ""):
        return kind.default
    try:
        number = int(str(value))
    except ValueError:
        number = kind.least - 1
    if not kind.least <= number <= kind.most:
        raise InvalidSetting(
            f"{variable} must be a whole number from {kind.least} to {kind.most}, not {value!r}"
        )
    return number


# ---- the instance folder -----------------------------------------------------------------------


def instance_path(set_to: str | None, package: Path) -> Path:
    """Where this installation's own files are: as it is set, beside a checkout's package, or with the
    user's other data.  What lies in an environment is deleted when that is installed again.
    """
    if set_to:
        return Path(set_to).resolve()
    if (package.parent / "pyproject.toml").is_file() and not (package / "templates").is_dir():
        return package.parent / "instance"
    place = platformdirs.user_data_path("pdpp-ref", appauthor=False).resolve()
    former = Path(Flask(package.name, static_folder=None).instance_path)
    return _of_two(former, place)


def _of_two(former: Path, place: Path) -> Path:
    """The folder that has been used; where both have, the new one."""
    if not _is_used(former):
        return place
    if _is_used(place):
        _warn(f"Not used: the data in {former}, as there is some in {place}, too.")
        return place
    move = f"mkdir -p {quote(str(place.parent))} && mv {quote(str(former))} {quote(str(place))}"
    if place.exists():
        move = f"mv {quote(str(former))}/* {quote(str(place))}"
    _warn(f"The data is in the environment, where installing again may delete it.  Stop and run: {move}")
    return former


def _is_used(folder: Path) -> bool:
    try:
        return any((folder / name).exists() for name in INSTANCE_FILES)
    except OSError:
        return False


def instance_folder(app: Flask) -> Path:
    """The folder of this installation's own files, created for its owner alone."""
    folder = Path(app.instance_path)
    try:
        private_files.make_folder(folder)
    except OSError:
        raise InvalidSetting(INSTANCE_UNUSABLE) from None
    return folder


def warn_of_others(folder: Path) -> None:
    """Of a folder that we have not made: whoever made it may have meant it so."""
    if private_files.is_open_to_others(folder):
        _warn(f"Others can look into the instance folder.  Close it with: chmod 700 {quote(str(folder))}")


@cache
def _warn(line: str) -> None:
    """Once, on the operator's own terminal: the one place where paths may be told."""
    click.echo(line, err=True)

"""Settings: one declaration each, read from PDPP_* variables, checked at start."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask


class WrongSetting(Exception):
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
    """Fill `app.config` from the environment, then from `overrides`.  Raises WrongSetting."""
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
        raise WrongSetting(
            f"{variable} must be a whole number from {kind.least} to {kind.most}, not {value!r}"
        )
    return number


def instance_folder(app: Flask) -> Path:
    """The folder of this installation's own files, created for its owner alone."""
    folder = Path(app.instance_path)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        raise WrongSetting(INSTANCE_UNUSABLE) from None
    return folder

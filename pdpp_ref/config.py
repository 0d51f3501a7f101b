"""Settings: each is declared once, read from its PDPP_ variable and checked at startup.

Flask is not needed to read them, so commands start without it.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

from . import notices

PREFIX = "PDPP_"
MOST_WORKERS = 8
SERVERS = ("serve", "demo")
TEST_PREFIX = "PDPP_TEST_"  # variables for the test suite, which the program ignores

# Flask's own settings, with which `flask` and the server can be tuned: PDPP_SESSION_COOKIE_NAME, say.
FLASK_SETTINGS = frozenset(
    {
        "APPLICATION_ROOT",
        "DEBUG",
        "EXPLAIN_TEMPLATE_LOADING",
        "MAX_CONTENT_LENGTH",
        "MAX_COOKIE_SIZE",
        "MAX_FORM_MEMORY_SIZE",
        "MAX_FORM_PARTS",
        "PERMANENT_SESSION_LIFETIME",
        "PREFERRED_URL_SCHEME",
        "PROPAGATE_EXCEPTIONS",
        "PROVIDE_AUTOMATIC_OPTIONS",
        "SECRET_KEY",
        "SECRET_KEY_FALLBACKS",
        "SEND_FILE_MAX_AGE_DEFAULT",
        "SERVER_NAME",
        "SESSION_COOKIE_DOMAIN",
        "SESSION_COOKIE_HTTPONLY",
        "SESSION_COOKIE_NAME",
        "SESSION_COOKIE_PARTITIONED",
        "SESSION_COOKIE_PATH",
        "SESSION_COOKIE_SAMESITE",
        "SESSION_COOKIE_SECURE",
        "SESSION_REFRESH_EACH_REQUEST",
        "TEMPLATES_AUTO_RELOAD",
        "TESTING",
        "TRAP_BAD_REQUEST_ERRORS",
        "TRAP_HTTP_EXCEPTIONS",
        "TRUSTED_HOSTS",
        "USE_X_SENDFILE",
    }
)


class InvalidSetting(Exception):
    """A setting can't be used.  The message names its variable and never quotes a secret."""


# ---- kinds of values -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """Any text, even if it looks like a number."""

    values = "text"

    def parse(self, text: str) -> str:
        return text


@dataclass(frozen=True)
class Number:
    """A whole number from `least` to `most`."""

    least: int
    most: int

    @property
    def values(self) -> str:
        return f"{self.least:,} to {self.most:,}"

    def parse(self, text: str) -> int:
        """Raises ValueError, which says what is expected."""
        try:
            number = int(text)
        except ValueError:
            number = self.least - 1
        if not self.least <= number <= self.most:
            raise ValueError(f"a whole number from {self.least} to {self.most}")
        return number


@dataclass(frozen=True)
class Names:
    """Names, separated by commas."""

    values = "names"

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True)
class Choice:
    """One of a few words, in any case."""

    words: tuple[str, ...]

    @property
    def values(self) -> str:
        return ", ".join(self.words)

    def parse(self, text: str) -> str:
        """Raises ValueError, which says what is expected."""
        if text.lower() not in self.words:
            raise ValueError(f"one of {self.values}")
        return text.lower()


@dataclass(frozen=True)
class Flag:
    """Yes or no."""

    values = "true, false"

    def parse(self, text: str) -> bool:
        """Raises ValueError, which says what is expected."""
        word = text.lower()
        if word not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
            raise ValueError("true or false")
        return word in ("true", "1", "yes", "on")


Kind = Text | Number | Names | Choice | Flag


class Declaration(NamedTuple):
    """One setting, as documentation lists it."""

    name: str  # without PDPP_
    kind: Kind
    default: str
    meaning: str
    commands: tuple[str, ...]
    but_not: tuple[str, ...]

    @property
    def variable(self) -> str:
        return PREFIX + self.name

    def is_of(self, command: str) -> bool:
        """Whether the command obeys it."""
        return command in self.commands if self.commands else command not in self.but_not


def _setting(
    kind: Kind,
    default: Any,
    meaning: str,
    *,
    commands: tuple[str, ...] = (),
    but_not: tuple[str, ...] = (),
    shown: str = "",
    secret: bool = False,
) -> Any:
    """A field of Settings.

    `commands` obey it; if none are named, all do, `but_not` those.  `shown` describes a default that is not
    a value; a secret is not printed.
    """
    metadata = {
        "kind": kind,
        "meaning": meaning,
        "default": shown or str(default).lower(),
        "commands": commands,
        "but_not": but_not,
    }
    return field(default=default, repr=not secret, metadata=metadata)


# ---- the settings --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """All settings.  An empty text means that the default applies."""

    database_url: str = _setting(
        Text(),
        "",
        "`sqlite:///relative/path`, `sqlite:////absolute/path`, or `postgresql://user:password@host/database`",
        shown="a file in the instance folder",
        secret=True,
        but_not=("demo", "password"),
    )
    owner_password: str = _setting(
        Text(),
        "",
        "the owner's password",
        shown="generated, printed once",
        secret=True,
        commands=(*SERVERS, "password"),
    )
    operator_token: str = _setting(
        Text(),
        "",
        "the operator's bearer token",
        shown="generated, printed once",
        secret=True,
        commands=(*SERVERS, "token"),
    )
    secret_key: str = _setting(
        Text(), "", "signs session cookies", shown="generated, stored", secret=True, commands=SERVERS
    )
    reconcile_max_rows: int = _setting(
        Number(1, 100_000), 64, "how many rows one read may recompute", commands=(*SERVERS, "summary")
    )
    reconcile_budget_ms: int = _setting(
        Number(1, 60_000), 250, "how long one read may recompute, in ms", commands=(*SERVERS, "summary")
    )
    reconcile_cooldown_seconds: int = _setting(
        Number(1, 86_400),
        30,
        "wait after a failed pass; it doubles, up to 15 minutes",
        commands=(*SERVERS, "summary"),
    )
    hero_poll_seconds: int = _setting(
        Number(1, 3_600), 10, "how often an open dashboard polls", commands=SERVERS
    )
    trusted_proxies: int = _setting(
        Number(0, 10),
        0,
        "number of reverse proxies whose X-Forwarded-* headers are trusted",
        commands=SERVERS,
    )
    trusted_hosts: tuple[str, ...] = _setting(
        Names(),
        (),
        "host names that the server answers to, separated by commas",
        shown="any",
        commands=SERVERS,
    )
    workers: int = _setting(
        Number(0, MOST_WORKERS),
        0,
        "number of processes that serve",
        shown="one per processor, at most 4",
        commands=SERVERS,
    )
    session_cookie_secure: bool = _setting(
        Flag(), False, "send the session cookie over TLS only", commands=SERVERS
    )
    instance_path: str = _setting(
        Text(),
        "",
        "folder of the database and the generated secrets",
        shown="`instance/` in a checkout, else the user's data folder",
    )
    log_level: str = _setting(
        Choice(("info", "warning", "error")),
        "info",
        "the least severe messages that are logged; each request is logged as `info`",
        but_not=("password",),
    )
    unclaimed_file_hours: int = _setting(
        Number(1, 8_760),
        24,
        "for how many hours of uptime a file waits for its record, at least",
        commands=SERVERS,
    )
    database_wait_seconds: int = _setting(
        Number(0, 3_600),
        60,
        "how long a start, or an import at any time, waits for a database server that does not answer",
    )
    copy_to: str = _setting(
        Text(),
        "",
        "`--to` of `pdpp-ref copy`, if the URL has a password",
        shown="none",
        secret=True,
        commands=("copy",),
    )

    @classmethod
    def load(cls, overrides: Mapping[str, Any] | None = None) -> Self:
        """The settings of the environment; `overrides`, by name without PDPP_, take precedence.

        Names that are not settings are reported for the environment and ignored in `overrides`.
        Raises InvalidSetting.
        """
        _report_unknown_variables()
        found = {}
        for each in declarations():
            value = (overrides or {}).get(each.name, os.environ.get(each.variable))
            if value not in (None, ""):
                found[each.name.lower()] = _parsed(each, str(value))
        return cls(**found)


def declarations() -> Iterator[Declaration]:
    """Every setting, in the order of the documentation."""
    for each in fields(Settings):
        data = each.metadata
        yield Declaration(each.name.upper(), **data)


def _parsed(declared: Declaration, value: str) -> Any:
    try:
        return declared.kind.parse(value)
    except ValueError as expected:
        raise InvalidSetting(f"{declared.variable} must be {expected}, not {value!r}") from None


def _report_unknown_variables() -> None:
    """A misspelled variable would otherwise change nothing, silently.  Values may be secret."""
    known = [each.variable for each in declarations()]
    for name in os.environ:
        if not name.startswith(PREFIX) or name.startswith(TEST_PREFIX):
            continue
        if name not in known and name.removeprefix(PREFIX) not in FLASK_SETTINGS:
            from difflib import get_close_matches  # slow to import, and rarely needed

            (closest,) = get_close_matches(name.upper(), known, n=1, cutoff=0)
            shown = name if name.isidentifier() else ascii(name)
            notices.show_once(f"{shown} is not a setting; the closest one is {closest}")

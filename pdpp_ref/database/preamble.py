"""How a transaction of PostgreSQL begins: one message that says all that must hold in it.

Nothing is left to the session or to a role's defaults.  A pooler in transaction mode, as pgbouncer or
Neon's, gives each transaction another session, with whatever others have set there.
"""

import os
import re
import shlex
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .errors import DatabaseUnusable
from .schema_guard import LOOK, OF

# A write that waits for longer than this is told that the database is busy, as on SQLite.
LOCK_TIMEOUT_MS = 5000

# It says nothing of READ WRITE: who makes a role or a database read-only has a reason, as a full disk.
WORK = "BEGIN ISOLATION LEVEL READ COMMITTED"
SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# A change of the schema, which no role's time-out may end.
ALONE = f"{WORK}; SET LOCAL statement_timeout = 0"

# A change of the schema takes the same lock, in a mode that lets nobody else have it: it waits until
# all that has begun is done, and what begins later sees what it did.  Before any snapshot is taken.
LOCK = "LOCK TABLE pdpp_ref_schema IN ACCESS SHARE MODE"
LOCK_ALONE = "LOCK TABLE pdpp_ref_schema IN ACCESS EXCLUSIVE MODE"

# An acknowledged write must survive power loss, whatever the role's default is.
DURABLE = (
    "set_config('synchronous_commit', CASE current_setting('synchronous_commit') "
    "WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, TRUE)"
)
_MOMENT = 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
# In a transaction before the snapshot: whatever had arrived by this time is in it.
ARRIVED = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; "
    f"SELECT to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', '{_MOMENT}'); COMMIT"
)


class Begun(NamedTuple):
    """What the server says at the beginning of a transaction.

    `process` is the one that carries it out; `arrived`, on a replica, the time of the last commit that
    had arrived there, where it was asked for.
    """

    process: int
    is_replica: bool
    version: int | None
    unfinished: bool
    arrived: str | None


@dataclass(frozen=True)
class Preamble:
    """The message.  `settings` are those of the URL; ours come after them."""

    settings: tuple[tuple[str, str], ...] = ()
    _texts: dict[tuple[str, bool, bool, bool], str] = field(default_factory=dict)

    def text(self, begin: str, *, checked: bool, arrived: bool = False, ours: bool = False) -> str:
        """`ours`: nobody else has used the session."""
        key = begin, checked, arrived, ours
        if key not in self._texts:
            self._texts[key] = self._text(*key)
        return self._texts[key]

    def _text(self, begin: str, checked: bool, arrived: bool, ours: bool) -> str:
        # SET takes no snapshot, as SELECT set_config() would, so the lock comes before it.
        own = (("lock_timeout", str(LOCK_TIMEOUT_MS)), ("row_security", "off"))
        # What others have left in a pooler's session: another role, or the tables of another owner.
        sets = [] if ours else ["SET LOCAL role TO DEFAULT", "SET LOCAL search_path TO DEFAULT"]
        sets += [_set_local(*setting) for setting in (*self.settings, *own)]
        look = ["pg_backend_pid()", "pg_is_in_recovery()", LOOK if checked else "NULL, FALSE"]
        look += [] if begin == SNAPSHOT else [DURABLE]
        return "; ".join(
            [
                *([ARRIVED] if arrived else []),
                begin,
                *sets,
                *([LOCK] if checked else []),
                f"SELECT {', '.join(look)} {OF if checked else ''}",
            ]
        )


def begun(cursor: Any) -> Begun:
    """What the results of a preamble say."""
    rows: list[Any] = []
    while True:
        if cursor.description:
            rows.append(cursor.fetchone())
        if not cursor.nextset():
            break
    process, is_replica, version, unfinished, *_ = rows[-1] or (0, False, None, False)
    return Begun(process, is_replica, version, unfinished, rows[0][0] if len(rows) > 1 else None)


# ---- settings of the URL -----------------------------------------------------------------------

# Their values are lists of names, which SET wants one by one.
_LISTS = ("search_path", "temp_tablespaces")
_NAME = re.compile(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)?", re.ASCII)
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]*))\s*(?:,|$)')


def taken_from(options: str | None) -> tuple[tuple[tuple[str, str], ...], str]:
    """The settings of a URL's `options`, and what else is in there, for the start of a connection.

    Poolers refuse settings there, and would not keep them for our transactions.
    """
    words = _words(os.environ.get("PGOPTIONS", "") if options is None else options)
    settings, rest = [], []
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            setting = words.pop(0)
        elif word.startswith(("-c", "--")) and word not in ("-c", "--"):
            setting = word[2:]
        else:
            rest.append(word)
            continue
        name, is_set, value = setting.partition("=")
        if not is_set or not _NAME.fullmatch(name.replace("-", "_")):
            raise DatabaseUnusable("the options in PDPP_DATABASE_URL must be settings: -c name=value")
        settings.append((name.replace("-", "_").lower(), value))
    return tuple(settings), " ".join(word.replace("\\", r"\\").replace(" ", r"\ ") for word in rest)


def _words(options: str) -> list[str]:
    """As the server splits them: at spaces, and a backslash takes the next character as it is."""
    found = shlex.shlex(options, posix=True)
    found.whitespace_split, found.commenters, found.quotes = True, "", ""
    try:
        return list(found)
    except ValueError:
        raise DatabaseUnusable("the options in PDPP_DATABASE_URL end in a backslash") from None


def _set_local(name: str, value: str) -> str:
    items = _names(value) if name in _LISTS else [value]
    return f"SET LOCAL {name} = {', '.join(map(_quoted, items))}"


def _names(value: str) -> list[str]:
    """The names of a list, as the server reads it: small letters, but for what is quoted."""
    found, start = [], 0
    while start < len(value):
        item = _ITEM.match(value, start)
        if item is None:
            raise DatabaseUnusable("a list in the options of PDPP_DATABASE_URL can't be read")
        quoted, plain = item.groups()
        found.append(plain.strip().lower() if quoted is None else quoted.replace('""', '"'))
        start = item.end()
    return found or [""]


def _quoted(value: str) -> str:
    """A literal that means the same whatever `standard_conforming_strings` is."""
    return "E'" + value.replace("\\", r"\\").replace("'", "''") + "'"

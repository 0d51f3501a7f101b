"""How a PostgreSQL transaction begins: one message with all its settings.

Nothing is left to the session or to a role's defaults.  A pooler in transaction mode, such as pgbouncer
or Neon's, gives each transaction another session, with whatever other clients have set there.
"""

import os
import re
import shlex
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .errors import DatabaseUnusable

# Without READ WRITE: whoever makes a role or a database read-only has a reason, such as a full disk.
WORK = "BEGIN ISOLATION LEVEL READ COMMITTED"
SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# For a change of the schema, which no role's timeout may end.
EXCLUSIVE = f"{WORK}; SET LOCAL statement_timeout = 0"

# A change of the schema takes the same lock in exclusive mode: it waits for all transactions that have
# begun, and those that begin later see the change.  The lock is taken before any snapshot.
LOCK_SHARED = "LOCK TABLE pdpp_ref_schema IN ACCESS SHARE MODE"
LOCK_EXCLUSIVE = "LOCK TABLE pdpp_ref_schema IN ACCESS EXCLUSIVE MODE"

# An acknowledged write must survive power loss, whatever the role's default is.
DURABLE = """
    set_config(
        'synchronous_commit',
        CASE current_setting('synchronous_commit')
            WHEN 'off' THEN 'on'
            ELSE current_setting('synchronous_commit')
        END,
        TRUE
    )"""
# In a transaction before the snapshot, which therefore contains everything replicated by this time.
READ_REPLICATED_UNTIL = """
    BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;
    SELECT to_char(
        pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
    );
    COMMIT"""


# Right after an import the planner has no statistics.  Where it expects too many rows, it compiles a query
# of 2 ms for 100 ms.  Where it expects too few, it reads all rows of a stream (a bitmap) and sorts them,
# instead of a page of them from an index that has the order.
PLANNING = (("jit", "off"), ("enable_bitmapscan", "off"))


class Begun(NamedTuple):
    """What the server reports at the beginning of a transaction.

    `process` is the server process that runs it.  `version` and `unfinished` are the row of the schema's
    version, if it was checked.  `replicated_until` is the time of the last commit that had arrived on a
    replica, if it was asked for.
    """

    process: int
    is_replica: bool
    version: int | None
    unfinished: bool
    replicated_until: str | None


READ_DATA_VERSION = """
    SELECT s.version, s.unfinished, pg_is_in_recovery(), g.xmin::text, g.ctid::text
    FROM pdpp_ref_schema s
    CROSS JOIN retained_size_global g
    """


# With its own limits for the rest of the transaction.  A pass derives its rows from others, so its commit
# need not wait for the disk: a pass that is lost with the power is made again.
TRY_RECONCILE = """
    SELECT
        pg_try_advisory_xact_lock({lock}),
        set_config('lock_timeout', %s::text, TRUE),
        set_config('statement_timeout', %s::text, TRUE),
        set_config('synchronous_commit', 'off', TRUE)
    """


@dataclass(frozen=True)
class Preamble:
    """Builds the message.  `settings` are those of the URL; ours come after them."""

    settings: tuple[tuple[str, str], ...] = ()
    _texts: dict[tuple[str, int, bool, bool, bool], str] = field(default_factory=dict)

    def text(
        self,
        begin: str,
        lock_ms: int,
        *,
        checked: bool,
        with_replica_time: bool = False,
        ours: bool = False,
    ) -> str:
        """`lock_ms`: how long to wait for a lock; `checked`: read the version; `ours`: nobody else has
        used the session.
        """
        key = begin, lock_ms, checked, with_replica_time, ours
        if key not in self._texts:
            self._texts[key] = self._text(*key)
        return self._texts[key]

    def _text(self, begin: str, lock_ms: int, checked: bool, with_replica_time: bool, ours: bool) -> str:
        # SET takes no snapshot, unlike SELECT set_config(), so the lock comes before it.
        own = (("lock_timeout", str(lock_ms)), ("row_security", "off"), *PLANNING)
        # Others may have left another role in a pooler's session, or the tables of another owner.
        sets = [] if ours else ["SET LOCAL role TO DEFAULT", "SET LOCAL search_path TO DEFAULT"]
        sets += [_set_local(*setting) for setting in (*self.settings, *own)]
        columns = ["pg_backend_pid()", "pg_is_in_recovery()"]
        columns += ["version", "unfinished"] if checked else ["NULL", "FALSE"]
        columns += [] if begin == SNAPSHOT else [DURABLE]
        return "; ".join(
            [
                *([READ_REPLICATED_UNTIL] if with_replica_time else []),
                begin,
                *sets,
                *([LOCK_SHARED] if checked else []),
                f"SELECT {', '.join(columns)} {'FROM pdpp_ref_schema' if checked else ''}",
            ]
        )


def read_begun(cursor: Any) -> Begun:
    """The results of a preamble."""
    rows: list[Any] = []
    while True:
        if cursor.description:
            rows.append(cursor.fetchone())
        if not cursor.nextset():
            break
    process, is_replica, version, unfinished, *_ = rows[-1] or (0, False, None, False)
    return Begun(process, is_replica, version, unfinished, rows[0][0] if len(rows) > 1 else None)


# ---- settings of the URL -----------------------------------------------------------------------

# Their values are lists of names, which SET expects one by one.
_LISTS = ("search_path", "temp_tablespaces")
_NAME = re.compile(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)?", re.ASCII)
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]*))\s*(?:,|$)')


def split_options(options: str | None) -> tuple[tuple[tuple[str, str], ...], str]:
    """The settings in a URL's `options`, and the rest, which is for the start of a connection.

    Poolers refuse settings at the start, and would not apply them to our transactions.
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
    """Split as the server does: at spaces; a backslash escapes the next character."""
    lexer = shlex.shlex(options, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.quotes = True, "", ""
    try:
        return list(lexer)
    except ValueError:
        raise DatabaseUnusable("the options in PDPP_DATABASE_URL end in a backslash") from None


def _set_local(name: str, value: str) -> str:
    items = _names(value) if name in _LISTS else [value]
    return f"SET LOCAL {name} = {', '.join(map(_quoted, items))}"


def _names(value: str) -> list[str]:
    """The names of a list as the server reads it: unquoted ones in lower case."""
    names, start = [], 0
    while start < len(value):
        item = _ITEM.match(value, start)
        if item is None:
            raise DatabaseUnusable("a list in the options of PDPP_DATABASE_URL can't be read")
        quoted, plain = item.groups()
        names.append(plain.strip().lower() if quoted is None else quoted.replace('""', '"'))
        start = item.end()
    return names or [""]


def _quoted(value: str) -> str:
    """A literal that means the same whatever `standard_conforming_strings` is."""
    return "E'" + value.replace("\\", r"\\").replace("'", "''") + "'"

"""Take each safeguard out of a copy of the program, and see that the test named for it fails.

`python -m tests.mutations [WORD ...]`; with words, only mutations whose name has one of them.  A
snippet is looked for in the whole program and must be there once: one that has moved is found, and
one that is gone is an error, to be mended here.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent.parent
COPIED = (
    "app.py",
    "docs",
    "openspec",
    "pdpp_ref",
    "pyproject.toml",
    "README.md",
    "static",
    "templates",
    "tests",
)
SECONDS = 300


class Mutation(NamedTuple):
    """`without` stands in the place of `snippet`; `test` is what pytest is called with."""

    name: str
    snippet: str
    without: str
    test: str


MUTATIONS = [
    # ---- one transaction
    Mutation(
        "the transaction of a write",
        "    with write_transaction():\n        connection_id = _connection(target)",
        "    if True:\n        connection_id = _connection(target)",
        "tests/test_ingest.py -k write_that_fails",
    ),
    Mutation(
        "the transaction of a pass",
        "    with repair_transaction(wait=wait, seconds=limits.seconds):",
        "    if True:",
        "tests/test_reconcile.py -k failure_at_any_statement",
    ),
    Mutation(
        "the transaction of a migration",
        "            with exclusive_transaction():\n                _upgrade()",
        "            _upgrade()",
        "tests/test_schema.py -k migration_that_fails",
    ),
    Mutation(
        "the mark in the delete's transaction",
        "        blobs.drop_unbound(bound)\n        retained_size.mark_connection(",
        "        blobs.drop_unbound(bound)\n    with write_transaction():\n        retained_size.mark_connection(",
        "tests/test_failpoints.py -k 'kill_at and stream'",
    ),
    Mutation(
        "the write lock from the first statement",
        'lock_type="IMMEDIATE"',
        'lock_type="DEFERRED"',
        "tests/test_schema.py -k first_statement",
    ),
    Mutation(
        "durability of what is acknowledged",
        '"synchronous": "full"',
        '"synchronous": "normal"',
        "tests/test_failpoints.py -k power",
    ),
    Mutation(
        "noticing that SQLite has rolled back",
        "        if connection.getautocommit():",
        "        if False:",
        "tests/test_schema.py -k ended_by_itself",
    ),
    Mutation(
        "the lock of the projection's rows, on PostgreSQL",
        "FROM {grain.table} {where}{row_lock()}",
        "FROM {grain.table} {where}",
        "tests/test_trials.py -k 'no_row_is_wrong and postgres'",
    ),
    # ---- marks
    Mutation(
        "the savepoint around a delta",
        "        with db.savepoint():\n            _apply(",
        "        if True:\n            _apply(",
        "tests/test_retained_size.py -k failed_delta",
    ),
    Mutation(
        "the mark of a failed delta",
        "        mark_streams(deltas, connection_id)",
        "        pass",
        "tests/test_retained_size.py -k failed_delta",
    ),
    Mutation(
        "the mark upward from a stream",
        "execute()\n    mark_connection(connection_id)",
        "execute()",
        "tests/test_retained_size.py -k marks_the_grains_above",
    ),
    Mutation(
        "the mark upward from a connection",
        "    mark_connections([connection_id])\n    mark_global()",
        "    mark_connections([connection_id])",
        "tests/test_retained_size.py -k marks_the_grains_above",
    ),
    Mutation(
        "the mark of a row that is not there yet",
        "    primary_key = grain._meta.primary_key\n    grain.insert(",
        "    primary_key = grain._meta.primary_key\n"
        "    return grain.update(_marked(grain)).where(primary_key == key).execute()\n    grain.insert(",
        "tests/test_retained_size.py -k has_no_row",
    ),
    Mutation(
        "the first time of a mark",
        "grain.stale_since: fn.COALESCE(grain.stale_since, utc_now())",
        "grain.stale_since: utc_now()",
        "tests/test_retained_size.py -k keeps_the_first_time",
    ),
    Mutation(
        "passing up a mark made by another program",
        '    if any(row["dirty"] for row in held.values()):\n        _pass_up(connection_id)',
        "    pass",
        "tests/test_retained_size.py -k one_table_alone",
    ),
    Mutation(
        "marking a connection that has lost a row",
        "        mark_connections([connection_id])",
        "        pass",
        "tests/test_retained_size.py -k times_above",
    ),
    Mutation(
        "freezing figures of a marked row",
        '    if not row["dirty"]:\n        change_row(',
        "    if True:\n        change_row(",
        "tests/test_retained_size.py -k marked_above",
    ),
    Mutation(
        "seeing that a row was changed",
        "    if execute(sql, values) != 1:",
        "    if execute(sql, values) is None:",
        "tests/test_retained_size.py -k changes_no_row",
    ),
    # ---- repair
    Mutation(
        "telling a recount what changed behind it",
        "            _correct_recount(stream_id, delta)\n        else:",
        "            pass\n        else:",
        "tests/test_reconcile.py -k writes_between",
    ),
    Mutation(
        "beginning a recount again after a mark",
        "    Recount.delete().where(Recount.stream == stream_id).execute()\n    mark_connection",
        "    mark_connection",
        "tests/test_reconcile.py -k mark_during_a_recount",
    ),
    Mutation(
        "clearing the totals only when nothing below is dirty",
        "    if below or not complete:",
        "    if not complete:",
        "tests/test_reconcile.py -k no_time_at_all",
    ),
    Mutation(
        "finding streams without a row",
        "        found, all_streams = _discover_streams()",
        "        found, all_streams = {}, True",
        "tests/test_reconcile.py -k lost_rows",
    ),
    Mutation(
        "the bound of a pass in rows",
        "_count_streams(limits.rows, deadline)",
        "_count_streams(10**9, deadline)",
        "tests/test_reconcile.py -k stops_at_its_rows",
    ),
    Mutation(
        "the bound of a pass in time",
        "        if through >= last or time.monotonic() > deadline:",
        "        if through >= last:",
        "tests/test_reconcile.py -k counted_over_several",
    ),
    Mutation(
        "settling the rows of single records",
        "        return self.through >= self.last and self._settle()",
        "        return self.through >= self.last",
        "tests/test_rollups.py -k derives_lost_rows",
    ),
    Mutation(
        "versions that are replaced while rows are derived",
        "        return _Version(*found[0]) if found else None",
        "        return None",
        "tests/test_rollups.py -k between_the_steps",
    ),
    Mutation(
        "the rows of its records before a stream is clean",
        "WHERE r.dirty AND NOT r.rollups_dirty ",
        "WHERE r.dirty ",
        "tests/test_rollups.py -k nothing_is_fresh_before",
    ),
    Mutation(
        "deriving rows again that were derived before a mark",
        "WHERE stream_id = ? AND after_key >= ?",
        "WHERE stream_id = ? AND after_key >= ? AND FALSE",
        "tests/test_rollups.py -k begins_a_derivation_again",
    ),
    Mutation(
        "deriving rows where the row of their stream was lost",
        "connection=connection_id, rollups_dirty=True)",
        "connection=connection_id)",
        "tests/test_rollups.py -k with_the_row_of_its_stream",
    ),
    Mutation(
        "waiting after a failure",
        "            self.cooldown.failed(RETAINED_SIZE)",
        "            pass",
        "tests/test_auto_reconcile.py -k eight_hours",
    ),
    Mutation(
        "waiting longer each time",
        "2 ** min(failures - 1, 20)",
        "1",
        "tests/test_cooldown.py -k double",
    ),
    Mutation(
        "not waiting for another's pass",
        "if self.retry_after_seconds or not self._one.acquire(blocking=False)",
        "if self.retry_after_seconds or not self._one.acquire()",
        "tests/test_auto_reconcile.py -k does_not_wait",
    ),
    Mutation(
        "asking again once it is one's turn",
        "            if not still_needed():\n                return False",
        "            still_needed()",
        "tests/test_auto_reconcile.py -k simultaneous_stale",
    ),
    Mutation(
        "a busy database as a skip",
        "        except Busy:\n            raise\n        except Exception as error:",
        "        except Exception as error:",
        "tests/test_auto_reconcile.py -k busy",
    ),
    # ---- what is taken in, and taken away
    Mutation(
        "STATE after what it vouches for",
        "        if self._changes:\n            changes = self._changes",
        "        while self._states:\n            self._on_state(self._states.pop(0))\n"
        "        if self._changes:\n            changes = self._changes",
        "tests/test_cli.py -k could_not_be_stored",
    ),
    Mutation(
        "the same again as a no-op",
        "elif before is not None and before.data == change.data:",
        "elif False:",
        "tests/test_ingest.py -k same_data_again",
    ),
    Mutation(
        "times that never go back",
        'max(utc_now(), self.stream["last_ingested_at"] or "")',
        "utc_now()",
        "tests/test_ingest.py -k go_back",
    ),
    Mutation(
        "the limit of a line",
        "        if len(rest) <= MAX_LINE_BYTES:",
        "        if True:",
        "tests/test_hostile.py -k endless",
    ),
    Mutation(
        "the limit of a line's values",
        "        _check_values(line)",
        "        pass",
        "tests/test_messages.py -k more_values",
    ),
    Mutation(
        "noticing that gzip is cut off",
        "    if not unpack.eof:\n        raise",
        "    if False:\n        raise",
        "tests/test_ingest_http.py -k gzip",
    ),
    Mutation(
        "the digest of a file",
        "            raise WrongDigest",
        "            pass",
        "tests/test_blobs_http.py -k other_bytes",
    ),
    Mutation(
        "dropping the files of a tombstone",
        '    if not row["record_count"] and row["record_history_count"] - len(gone) == 1:',
        "    if False:",
        "tests/test_blobs.py -k until_only_its_tombstone",
    ),
    Mutation(
        "asking the record whether it is deleted",
        "    if (records, current) != (len(live), live[0][1] if live else 0):",
        '    row["live"] = bool(row["record_count"])\n    if False:',
        "tests/test_pruning.py -k 'lost_or_wrong and sqlite-2000'",
    ),
    Mutation(
        "noticing before pruning that rows are lost",
        "        is_wrong = not _rows_add_up(self.stream)",
        "        is_wrong = False",
        "tests/test_pruning.py -k 'lost_or_wrong and sqlite-2000'",
    ),
    Mutation(
        "noticing while pruning that a row is wrong",
        "    return versions if is_right else None",
        "    return versions",
        "tests/test_pruning.py -k 'lost_or_wrong and sqlite-2000'",
    ),
    Mutation(
        "the mark of what was pruned before",
        "        if one.pruned_at is not None and one.pruned_at > at:",
        "        if False:",
        "tests/test_pruning.py -k moves_on",
    ),
    Mutation(
        "marking a stream where a file finds a row lost",
        '    if is_new == bool(record["touched"]):',
        "    if False:",
        "tests/test_blobs.py -k row_is_lost",
    ),
    Mutation(
        "keeping a file that another record holds",
        'unbound = "NOT EXISTS (SELECT 1 FROM blob_bindings b WHERE b.sha256 = blobs.sha256)"',
        'unbound = "TRUE"',
        "tests/test_failpoints.py -k 'failure and stream'",
    ),
    Mutation(
        "noticing that the file was moved",
        "        if self._identity and _identity_of(self._file) != self._identity:",
        "        if False:",
        "tests/test_moved_file.py",
    ),
    Mutation(
        "giving up a connection that can't write",
        'if lock_type != "DEFERRED" and self.connection().readonly("main"):',
        "if False:",
        "tests/test_read_only.py -k becomes",
    ),
    Mutation(
        "deleting only what came with an older version",
        "if before is None or not _is_older(before, change.only_before):",
        "if before is None:",
        "tests/test_ingest.py -k meanwhile",
    ),
    # ---- who may, and what is told
    Mutation(
        "the escaping of names",
        '<a href="{{ row_url(row.name) }}"><bdi>{{ row.name }}</bdi></a>',
        '<a href="{{ row_url(row.name) }}"><bdi>{{ row.name|safe }}</bdi></a>',
        "tests/test_dashboard.py -k hostile_names",
    ),
    Mutation(
        "the token of a form",
        "        csrf.protect()",
        "        pass",
        "tests/test_auth.py -k without_its_token",
    ),
    Mutation(
        "the origin of a request",
        '        raise ApiError("cross_site_request")',
        "        pass",
        "tests/test_auth.py -k another_sites",
    ),
    Mutation(
        "the token of a connector",
        "        if is_operator():\n            return view",
        "        if True:\n            return view",
        "tests/test_blobs_http.py -k token_alone",
    ),
    Mutation(
        "looking at the token before a large body",
        "            self.adj.max_request_body_size = LARGEST_OF_STRANGERS",
        "            pass",
        "tests/test_server.py -k stranger",
    ),
    Mutation(
        "the owner's session",
        "return view(*args, **kwargs) if is_owner() else _sign_in_first()",
        "return view(*args, **kwargs)",
        "tests/test_auth.py -k without_a_session",
    ),
    Mutation(
        "a new session for who signs in",
        "    session.clear()\n    session.permanent = True",
        "    session.permanent = True",
        "tests/test_auth.py -k session_before",
    ),
    Mutation(
        "keeping the session from scripts",
        "SESSION_COOKIE_HTTPONLY=True",
        "SESSION_COOKIE_HTTPONLY=False",
        "tests/test_proxy.py -k kept_from_scripts",
    ),
    Mutation(
        "the throttle of wrong passwords",
        "@limiter.limit(WRONG_PASSWORDS, deduct_when=lambda response: response.status_code == 401)\n",
        "",
        "tests/test_auth.py -k throttled",
    ),
    Mutation(
        "staying on this site after signing in",
        '    if not path or not path.startswith("/") or path[1:2] in ("/", "\\\\"):\n        return home',
        "    if not path:\n        return home",
        "tests/test_auth.py -k no_other_site",
    ),
    Mutation(
        "errors from a fixed list",
        'return f"reconcile failed: {PROBLEM_TEXT[problem(error)]}"',
        "return str(error)",
        "tests/test_diagnostics.py",
    ),
    Mutation(
        "times that are checked before they are told",
        "text if text and is_time(text) else None",
        "text",
        "tests/test_diagnostics.py -k should_be_a_time",
    ),
]


def main(words: list[str]) -> int:
    wanted = [each for each in MUTATIONS if not words or any(word in each.name for word in words)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        whole, tests = _copy(Path(folder, "whole")), sorted({each.test for each in wanted})
        codes = pool.map(lambda test: _run(whole, test), tests)
        told = [
            f"{test}: fails without any mutation" for test, code in zip(tests, codes, strict=True) if code
        ]
        places = (Path(folder, str(number)) for number, _ in enumerate(wanted))
        for each, line in zip(wanted, pool.map(_try, wanted, places), strict=True):
            print(f"{line or 'found'}: {each.name}", flush=True)
            told += [f"{each.name}: {line}"] if line else []
    print(f"\n{len(wanted)} mutations, {len(told)} not as they should be.")
    print("".join(f"  {line}\n" for line in told), end="")
    return bool(told)


def _try(mutation: Mutation, place: Path) -> str:
    """Nothing where the test fails as it must; else what is wrong."""
    files = list(_holding(mutation.snippet, _copy(place)))
    if [file.read_text().count(mutation.snippet) for file in files] != [1]:
        return f"its snippet is in {len(files)} files"
    files[0].write_text(files[0].read_text().replace(mutation.snippet, mutation.without))
    code = _run(place, mutation.test)
    shutil.rmtree(place)
    return {0: "NOT FOUND: the test passes without it", 1: ""}.get(code, f"pytest ended with {code}")


def _holding(snippet: str, root: Path) -> Iterator[Path]:
    for folder, ending in (("pdpp_ref", "*.py"), ("templates", "*.html")):
        yield from (file for file in sorted((root / folder).rglob(ending)) if snippet in file.read_text())


def _copy(place: Path) -> Path:
    unwanted = shutil.ignore_patterns("node_modules", "__pycache__", "screenshots")
    place.mkdir()
    for name in COPIED:
        source = HERE / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=unwanted)
        else:
            shutil.copy(source, place / name)
    return place


def _run(place: Path, test: str) -> int:
    """pytest's exit code: 0 all passed, 1 some failed, 5 there was no such test."""
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *shlex.split(test)]
    try:
        ended = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return -1
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

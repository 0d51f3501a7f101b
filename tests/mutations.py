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
    "LICENSE",
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
    # ---- files: the owner's lists, and what is on the disk
    Mutation(
        "all rows of a downloaded list",
        "    ids = _ids(source, order)\n",
        "    ids = _ids(source, order, order.limit)\n",
        "tests/test_downloads.py -k 'every_row and sqlite'",
    ),
    Mutation(
        "the total of a downloaded list",
        "    yield sums.row()\n",
        "",
        "tests/test_downloads.py -k nothing_has_a_total",
    ),
    Mutation(
        "no total of what is not known",
        "None if more is None else before + more",
        "before + (more or 0)",
        "tests/test_owner_lists.py -k never_counted",
    ),
    Mutation(
        "the snapshot of a download",
        "        held.enter_context(read_snapshot())\n",
        "",
        "tests/test_downloads.py -k one_moment",
    ),
    Mutation(
        "the end of a download's snapshot",
        "    response.call_on_close(body.close)\n",
        "",
        "tests/test_downloads.py -k goes_away",
    ),
    Mutation(
        "the rows of a download against their number",
        "    if sums.rows != whole.count:",
        "    if False:",
        "tests/test_downloads.py -k other_rows",
    ),
    Mutation(
        "how many rows a page shows",
        "min(max(query.limit, 1), MOST_ROWS)",
        "max(query.limit, 1)",
        "tests/test_downloads.py -k bounded",
    ),
    Mutation(
        "how many rows a page reads",
        "None if order.search else order.limit",
        "None",
        "tests/test_downloads.py -k bounded",
    ),
    Mutation(
        "the mode of a new database file",
        "        self._make_file()\n",
        "",
        "tests/test_files.py -k from_its_beginning",
    ),
    Mutation(
        "the mode of a database file that is there",
        "files.close_to_others(file + each) for each in",
        "True for each in",
        "tests/test_files.py -k closed_to_them",
    ),
    Mutation(
        "the mode of a secret that is there",
        "    files.close_to_others(file)\n",
        "",
        "tests/test_files.py -k closed_to_them",
    ),
    Mutation(
        "the mode of a file that is made",
        "os.O_CLOEXEC, 0o600)",
        "os.O_CLOEXEC, 0o666)",
        "tests/test_files.py -k targets_of_copy",
    ),
    Mutation(
        "the mode of a folder that is made",
        "folder.mkdir(mode=0o700, exist_ok=True)",
        "folder.mkdir(exist_ok=True)",
        "tests/test_files.py -k whatever_the_umask",
    ),
    Mutation(
        "a name without a hard link",
        "        if error.errno not in _NO_LINK:",
        "        if True:",
        "tests/test_files.py -k needs_no_hard_links",
    ),
    Mutation(
        "no name that is taken",
        "    if (rename and ctypes.get_errno() == errno.EEXIST) or os.path.lexists(path):",
        "    if False:",
        "tests/test_files.py -k appears_during",
    ),
    Mutation(
        "removing the part of a killed backup",
        "                _remove_parts(path)\n",
        "",
        "tests/test_files.py -k was_killed",
    ),
    Mutation(
        "leaving the part of a running backup alone",
        "                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        "tests/test_files.py -k left_alone",
    ),
    Mutation(
        "a file on the disk before its name",
        "            os.fsync(descriptor)\n            _give_name",
        "            _give_name",
        "tests/test_files.py -k on_the_disk",
    ),
    Mutation(
        "a name on the disk",
        "            _remove(part)\n    sync_folder(path.parent)",
        "            _remove(part)",
        "tests/test_files.py -k on_the_disk",
    ),
    Mutation(
        "data outside of the environment",
        "    return _of_two(former, place)",
        "    return former",
        "tests/test_files.py -k outlives",
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

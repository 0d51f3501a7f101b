"""Take each safeguard out of a copy of the program, and see that the test named for it fails.

`python -m tests.endurance.mutations [WORD ...]`; with words, only mutations whose name has one of them.  A
snippet is looked for in the whole program and must be there once: one that has moved is found, and
one that is gone is an error, to be corrected here.
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

HERE = Path(__file__).parents[2]
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
        "    with write_transaction():\n        unattributed = sum",
        "    if True:\n        unattributed = sum",
        "tests/integration/test_records.py -k write_that_fails",
    ),
    Mutation(
        "the transaction of a pass",
        "    with reconcile_transaction(wait=wait, seconds=limits.seconds):",
        "    if True:",
        "tests/integration/test_reconcile.py -k failure_at_any_statement",
    ),
    Mutation(
        "the transaction of a migration",
        "            with db.schema_change(), exclusive_transaction():\n                _upgrade()",
        "            with db.schema_change():\n                _upgrade()",
        "tests/integration/test_migrations.py -k migration_that_fails",
    ),
    Mutation(
        "the mark in the delete's transaction",
        "            lambda: _propagate_dirty(connection_id), lambda: marks.mark_connection(connection_id)\n",
        "            lambda: None, lambda: None\n",
        "tests/integration/test_deletion.py -k 'after_a_mark or lost_row'",
    ),
    Mutation(
        "subtracting a deleted stream",
        '    changes = {**_negated(row), "stream_count": -int(retains_anything(row.measures))}\n    _apply_or_mark(',
        "    changes = dict.fromkeys(CONNECTION.columns, 0)\n    _apply_or_mark(",
        "tests/integration/test_deletion.py -k exact_at_once",
    ),
    Mutation(
        "subtracting a deleted connection",
        "    _apply_or_mark(lambda: _apply_to_global(connection_id, changes), marks.mark_global)",
        "    pass",
        "tests/integration/test_deletion.py -k exact_at_once",
    ),
    Mutation(
        "a writer that waited for a deletion",
        "        WHERE id = ? AND connection_id IS NOT NULL\n        {for_no_key_update()}",
        "        WHERE id = ?\n        {for_no_key_update()}",
        "tests/integration/test_deletion.py -k writer_that_waited",
    ),
    Mutation(
        "rankings without deleted streams",
        '        return f"{self.condition} AND stream_id NOT IN ({_DELETED_STREAMS})"',
        "        return self.condition",
        "tests/integration/test_deletion.py -k exact_at_once",
    ),
    Mutation(
        "the incarnation of a deleted stream",
        "            if self.position.incarnation != stream.incarnation:",
        '            if self.position.incarnation == "":',
        "tests/integration/test_deletion.py -k given_again",
    ),
    Mutation(
        "the claim of an unchanged record",
        "        upserts = {change.key: change.data for change in changes if change.data is not None}",
        "        upserts = {key: row[3] for key, row in self.current.items() if row}",
        "tests/integration/test_unclaimed_files.py -k any_accepted",
    ),
    Mutation(
        "no stream is created during an upload",
        "        locking.lock_connection_for_update(connection_id)\n        found =",
        "        found =",
        "tests/integration/test_unclaimed_files.py -k upload_waits",
    ),
    Mutation(
        "files that wait for a record",
        "            AND NOT EXISTS (SELECT 1 FROM unclaimed_files u WHERE u.sha256 = blobs.sha256)\n",
        "",
        "tests/integration/test_unclaimed_files.py -k still_waits",
    ),
    Mutation(
        "the wait of an unclaimed file",
        "            if self._clock() < self._due:\n                return False",
        "            pass",
        "tests/integration/test_unclaimed_files.py -k waits_too",
    ),
    Mutation(
        "the marks that a cleanup has seen itself",
        '            if self._seen and _remove(f"marked IN ({placeholders(self._seen)})", self._seen):',
        '            if _remove("marked IS NOT NULL", []):',
        "tests/integration/test_unclaimed_files.py -k restarts",
    ),
    Mutation(
        "a reference that a newer version has",
        "        and not _is_named(stream_id, file, retained)",
        "",
        "tests/integration/test_unclaimed_files.py -k names_again",
    ),
    Mutation(
        "a connector of several connections",
        "    if len(known) > 1:",
        "    if False:",
        "tests/integration/test_connector_api.py -k none_is_guessed",
    ),
    Mutation(
        "unknown parameters of the protocol",
        "        if name not in known and not (",
        "        if False and not (",
        "tests/integration/test_connector_api.py -k 'not_clear or wrong_call'",
    ),
    Mutation(
        "the write lock from the first statement",
        'lock_type="IMMEDIATE"',
        'lock_type="DEFERRED"',
        "tests/integration/test_migrations.py -k first_statement",
    ),
    Mutation(
        "durability of what is acknowledged",
        '"synchronous": "full"',
        '"synchronous": "normal"',
        "tests/endurance/test_failpoints.py -k death_at_any_write",
    ),
    Mutation(
        "noticing that SQLite has rolled back",
        "        if connection.getautocommit():",
        "        if False:",
        "tests/integration/test_migrations.py -k ended_by_itself",
    ),
    Mutation(
        "the lock of the projection's rows, on PostgreSQL",
        "        ORDER BY {key}\n        {for_no_key_update()}\n",
        "        ORDER BY {key}\n",
        "tests/endurance/test_stress.py -k 'no_row_is_wrong and postgres'",
    ),
    # ---- marks
    Mutation(
        "the savepoint around a delta",
        "        with db.savepoint():\n            apply(",
        "        if True:\n            apply(",
        "tests/integration/test_deltas.py -k failed_delta",
    ),
    Mutation(
        "the mark of a failed delta",
        "            raise\n        mark()",
        "            raise",
        "tests/integration/test_deltas.py -k failed_delta",
    ),
    Mutation(
        "the mark upward from a stream",
        "[stream_id])\n    mark_connection(connection_id)",
        "[stream_id])",
        "tests/integration/test_deltas.py -k marks_the_grains_above",
    ),
    Mutation(
        "the mark upward from a connection",
        "    mark_connections([connection_id])\n    mark_global()",
        "    mark_connections([connection_id])",
        "tests/integration/test_deltas.py -k marks_the_grains_above",
    ),
    Mutation(
        "the mark of a row that is not there yet",
        '    row = {grain.key: key, "dirty": True, "stale_since": utc_now(), "days_disordered": True, **more}\n',
        '    execute(f"UPDATE {grain.table} SET dirty = TRUE WHERE {grain.key} = ?", [key])\n    return\n',
        "tests/integration/test_deltas.py -k has_no_row",
    ),
    Mutation(
        "the first time of a mark",
        "WHEN {grain.table}.stale_since < excluded.stale_since THEN",
        "WHEN FALSE THEN",
        "tests/integration/test_deltas.py -k keeps_the_first_time",
    ),
    Mutation(
        "the day of a mark that is moved",
        "    if keys:\n        gaps.record_writes(grain, keys)",
        "    if False:\n        gaps.record_writes(grain, keys)",
        "tests/integration/test_growth.py -k before",
    ),
    Mutation(
        "passing up a mark made by another program",
        "        marks.record_writes(STREAM, rows)\n        _propagate_dirty(connection_id)",
        "        marks.record_writes(STREAM, rows)",
        "tests/integration/test_deltas.py -k one_table_alone",
    ),
    Mutation(
        "marking a connection that has lost a row",
        "        marks.mark_connections([connection_id])",
        "        pass",
        "tests/integration/test_deltas.py -k times_above",
    ),
    Mutation(
        "freezing figures of a marked row",
        "    if not row.dirty:\n        add_to_rows(",
        "    if True:\n        add_to_rows(",
        "tests/integration/test_deltas.py -k marked_above",
    ),
    Mutation(
        "seeing that a row was changed",
        "    if execute(sql, values) != 1:",
        "    if execute(sql, values) is None:",
        "tests/integration/test_reconcile.py -k changes_no_row",
    ),
    # ---- repair
    Mutation(
        "telling a recount what changed behind it",
        "        _adjust_checkpoints({stream_id: deltas[stream_id] for stream_id in dirty})\n",
        "        pass\n",
        "tests/integration/test_reconcile.py -k writes_between",
    ),
    Mutation(
        "beginning a recount again after a mark",
        '        execute("DELETE FROM retained_size_recounts WHERE stream_id = ?", [stream_id])\n    mark_connection',
        "    mark_connection",
        "tests/integration/test_reconcile.py -k begins_it_again",
    ),
    Mutation(
        "clearing the totals only when nothing below is dirty",
        "    if below or not complete:",
        "    if not complete:",
        "tests/integration/test_reconcile.py -k no_time_at_all",
    ),
    Mutation(
        "finding streams without a row",
        "    discovered = discover_streams(limits.rows)",
        "    discovered = []",
        "tests/integration/test_reconcile.py -k lost_rows",
    ),
    Mutation(
        "looking at all streams of what is summed",
        "    missing = {*_missing_of_connections(limit), *_missing_somewhere()}",
        "    missing = {*_missing_somewhere()}",
        "tests/integration/test_reconcile.py -k found_at_once",
    ),
    Mutation(
        "comparing versions with live ones in small streams",
        "                WHERE c.stream_id = s.id AND c.version > 0 AND c.version <= s.last_version\n",
        "                WHERE c.stream_id = s.id AND c.version > 0 AND c.version <= 0\n",
        "tests/integration/test_record_rollups.py -k among_small_streams",
    ),
    Mutation(
        "comparing the sum of the live versions in small streams",
        " and self.live_versions == last * (last + 1) // 2",
        "",
        "tests/integration/test_record_rollups.py -k among_small_streams",
    ),
    Mutation(
        "counting again what was counted before another write",
        "self._version == db.data_version()",
        "True",
        "tests/integration/test_counting_ahead.py -k while_a_rebuild_counts",
    ),
    Mutation(
        "writing the extents of a row whose measures are right",
        "if row.key in right_extents and row.values",
        "if row.values",
        "tests/integration/test_reconcile.py -k extents_of",
    ),
    Mutation(
        "clearing the mark of rollups with that of the row",
        'marks=("rollups_dirty",),',
        "marks=(),",
        "tests/integration/test_counting_ahead.py -k counts_once",
    ),
    Mutation(
        "clearing the mark of rollups before the row is counted completely",
        "if left := [each for each in derived if each not in tried]:",
        "if left := []:",
        "tests/integration/test_record_rollups.py -k are_derived_once",
    ),
    Mutation(
        "the bound of a pass in rows",
        "_count_streams(limits.rows, apart, counts, without",
        "_count_streams(10**9, apart, counts, without",
        "tests/integration/test_reconcile.py -k stops_at_its_rows",
    ),
    Mutation(
        "the bound of a pass in time",
        "        if through >= last or apart.is_late:",
        "        if through >= last:",
        "tests/integration/test_reconcile.py -k counted_over_several",
    ),
    Mutation(
        "settling the rows of single records",
        "        return self.through >= self.last and self._settle()",
        "        return self.through >= self.last",
        "tests/integration/test_record_rollups.py -k derives_lost_rows",
    ),
    Mutation(
        "versions that are replaced while rows are derived",
        "        return rollup_rows.version_of_key(self.id, one.previous, one.key)",
        "        return None",
        "tests/integration/test_record_rollups.py -k between_the_steps",
    ),
    Mutation(
        "the rows of its records before a stream is clean",
        "WHERE r.dirty AND NOT r.rollups_dirty AND",
        "WHERE r.dirty AND",
        "tests/integration/test_record_rollups.py -k nothing_is_fresh_before",
    ),
    Mutation(
        "deriving rows again that were derived before a mark",
        "WHERE stream_id = ? AND after_key >= ?",
        "WHERE stream_id = ? AND after_key >= ? AND FALSE",
        "tests/integration/test_record_rollups.py -k begins_a_derivation_again",
    ),
    Mutation(
        "deriving rows where the row of their stream was lost",
        '{"connection_id": connection_id, "rollups_dirty": True}',
        '{"connection_id": connection_id}',
        "tests/integration/test_record_rollups.py -k with_the_row_of_its_stream",
    ),
    Mutation(
        "waiting after a failure",
        "            self.cooldown.failed(self.projection)",
        "            pass",
        "tests/integration/test_auto_reconcile.py -k eight_hours",
    ),
    Mutation(
        "waiting longer each time",
        "2 ** min(failures - 1, 20)",
        "1",
        "tests/unit/test_cooldown.py -k double",
    ),
    Mutation(
        "not waiting for another's pass",
        "if not self._one.acquire(blocking=False):\n            return\n",
        "if not self._one.acquire():\n            return\n",
        "tests/integration/test_auto_reconcile.py -k does_not_wait",
    ),
    Mutation(
        "asking again once it is one's turn",
        "and (self.attempts == seen or still_needed()):",
        "and True:",
        "tests/integration/test_auto_reconcile.py -k looks_again",
    ),
    Mutation(
        "a busy database as a skip",
        "        except Busy:\n            raise\n        except Exception as error:\n            if counts:",
        "        except Exception as error:\n            if counts:",
        "tests/integration/test_auto_reconcile.py -k busy",
    ),
    Mutation(
        "the savepoint around rows that may fail",
        "                self.failed[Row(grain, keys[0])] = problem(error)\n",
        "                raise\n",
        "tests/integration/test_set_aside.py -k other_39",
    ),
    Mutation(
        "the cooldown of a row",
        "            if self.counts or row not in self.problems:\n",
        "            if False:\n",
        "tests/integration/test_set_aside.py -k its_own_cooldown",
    ),
    Mutation(
        "the cooldown of clicks",
        "            if cools and not may_retry:\n",
        "            if False:\n",
        "tests/integration/test_set_aside.py -k six_clicks",
    ),
    Mutation(
        "the owner in the number of a lock",
        '"7663001, {_OF_TABLES}"',
        '"7663001, 1"',
        "tests/integration/test_many_owners.py -k pass_does_not",
    ),
    # ---- failover
    Mutation(
        "waiting for a server in an import",
        "            if signals.is_requested() or time.monotonic() >= until or not may_return(error):",
        "            if True:",
        "tests/integration/test_failover.py -k import_waits",
    ),
    Mutation(
        "the limit of that wait",
        "signals.is_requested() or time.monotonic() >= until or not",
        "signals.is_requested() or time.monotonic() >= until + 10 or not",
        "tests/integration/test_failover.py -k import_gives_up",
    ),
    Mutation(
        "waiting for a server at a start",
        "if database.db.is_in_process or time.monotonic() >= until:",
        "if True:",
        "tests/integration/test_failover.py -k start_waits",
    ),
    Mutation(
        "the exit code of a database that is away",
        "        raise TemporaryFailure(str(error)) from None",
        "        raise UsageError(str(error)) from None",
        "tests/integration/test_failover.py -k ends_with_3",
    ),
    Mutation(
        "the end of a statement on an old primary",
        "if found == Whereabouts.GONE or checked",
        "if checked",
        "tests/integration/test_failover.py -k was_replaced",
    ),
    Mutation(
        "the end of a beginning that gets no answer",
        "found == Whereabouts.GONE or checked - answered > SILENT_SECONDS",
        "found == Whereabouts.GONE",
        "tests/integration/test_failover.py -k beginning",
    ),
    Mutation(
        "leaving statements of replicas alone",
        "return Whereabouts.HERE if self.process == OF_REPLICA else self.whereabouts(self.process)",
        "return self.whereabouts(self.process)",
        "tests/integration/test_failover.py -k on_a_replica",
    ),
    Mutation(
        "distrusting other connections",
        "            self.watch.distrust()",
        "            pass",
        "tests/integration/test_failover.py -k never_came",
    ),
    Mutation(
        "the refusal of Citus",
        "    if has_citus and fetch(_IS_DISTRIBUTED)[0]:",
        "    if False:",
        "tests/unit/test_engines.py -k citus",
    ),
    Mutation(
        "the refusal of a version",
        "    _check_version(version)\n    if has",
        "    if has",
        "tests/unit/test_engines.py -k differ",
    ),
    # ---- who else uses the database
    Mutation(
        "stating the isolation of a write",
        'WORK = "BEGIN ISOLATION LEVEL READ COMMITTED"',
        'WORK = "BEGIN"',
        "tests/integration/test_postgres.py -k default_isolation",
    ),
    Mutation(
        "settings that end with the transaction",
        '    return f"SET LOCAL {name} = {',
        '    return f"SET {name} = {',
        "tests/integration/test_pooler.py -k leaves_none",
    ),
    Mutation(
        "durability in a session of somebody else",
        "        columns += [] if begin == SNAPSHOT else [DURABLE]\n",
        "",
        "tests/integration/test_pooler.py -k leaves_none",
    ),
    Mutation(
        "preparing nothing behind a pooler",
        "connection.prepare_threshold = PREPARE_AFTER if is_ours else None",
        "connection.prepare_threshold = PREPARE_AFTER",
        "tests/integration/test_pooler.py -k nothing_is_prepared",
    ),
    Mutation(
        "noticing that a session is somebody else's by now",
        "        if begun is None or (was_ours and not is_ours):",
        "        if begun is None:",
        "tests/integration/test_pooler.py -k not_any_more",
    ),
    Mutation(
        "settings of a statement of its own",
        "            with self.transaction(WORK):\n                yield",
        "            yield",
        "tests/integration/test_pooler.py -k statement_of_its_own",
    ),
    Mutation(
        "not compiling statements",
        '("jit", "off")',
        '("jit", "on")',
        "tests/integration/test_pooler.py -k states_its_settings",
    ),
    Mutation(
        "reading pages in the order of an index",
        '("enable_bitmapscan", "off")',
        '("enable_bitmapscan", "on")',
        "tests/integration/test_without_statistics.py -k walk",
    ),
    Mutation(
        "rows that a policy hides",
        '("row_security", "off")',
        '("row_security", "on")',
        "tests/integration/test_postgres.py -k policy",
    ),
    Mutation(
        "asking each time whether it is a replica",
        "return bool(self._state.begun.is_replica)",
        'return bool(self.connection().info.parameter_status("in_hot_standby") == "on")',
        "tests/e2e/test_replica.py -k primary_and_one",
    ),
    Mutation(
        "a replica's time from before its figures",
        "until: str | None = self._state.begun.replicated_until",
        "until: str | None = self.execute_sql(READ_REPLICATED_UNTIL.split(';')[1]).fetchone()[0]",
        "tests/e2e/test_replica.py -k read_before",
    ),
    Mutation(
        "giving up after an upgrade",
        "        if version != self._version:",
        "        if False:",
        "tests/integration/test_schema_guard.py -k 'old_process'",
    ),
    Mutation(
        "keeping out of a half-copied database",
        "        if unfinished and not self._is_transfer_target:",
        "        if False:",
        "tests/integration/test_schema_guard.py -k 'every_route'",
    ),
    Mutation(
        "looking at the version again under the lock",
        "    _check_known(before)",
        "    pass",
        "tests/integration/test_schema_guard.py -k start_at_once",
    ),
    Mutation(
        "copying to an empty database alone",
        "            raise TargetNotEmpty\n\n\ndef _check_ours",
        "            pass\n\n\ndef _check_ours",
        "tests/integration/test_transfer.py -k row_of_any",
    ),
    Mutation(
        "deleting only what a copy has sent",
        "        if exactly and rows and digest != _digest_of(model):",
        "        if False:",
        "tests/integration/test_transfer.py -k somebody_has_changed",
    ),
    Mutation(
        "going on only with what a copy has sent",
        'FROM {_table(model)}") != [(rows,)]:',
        'FROM {_table(model)}") == []:',
        "tests/integration/test_transfer.py -k written_to",
    ),
    # ---- what is taken in, and taken away
    Mutation(
        "STATE after what it vouches for",
        "        refused = self._write(batch)\n",
        "        for _, state in batch.states:\n            self._on_state(state)\n        refused = self._write(batch)\n",
        "tests/e2e/test_cli.py -k could_not_be_stored",
    ),
    Mutation(
        "the same again as a no-op",
        "        if event.data == (state.data if state else None):\n            return True",
        "        if event.data is state is None:\n            return True",
        "tests/integration/test_records.py -k same_data_again",
    ),
    Mutation(
        "the limit of a line",
        "        if len(self._held) > self._most:",
        "        if False:",
        "tests/e2e/test_hostile_requests.py -k endless",
    ),
    Mutation(
        "the limit of a line's values",
        "                check_values(line)",
        "                pass",
        "tests/unit/test_messages.py -k more_values",
    ),
    Mutation(
        "noticing that compressed data is cut off",
        "    if member is not None or first:",
        "    if False:",
        "tests/e2e/test_unpacking.py -k is_no_member",
    ),
    Mutation(
        "reading every member",
        "                at -= len(member.unused_data)\n                member = None",
        "                return",
        "tests/e2e/test_unpacking.py -k all_members",
    ),
    Mutation(
        "the limit of all members together",
        "            if most is not None and total > most:",
        "            if most is not None and len(part) > most:",
        "tests/e2e/test_unpacking.py -k limit_is_for_all",
    ),
    Mutation(
        "giving a new member little at first",
        "made.new(), FIRST_BYTES, False",
        "made.new(), len(block), False",
        "tests/e2e/test_unpacking.py -k million",
    ),
    Mutation(
        "holding back STATE after a rejected line",
        "        return self._stores_rejected or first is None or number < first",
        "        return True",
        "tests/e2e/test_rejects.py -k holds_back",
    ),
    Mutation(
        "taking a torn line out of a rejects file",
        "            os.ftruncate(self._file, end)",
        "            pass",
        "tests/e2e/test_rejects.py -k killed_in",
    ),
    Mutation(
        "leaving a file of another kind alone",
        "os.pread(self._file, len(START), 0)) and start:",
        "os.pread(self._file, len(START), 0)) and False:",
        "tests/e2e/test_rejects.py -k cannot_be_used",
    ),
    Mutation(
        "going on when nobody reads STATE",
        "            self._reader_gone = True",
        "            raise",
        "tests/e2e/test_output.py -k no_longer_reads",
    ),
    Mutation(
        "going on when nobody reads standard error",
        "            self._gone = True",
        "            raise",
        "tests/e2e/test_output.py -k whole_output",
    ),
    Mutation(
        "a signal that waits for a write",
        "            with signals.uninterrupted():\n                done",
        "            if True:\n                done",
        "tests/e2e/test_output.py -k 'during_a_write and sqlite'",
    ),
    Mutation(
        "a signal that waits for a STATE",
        "            with signals.uninterrupted():\n                output",
        "            if True:\n                output",
        "tests/e2e/test_output.py -k being_printed",
    ),
    Mutation(
        "the status of a rebuild that is cut short",
        "    except BaseException:\n        _mark_rebuild_failed()",
        "    except peewee.DatabaseError:\n        _mark_rebuild_failed()",
        "tests/e2e/test_output.py -k finds_the_database_busy",
    ),
    Mutation(
        "splitting an address before it is decoded",
        "    raw = _raw_path()",
        "    raw = None",
        "tests/integration/test_routing.py -k in_both_places",
    ),
    Mutation(
        "trusting a raw path only if it is the decoded one",
        "        if is_same and asked.startswith(",
        "        if asked.startswith(",
        "tests/integration/test_routing.py -k one_meaning",
    ),
    Mutation(
        "refusing an address of several meanings",
        '    if len(found) > 1:\n        raise ApiError("ambiguous_address")',
        '    if False:\n        raise ApiError("ambiguous_address")',
        "tests/integration/test_routing.py -k is_not_clear",
    ),
    Mutation(
        "refusing an address that is not UTF-8",
        '            unquote_to_bytes(environ.get(name, "").encode("latin-1")).decode()',
        "            pass",
        "tests/integration/test_routing.py -k not_utf_8",
    ),
    Mutation(
        "importing what has valid lines at its start",
        "    if not _any_understood(held):",
        "    if True:",
        "tests/e2e/test_hints.py -k never_refused",
    ),
    Mutation(
        "strings that are no values",
        "        return  # it can't hold more, even if none of these is inside a string\n",
        '        return\n    raise Rejected(f"more than {MAX_VALUES:,} values")\n',
        "tests/unit/test_messages.py -k inside_strings",
    ),
    Mutation(
        "the stream that a refused line is of",
        '        reason.stream = _name_or_none(self._stream if named == "" else named)',
        "        pass",
        "tests/unit/test_messages.py -k which_stream_and_version",
    ),
    Mutation(
        "remembering that a SCHEMA was refused",
        "            self._declared.refuse_schema(reason.stream, str(reason))",
        "            pass",
        "tests/unit/test_messages.py -k refused_schema",
    ),
    Mutation(
        "the type of a key's values",
        "        schema = self._single.get(type(value))",
        "        schema = self._single.get(str)",
        "tests/unit/test_messages.py -k says_the_type",
    ),
    Mutation(
        "numbers that are too long for a key",
        "    if len(sign) + length > MAX_NAME_BYTES:",
        "    if length > 10**7:",
        "tests/unit/test_messages.py -k refused_unbuilt",
    ),
    Mutation(
        "compound keys without any value",
        "        if all(value is None for value in values):",
        "        if False:",
        "tests/unit/test_messages.py -k some_value",
    ),
    Mutation(
        "no halves of pairs in names",
        "    if mark and mark in name:",
        "    if False:",
        "tests/unit/test_messages.py -k in_a_name_or_key",
    ),
    Mutation(
        "rows that Singer says are deleted",
        "        if schema and record.get(DELETED_AT) is not None:",
        "        if False:",
        "tests/unit/test_messages.py -k singer_says",
    ),
    Mutation(
        "a bookmark that is no time",
        'check_name("field", field, mark) if is_time else None',
        'check_name("field", field, mark)',
        "tests/unit/test_messages.py -k only_if_its_schema",
    ),
    Mutation(
        "numbers that may as well be seconds",
        r'r"([1-9]\d{11,12})(?:\.\d+)?"',
        r'r"([1-9]\d{6,12})(?:\.\d+)?"',
        "tests/unit/test_timestamps.py -k twelve",
    ),
    Mutation(
        "the digest of a file",
        "            raise DigestMismatch",
        "            pass",
        "tests/integration/test_blobs_http.py -k other_bytes",
    ),
    Mutation(
        "dropping the files of a tombstone",
        "            if history.is_only_tombstone:",
        "            if False:",
        "tests/integration/test_blobs.py -k until_only_its_tombstone",
    ),
    Mutation(
        "asking the record whether it is deleted",
        "    if (rollup.record_count, rollup.current_json_bytes) != ((1, live[1]) if live else (0, 0)):",
        "    if False:",
        "tests/integration/test_retention.py -k 'lost_or_wrong and sqlite-2000'",
    ),
    Mutation(
        "noticing before pruning that rows are lost",
        "        is_wrong = not rollups_add_up(self.stream.id)",
        "        is_wrong = False",
        "tests/integration/test_retention.py -k 'lost_or_wrong and sqlite-2000'",
    ),
    Mutation(
        "noticing while pruning that a row is wrong",
        "        return (rollup.versions, rollup.history_json_bytes) == (count, size)",
        "        return True",
        "tests/integration/test_retention.py -k 'lost_or_wrong and sqlite-2000'",
    ),
    Mutation(
        "the mark of what was pruned before",
        "        if one.pruned_at is not None and one.pruned_at > at:",
        "        if False:",
        "tests/integration/test_retention.py -k moves_on",
    ),
    Mutation(
        "marking a stream where a file finds a row lost",
        "    if is_new_rollup == record.has_rollup:",
        "    if False:",
        "tests/integration/test_blobs.py -k row_is_lost",
    ),
    Mutation(
        "keeping a file that another record holds",
        "AND NOT EXISTS (SELECT 1 FROM blob_bindings b WHERE b.sha256 = blobs.sha256)",
        "",
        "tests/integration/test_deletion.py -k exact_at_once",
    ),
    Mutation(
        "noticing that the file was moved",
        "        if self._identity and private_files.identity_of(self._file) != self._identity:",
        "        if False:",
        "tests/integration/test_moved_file.py",
    ),
    Mutation(
        "giving up a connection that can't write",
        'if lock_type != "DEFERRED" and self.connection() in self._brief:',
        "if False:",
        "tests/integration/test_sqlite.py -k replaced",
    ),
    Mutation(
        "connections that end while a file is read-only",
        "            if self._open or not _can_write(connection):\n",
        "            if False:\n",
        "tests/e2e/test_read_only_files.py -k worker_that",
    ),
    Mutation(
        "deleting only what came with an older version",
        "if state and state.table_version is not None and state.table_version < version:",
        "if state and state.data is not None:",
        "tests/integration/test_records.py -k meanwhile",
    ),
    # ---- what is sent again, and what does not fit
    Mutation(
        "rule 1: the events of a batch are the newest versions",
        "        return len(newest) == len(events) and all(",
        "        return False and all(",
        "tests/integration/test_unchanged.py -k 'three_lines or untimed'",
    ),
    Mutation(
        "rule 3: the history holds an older event",
        "            if self._was(event, self.versions[place]):\n                return True  # 3",
        "            if False:\n                return True  # 3",
        "tests/integration/test_unchanged.py -k same_time",
    ),
    Mutation(
        "rule 4: the version in effect then",
        "        if self._was(event, self.versions[before - 1]):",
        "        if False:",
        "tests/integration/test_unchanged.py -k first_run_found_unchanged",
    ),
    Mutation(
        "rule 5: what was pruned does not come back",
        "        if time <= self.pruned_at:",
        "        if False:",
        "tests/integration/test_unchanged.py -k 'pruned_versions or any_part'",
    ),
    Mutation(
        "a newer event always takes effect",
        "event.emitted_at is None or event.emitted_at >= state.time:",
        "event.emitted_at is None:",
        "tests/integration/test_unchanged.py -k 'always_takes or any_events'",
    ),
    Mutation(
        "a newer event in a repeated file takes effect",
        "        if is_newer or event.data != stored[-1].data:",
        "        if event.data != stored[-1].data:",
        "tests/integration/test_unchanged.py -k repeated_file",
    ),
    Mutation(
        "a newer event reads no history",
        "            if key in replays or _needs_history(states.get(key), of_key, now)",
        "            if True",
        "tests/integration/test_unchanged.py -k reads_no_history",
    ),
    Mutation(
        "an activation that looks for rejected lines",
        "return stream.rejected_table_version is None or stream.rejected_table_version < version",
        "return True",
        "tests/integration/test_activation.py -k is_skipped",
    ),
    Mutation(
        "rejected lines whose version is not known",
        "        if stream.rejected_unversioned or stream.rejections_seen < unattributed:",
        "        if False:",
        "tests/integration/test_activation.py -k is_skipped",
    ),
    Mutation(
        "storing rejected lines with their batch",
        "        batch.reject(rejected.get(batch.stream.name, ()))",
        "        pass",
        "tests/integration/test_activation.py -k is_skipped",
    ),
    Mutation(
        "a change that is refused counts as a rejected line",
        "        self.reject(Rejection(table_version=changes[place].table_version) for place, _ in self.refused)",
        "        pass",
        "tests/integration/test_activation.py -k does_not_fit",
    ),
    Mutation(
        "one type for each key property",
        "            if kind and known and kind != known:",
        "            if False:",
        "tests/integration/test_key_schema.py -k two_types",
    ),
    Mutation(
        "one set of key properties",
        "            if self._others_differ or (self._schema is not None and self._is_filled()):",
        "            if False:",
        "tests/integration/test_key_schema.py -k other_key_properties",
    ),
    Mutation(
        "the spelling of keys from before",
        "        return self._spelled(fitting) if self._respelled else fitting",
        "        return fitting",
        "tests/integration/test_key_schema.py -k keep_their_spelling",
    ),
    Mutation(
        "a delete creates nothing",
        "        if any(changes[place].data is not None for place in of_stream)\n",
        "",
        "tests/integration/test_source_contact.py -k never_creates",
    ),
    Mutation(
        "the contact of a source that sends nothing new",
        "            self.now,\n            *self.keys.stored(),",
        "            None,\n            *self.keys.stored(),",
        "tests/integration/test_source_contact.py -k is_contact",
    ),
    Mutation(
        "no bound over a part of the records",
        '    "latest_record_time": f"""CASE\n            WHEN NOT {_MAY_BE_UNDATED}',
        '    "latest_record_time": f"""CASE\n            WHEN TRUE OR NOT {_MAY_BE_UNDATED}',
        "tests/e2e/test_time_fields.py -k 'undated or over_part'",
    ),
    Mutation(
        "records from before the time field was declared",
        "        self.stream.undated_records = fetch_value(",
        "        self.stream.undated_records = 0 * fetch_value(",
        "tests/e2e/test_time_fields.py -k undated",
    ),
    # ---- files: the owner's lists, and what is on the disk
    Mutation(
        "all rows of a downloaded list",
        "    ids = sorted_ids(source, order, values)\n",
        "    ids = sorted_ids(source, order, values, order.limit)\n",
        "tests/integration/test_exports.py -k 'every_row and sqlite'",
    ),
    Mutation(
        "the total of a downloaded list",
        "    yield total.row()\n",
        "",
        "tests/integration/test_exports.py -k nothing_has_a_total",
    ),
    Mutation(
        "no total of what is not known",
        "None if before is None or more is None else before + more",
        "(before or 0) + (more or 0)",
        "tests/integration/test_owner_lists.py -k never_counted",
    ),
    Mutation(
        "the snapshot of a download",
        "        summary = resources.enter_context(summaries.reading(auto_reconcile()))\n        download",
        "        summary = summaries.read(auto_reconcile())\n        download",
        "tests/integration/test_exports.py -k one_moment",
    ),
    Mutation(
        "the snapshot of a listing of sizes",
        "        summary = resources.enter_context(summaries.reading(auto_reconcile()))\n        found",
        "        summary = summaries.read(auto_reconcile())\n        found",
        "tests/integration/test_long_lists.py -k one_moment",
    ),
    Mutation(
        "the snapshot of a listing of streams",
        "        resources.enter_context(summaries.reading(auto_reconcile()))\n        found",
        "        summaries.read(auto_reconcile())\n        found",
        "tests/integration/test_long_lists.py -k one_moment",
    ),
    Mutation(
        "the end of a download's snapshot",
        "    response.call_on_close(body.close)\n",
        "",
        "tests/integration/test_exports.py -k goes_away",
    ),
    Mutation(
        "the rows of a download against their number",
        "        if total.rows != self.rows.count:",
        "        if False:",
        "tests/integration/test_exports.py -k other_rows",
    ),
    Mutation(
        "how many rows a page shows",
        "min(max(self.limit, 1), MAX_ROWS)",
        "max(self.limit, 1)",
        "tests/integration/test_exports.py -k bounded",
    ),
    Mutation(
        "how many rows a page reads",
        "    ids = sorted_ids(by, order, values, order.limit)\n",
        "    ids = sorted_ids(by, order, values)\n",
        "tests/integration/test_exports.py -k bounded",
    ),
    Mutation(
        "the mode of a new database file",
        "        self._make_file()\n",
        "",
        "tests/e2e/test_private_files.py -k from_its_beginning",
    ),
    Mutation(
        "the mode of a database file that is there",
        "private_files.close_to_others(file + each) for each in",
        "True for each in",
        "tests/e2e/test_private_files.py -k closed_to_them",
    ),
    Mutation(
        "the mode of a secret that is there",
        "    private_files.close_to_others(file)\n",
        "",
        "tests/e2e/test_private_files.py -k closed_to_them",
    ),
    Mutation(
        "the mode of a file that is made",
        "os.O_EXCL | os.O_CLOEXEC, 0o600)",
        "os.O_EXCL | os.O_CLOEXEC, 0o666)",
        "tests/e2e/test_private_files.py -k targets_of_copy",
    ),
    Mutation(
        "the mode of a folder that is made",
        "folder.mkdir(mode=0o700, exist_ok=True)",
        "folder.mkdir(exist_ok=True)",
        "tests/e2e/test_private_files.py -k whatever_the_umask",
    ),
    Mutation(
        "a name without a hard link",
        "        if error.errno not in _NO_LINK:",
        "        if True:",
        "tests/e2e/test_private_files.py -k needs_no_hard_links",
    ),
    Mutation(
        "no name that is taken",
        "    if (rename and ctypes.get_errno() == errno.EEXIST) or os.path.lexists(path):",
        "    if False:",
        "tests/e2e/test_private_files.py -k appears_during",
    ),
    Mutation(
        "removing the part of a killed backup",
        "                _remove_parts(folder, names)\n",
        "",
        "tests/e2e/test_private_files.py -k was_killed",
    ),
    Mutation(
        "leaving the part of a running backup alone",
        "                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        "tests/e2e/test_private_files.py -k left_alone",
    ),
    Mutation(
        "a file on the disk before its name",
        "        os.fsync(descriptor)\n        publish",
        "        publish",
        "tests/e2e/test_private_files.py -k on_the_disk",
    ),
    Mutation(
        "a name on the disk",
        "_new_part(path) as part:\n        yield part\n    sync_folder(path.parent)",
        "_new_part(path) as part:\n        yield part",
        "tests/e2e/test_private_files.py -k on_the_disk",
    ),
    Mutation(
        "data outside of the environment",
        "    return _choose(in_environment(package), user_data)",
        "    return in_environment(package)",
        "tests/e2e/test_private_files.py -k outlives",
    ),
    # ---- who may, and what is told
    Mutation(
        "the escaping of names",
        '<a href="{{ view.row_address(row.name) }}">{{ row.name|name }}</a>',
        '<a href="{{ view.row_address(row.name) }}">{{ row.name|safe }}</a>',
        "tests/integration/test_dashboard.py -k hostile_names",
    ),
    Mutation(
        "the token of a form",
        "        csrf.protect()",
        "        pass",
        "tests/integration/test_auth.py -k without_its_token",
    ),
    Mutation(
        "the origin of a request",
        '        raise ApiError("cross_site_request")',
        "        pass",
        "tests/integration/test_auth.py -k another_sites",
    ),
    Mutation(
        "the token of a connector",
        "            if caller is None:\n                raise ApiError(missing)",
        "            if caller is None:\n                caller = OWNER",
        "tests/integration/test_access_table.py -k as_the_table",
    ),
    Mutation(
        "the scope of a token",
        "            if scope not in caller.scopes:",
        "            if False:",
        "tests/integration/test_access_table.py -k as_the_table",
    ),
    Mutation(
        "the connection of a token",
        "    if restriction() not in (None, connection):",
        "    if False:",
        "tests/integration/test_tokens.py -k touches_no_other",
    ),
    Mutation(
        "the end of a revoked token",
        "        return self.revoked_at is None and not self.is_expired",
        "        return not self.is_expired",
        "tests/integration/test_tokens.py -k revoked_token_ends",
    ),
    Mutation(
        "the end of an expired token",
        "        return self.revoked_at is None and not self.is_expired",
        "        return self.revoked_at is None",
        "tests/integration/test_tokens.py -k expired_token_ends",
    ),
    Mutation(
        "reading a token again after a while",
        "        return token if self._clock() - read_at < CACHE_SECONDS else None",
        "        return token",
        "tests/integration/test_tokens.py -k revoked_token_ends",
    ),
    Mutation(
        "refusing forms in a session",
        "    if request.method not in SAFE_METHODS and request.mimetype in FORM_TYPES:",
        "    if False:",
        "tests/integration/test_tokens.py -k no_form",
    ),
    Mutation(
        "not waiting to store a use",
        "        return self.transaction(NOW)\n\n    def exclusive",
        "        return self.transaction()\n\n    def exclusive",
        "tests/integration/test_tokens.py -k cannot_be_stored",
    ),
    Mutation(
        "a limit for looking up a token",
        "    async with asyncio.timeout(LOOK_UP_SECONDS):",
        "    async with asyncio.timeout(None):",
        "tests/integration/test_server.py -k look_ups",
    ),
    Mutation(
        "noticing a restored backup",
        "    if instance_folder.remember_database(folder, history) not in (None, history):",
        "    if False:",
        "tests/integration/test_tokens.py -k restored",
    ),
    Mutation(
        "starting a copy over after a revocation",
        '"SELECT MAX(revoked_at), MAX(last_used_at) FROM tokens"',
        '"SELECT 1"',
        "tests/integration/test_transfer.py -k revocation",
    ),
    Mutation(
        "checking the token before a large body",
        "    if code is not None:\n        return Limit(MAX_FORM_BYTES, code)",
        "    if False:\n        return Limit(MAX_FORM_BYTES, str(code))",
        "tests/integration/test_server.py -k stranger",
    ),
    Mutation(
        "the owner's session",
        "return view(*args, **kwargs) if is_owner() else _sign_in_first()",
        "return view(*args, **kwargs)",
        "tests/integration/test_auth.py -k without_a_session",
    ),
    Mutation(
        "a token of the forms that nobody planted",
        """        session.clear()
        session.permanent = True
        session["owner"] = self._credentials.session_fingerprint
        session["renewed"] = int(time.time())
        # The same in every session of this owner: forms that are open in another tab stay valid after a new
        # sign-in.  It is not taken from the session before, which somebody else may have planted.
        session["csrf_token"] = self._credentials.form_token""",
        """        session.permanent = True
        session["owner"] = self._credentials.session_fingerprint
        session["renewed"] = int(time.time())
        session.setdefault("csrf_token", self._credentials.form_token)""",
        "tests/integration/test_auth.py -k session_before",
    ),
    Mutation(
        "keeping the session from scripts",
        "SESSION_COOKIE_HTTPONLY=True",
        "SESSION_COOKIE_HTTPONLY=False",
        "tests/integration/test_proxy.py -k hidden_from_scripts",
    ),
    Mutation(
        "the throttle of wrong passwords",
        "    if wait := attempts.begin(who):",
        "    if (wait := attempts.begin(who)) < 0:",
        "tests/integration/test_auth.py -k throttled",
    ),
    Mutation(
        "counting an attempt before the password is checked",
        "            if not wait:\n                own.append(now)",
        "            if not wait and len(own) < 0:\n                own.append(now)",
        "tests/unit/test_sign_in_attempts.py",
    ),
    Mutation(
        "reading the summary again after a commit",
        "or self._fresh.version != version:",
        "or False:",
        "tests/integration/test_hot_reads.py -k older",
    ),
    Mutation(
        "a new connection as a new version of the data",
        "        return connection, version",
        "        return version",
        "tests/integration/test_hot_reads.py -k connection",
    ),
    Mutation(
        "the hero's revision while records are arriving",
        "        return self.arriving if is_arriving else self.settled",
        "        return self.settled",
        "tests/integration/test_hot_reads.py -k settles",
    ),
    Mutation(
        "leaving a hero of another state to the route",
        '        if self._hero.kind != "fresh":',
        "        if not self._hero:",
        "tests/integration/test_hot_reads.py -k new_state",
    ),
    Mutation(
        "leaving a hero below a prefix to the route",
        'if not query or b"x-forwarded-prefix" in headers:',
        "if not query:",
        "tests/integration/test_hot_reads.py -k prefix",
    ),
    Mutation(
        "checking that a prepared file is still the same after a read",
        "        if wanted and (not data or not self._is_there()):",
        "        if wanted and not data:",
        "tests/integration/test_prepared_files.py -k another_file",
    ),
    Mutation(
        "a limit for the head of a request",
        "        return 431 if size > MAX_HEAD_BYTES else None",
        "        return None",
        "tests/integration/test_server.py -k one_shape",
    ),
    Mutation(
        "reading a request with an upgrade again",
        "            self._read_without_upgrade(data[stopped.args[0] :])",
        "            pass",
        "tests/integration/test_server.py -k upgrade",
    ),
    Mutation(
        "a lane for reads",
        "        return self._reads if is_read else self._writes",
        "        return self._writes",
        "tests/integration/test_lanes.py",
    ),
    Mutation(
        "a limit for the answers of a database",
        "        if waited > limit or (self.watch and self.watch.is_down):",
        "        if False:",
        "tests/integration/test_outages.py",
    ),
    Mutation(
        "leaving hot reads to their routes while the database is late",
        "        if self._late is not None and not self._late.done():",
        "        if False:",
        "tests/integration/test_hot_reads.py -k late",
    ),
    Mutation(
        "leaving hot reads to their routes whatever fails",
        "        except Exception:\n            return None  # the route itself",
        "        except TimeoutError:\n            return None  # the route itself",
        "tests/integration/test_hot_reads.py -k 'whatever and sqlite'",
    ),
    Mutation(
        "leaving a connection to a process that holds fewer",
        "        if self._held() + len(self._beginning) <= min(shares):",
        "        if True:",
        "tests/unit/test_accepting.py",
    ),
    Mutation(
        "accepting a connection that nobody else takes",
        "        return now - self._left_since < LEAVE_SECONDS",
        "        return True",
        "tests/unit/test_accepting.py",
    ),
    Mutation(
        "another read for whoever asks after one has begun",
        "        self._next = None\n        with suppress(Exception)",
        "        with suppress(Exception)",
        "tests/unit/test_shared_reads.py",
    ),
    Mutation(
        "keeping a shared read for the others when one leaves",
        "return await asyncio.shield(asked)",
        "return await asked",
        "tests/unit/test_shared_reads.py -k leaves",
    ),
    Mutation(
        "connecting in parallel",
        "        self._lock = nullcontext()",
        "",
        "tests/integration/test_outages.py -k same_time",
    ),
    Mutation(
        "counting all waits of a request for locks",
        "        _mine.waited += seconds",
        "        pass",
        "tests/integration/test_patience.py",
    ),
    Mutation(
        "staying on this site after signing in",
        '    if not path or not path.startswith("/") or path[1:2] in ("/", "\\\\"):\n        return HOME',
        "    if not path:\n        return HOME",
        "tests/integration/test_auth.py -k no_other_site",
    ),
    Mutation(
        "a forms' secret of its own for the owner",
        '        session["csrf_token"] = self._credentials.form_token\n',
        "",
        "tests/integration/test_ways_on.py -k another_sign_in",
    ),
    Mutation(
        "errors from a fixed list",
        'return f"reconcile failed: {PROBLEM_TEXT[problem(error)]}"',
        "return str(error)",
        "tests/integration/test_diagnostics.py",
    ),
    Mutation(
        "times that are checked before they are told",
        "text if text and is_time(text) else None",
        "text",
        "tests/integration/test_diagnostics.py -k should_be_a_time",
    ),
    Mutation(
        "trying soon whether SQLite's lock is free",
        "        time.sleep(SOON_SECONDS if tries < SOON_TRIES else LATER_SECONDS)",
        "        time.sleep(0.1)",
        "tests/integration/test_patience.py -k sees_at_once",
    ),
    # ---- reading ahead
    Mutation(
        "a source that fails while lines are read ahead",
        "        if self._failure is not None:\n            raise self._failure\n",
        "",
        "tests/unit/test_read_ahead.py -k failure",
    ),
    Mutation(
        "no line is read ahead after a long one",
        "        if self.is_allowed and not self._read:",
        "        if not self._read:",
        "tests/unit/test_read_ahead.py -k forbid",
    ),
    Mutation(
        "a file that another program switches to its log",
        '            if problem(error) != "busy" or time.monotonic() > until:\n                raise\n        time.sleep',
        "            raise\n        time.sleep",
        "tests/integration/test_migrations.py -k another_program_switches",
    ),
    # ---- ranked records
    Mutation(
        "the largest of a block are ranked after others have left",
        "    ranked.fill({(batch.id, block) for batch in batches for block in batch.left})\n",
        "",
        "tests/integration/test_ranked.py -k next_largest",
    ),
    Mutation(
        "sizes of records that have left are forgotten",
        '        self.stream.largest_sizes = largest if is_known else ""',
        "        self.stream.largest_sizes = largest",
        "tests/integration/test_ranked.py -k have_left",
    ),
    Mutation(
        "records of one block are not compared with those of another",
        "        known, block = sizes if at == block else [], at",
        "        known, block = sizes, at",
        "tests/integration/test_ranked.py -k erasure_begins",
    ),
    Mutation(
        "an erased record leaves the ranking",
        "        ranked.take_out(self.stream.id, [record.version for record in live if record.ranked])\n",
        "",
        "tests/integration/test_ranked.py -k next_largest",
    ),
    Mutation(
        "a record that gets a file leaves the ranking",
        "        ranked.take_out(stream.id, [version])\n",
        "",
        "tests/integration/test_ranked.py -k next_largest",
    ),
    Mutation(
        "a record whose rollup is removed is ranked",
        "        SET has_rollup = FALSE, ranked = TRUE\n",
        "        SET has_rollup = FALSE\n",
        "tests/integration/test_ranked.py -k rollup_is_removed",
    ),
    Mutation(
        "a record with a rollup is ranked, for when its flag is lost",
        "            has_rollup,  # whether it is ranked; see `rank` for one without a rollup",
        "            False,",
        "tests/integration/test_ranked.py -k lost_its_flag_and_its_rollup",
    ),
    Mutation(
        "a link of a version that belongs to no rollup",
        "        and len(found.links) == sum(map(len, chains)) - len(chains)\n",
        "",
        "tests/integration/test_record_rollups.py -k 'one_wrong and later'",
    ),
    Mutation(
        "a flag of a record without a rollup",
        "        and found.flags == len(found.live)\n",
        "",
        "tests/integration/test_record_rollups.py -k 'one_wrong and flag'",
    ),
    Mutation(
        "a file of a record without a rollup",
        '        and files == counted.measures["blob_count"]\n',
        "",
        "tests/integration/test_record_rollups.py -k 'one_wrong and file'",
    ),
    Mutation(
        "the time of a rollup that is right",
        "        and rollup.changed_at in times\n",
        "",
        "tests/integration/test_record_rollups.py -k 'one_wrong and time'",
    ),
    Mutation(
        "a derivation that has begun",
        "    of_streams = [each for each in stream_ids if each not in unfinished]\n",
        "    of_streams = list(stream_ids)\n",
        "tests/integration/test_record_rollups.py -k 'one_wrong and begun'",
    ),
    Mutation(
        "versions that no rollup and no live record has",
        "    if len(found.versions) + others != number:\n        return False\n",
        "",
        "tests/integration/test_record_rollups.py -k 'not_all_there or not_live_gets'",
    ),
    Mutation(
        "versions of live records without a rollup",
        "        return sum(found.versions) + counted.live_versions - live == last * (last + 1) // 2\n",
        "        return True\n",
        "tests/integration/test_record_rollups.py -k not_all_there",
    ),
    Mutation(
        "versions of a pruned stream",
        "    return sorted(not_live) == _not_live(stream_id)\n",
        "    return True\n",
        "tests/integration/test_record_rollups.py -k not_all_there",
    ),
    Mutation(
        "a record whose flag is wrong leaves the ranking",
        " or key in self.wrong_rollups):",
        "):",
        "tests/integration/test_ranked.py -k wrong_flag_leaves",
    ),
    Mutation(
        "verifying which records are ranked",
        "        yield from _ranked(part)\n",
        "",
        "tests/integration/test_ranked.py -k reported_and_ranked_again",
    ),
    Mutation(
        "sizes that a stream remembers are forgotten when ranks are chosen again",
        "        SET largest_sizes = ''\n        WHERE largest_sizes <> ''",
        "        SET largest_sizes = largest_sizes\n        WHERE largest_sizes <> ''",
        "tests/integration/test_ranked.py -k reported_and_forgotten",
    ),
    Mutation(
        "a record that gets its rollup back leaves the ranking",
        "        ranked.take_out(self.id, changed)\n",
        "",
        "tests/integration/test_ranked.py -k rollup_back",
    ),
    # ---- growth
    Mutation(
        "replacing the measures of a row that was wrong",
        "if row.key in right_extents and row.values == tuple(values[row.key])}",
        "if row.key in right_extents}",
        "tests/integration/test_reconcile.py",
    ),
    Mutation(
        "the gap of a row that was marked",
        "    record_gaps(grain, stored)\n",
        "",
        "tests/integration/test_growth.py -k dirty_are_unknown",
    ),
    Mutation(
        "the days of a dirty row that is written to",
        "    gaps.record_writes(grain, dirty)\n",
        "",
        "tests/integration/test_growth.py -k 'while_a_row_is_dirty or whatever_the_clock'",
    ),
    Mutation(
        "snapshots of a later day",
        " AND d.day > {day}",
        " AND FALSE",
        "tests/integration/test_growth.py -k 'after_today or one_write_with'",
    ),
    Mutation(
        "several days against one",
        "                        AND {BELIEVED} < (",
        "                        AND 0 < (",
        "tests/integration/test_growth.py -k behind_once",
    ),
    Mutation(
        "days that are linked",
        "not row.unknown and row.generation == link",
        "not row.unknown",
        "tests/integration/test_growth.py -k one_write_with_a_wrong_clock",
    ),
    Mutation(
        "days linked, in a list",
        "if total and int(generation) == linked_to else None",
        "if total else None",
        "tests/endurance/test_growth_histories.py",
    ),
    Mutation(
        "days of a clock that was wrong",
        "    chosen, doubts = _in_order(snapshots)",
        "    chosen, doubts = snapshots, []",
        "tests/integration/test_growth.py -k one_write_with_a_wrong_clock",
    ),
    Mutation(
        "days that give way",
        "    if len(chosen) - len(agree) <= BELIEVED * len(others):",
        "    if False:",
        "tests/integration/test_growth.py -k too_few_days",
    ),
    Mutation(
        "the number of days",
        "    if generation == previous + 1 > SNAPSHOT_RETENTION_DAYS:",
        "    if False:",
        "tests/integration/test_growth.py -k dropped_by_number",
    ),
    Mutation(
        "days of a row that was lost",
        "SELECT COALESCE(MAX(generation), 0) + 1 FROM {grain.days}",
        "SELECT 0 * COALESCE(MAX(generation), 0) FROM {grain.days}",
        "tests/integration/test_growth.py -k row_that_was_lost",
    ),
    Mutation(
        "days of a copy",
        "        for model in GRAIN_TABLES:\n            _send_dirty_rows(model, self._target)",
        "        pass",
        "tests/integration/test_transfer.py -k growth",
    ),
    Mutation(
        "days of schema 2 that prove nothing",
        "        since = _changed_since(before, snapshot, arrived) if before else None",
        "        since = snapshot.day",
        "tests/integration/test_migrations.py -k proven",
    ),
    Mutation(
        "verifying the newest day",
        "        yield from _newest_day(row, stored, counted.measures, days)",
        "        pass",
        "tests/integration/test_verify.py -k newest_day",
    ),
    Mutation(
        "verifying that gaps are marked",
        '        if not stored["days_disordered"]:\n            arrived',
        "        if False:\n            arrived",
        "tests/integration/test_verify.py -k not_marked",
    ),
]


def main(words: list[str]) -> int:
    wanted = [each for each in MUTATIONS if not words or any(word in each.name for word in words)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        whole, tests = _copy(Path(folder, "whole")), sorted({each.test for each in wanted})
        codes = pool.map(lambda test: _run(whole, test), tests)
        reported = [
            f"{test}: fails without any mutation" for test, code in zip(tests, codes, strict=True) if code
        ]
        places = (Path(folder, str(number)) for number, _ in enumerate(wanted))
        for each, line in zip(wanted, pool.map(_try, wanted, places), strict=True):
            print(f"{line or 'found'}: {each.name}", flush=True)
            reported += [f"{each.name}: {line}"] if line else []
    print(f"\n{len(wanted)} mutations, {len(reported)} not as they should be.")
    print("".join(f"  {line}\n" for line in reported), end="")
    return bool(reported)


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

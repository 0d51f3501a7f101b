-- Generated from pdpp_ref/models by: python -m tests.support.schema_sql

-- One row; its presence marks a database as ours.  `created_at` is NULL if not known.
--
-- `unfinished`: there is a row of TransferState.  Every transaction reads this row alone.
-- `history_id` differs in copies and backups, because each has its own history from then on.
--
-- `erasure_key` is the key of the HMACs in Erasure, and never changes.  `last_erasure` numbers their
-- changes.  The bytes of erasures up to `cleaned_erasure` are overwritten; `cleaned_pages` is how far the
-- overwriting for the later ones has come.  `has_remnants`: an SQLite file from before deleted bytes were
-- overwritten, which has not been compacted since.
CREATE TABLE "pdpp_ref_schema" (
    "version" BIGINT NOT NULL PRIMARY KEY,
    "created_at" TEXT COLLATE "C",
    "unfinished" BOOLEAN NOT NULL DEFAULT FALSE,
    "history_id" TEXT COLLATE "C" NOT NULL DEFAULT '',
    "erasure_key" TEXT COLLATE "C" NOT NULL DEFAULT '',
    "last_erasure" BIGINT NOT NULL DEFAULT 0,
    "cleaned_erasure" BIGINT NOT NULL DEFAULT 0,
    "cleaned_pages" BIGINT NOT NULL DEFAULT 0,
    "has_remnants" BOOLEAN NOT NULL DEFAULT FALSE
);

-- One row while a copy to this database is not finished; `state` is the source's.
--
-- `progress` is JSON: how many rows of each table were sent, so that rows of other writers are noticed.
CREATE TABLE "pdpp_ref_copying" (
    "id" BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    "state" TEXT COLLATE "C" NOT NULL,
    "progress" TEXT COLLATE "C" NOT NULL DEFAULT '{}'
);

-- What an owner has asked to prune: the server does it in steps, and it stays as a report.
--
-- `id` is that of the form, so that sending it twice is one request.  Without names it is for all
-- connections, or all streams.  `keep` and `before` are as in `canonical.retention.Policy`, and `expected`
-- is how many versions that concerned at first.  Streams before `next_stream` are done, and of that one
-- the records whose newest version is `through_version` or older.  `skipped` streams could not be pruned.
CREATE TABLE "prunings" (
    "id" TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    "connection" TEXT COLLATE "C",
    "stream" TEXT COLLATE "C",
    "keep" BIGINT NOT NULL,
    "before" TEXT COLLATE "C",
    "expected" BIGINT NOT NULL DEFAULT 0,
    "started_at" TEXT COLLATE "C" NOT NULL,
    "finished_at" TEXT COLLATE "C",
    "next_stream" BIGINT NOT NULL DEFAULT 0,
    "through_version" BIGINT NOT NULL DEFAULT 0,
    "versions" BIGINT NOT NULL DEFAULT 0,
    "json_bytes" BIGINT NOT NULL DEFAULT 0,
    "files" BIGINT NOT NULL DEFAULT 0,
    "file_bytes" BIGINT NOT NULL DEFAULT 0,
    "skipped" BIGINT NOT NULL DEFAULT 0
);

-- `unattributed_rejections`: how many rejected lines there were whose stream is unknown.
CREATE TABLE "connections" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "connector_instance_id" TEXT COLLATE "C" NOT NULL,
    "connector_id" TEXT COLLATE "C" NOT NULL,
    "created_at" TEXT COLLATE "C" NOT NULL,
    "unattributed_rejections" BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX "connections_connector_instance_id" ON "connections" ("connector_instance_id");
CREATE INDEX "connections_connector_id" ON "connections" ("connector_id");

-- When a connection's source was in contact.  A visit is contacts with no long pause between them.
--
-- `intervals` are the seconds from one visit's begin to the next one's, of the newest visits, with spaces
-- between them.  `usual_seconds` is their median, NULL if they are too few; after `silent_from` the source
-- has stayed away for longer than that.  `canonical/contacts.py` has the rules.
CREATE TABLE "connection_contacts" (
    "connection_id" BIGINT NOT NULL PRIMARY KEY,
    "last_contact_at" TEXT COLLATE "C" NOT NULL,
    "visit_began_at" TEXT COLLATE "C" NOT NULL,
    "intervals" TEXT COLLATE "C" NOT NULL DEFAULT '',
    "usual_seconds" BIGINT,
    "silent_from" TEXT COLLATE "C",
    FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE
);
CREATE INDEX "connection_contacts_silent_from" ON "connection_contacts" ("silent_from");

-- `last_version` numbers this stream's history densely, from 1.
--
-- A stream without a connection is deleted: nothing may read it, and its rows are removed in steps.
-- `incarnation` differs from that of any other stream, an earlier one of the same name included.
-- `removed_through` is the newest version from which on a follower of the change feed would miss a
-- removal: a token older than that is gone.
--
-- `record_time_field` is the field of its records that says when a thing happened, as the last
-- sender declared it.  `undated_records` is how many live records were stored up to version
-- `record_time_field_since`, before it was declared, and were not sent again.
--
-- `key_schema` is JSON: `[[property, type or null], ...]` of the live records' keys, `[]` if records
-- are keyed by their content, `null` if they are from before it was stored, and NULL if keys came as
-- such.  `respelled_keys`: some keys are stored in another spelling than a sender's, see KeySpelling.
--
-- `last_contact_at` is when its source last sent anything about it.
--
-- A table version with a rejected line is not activated: `rejected_table_version` is the newest
-- such, `rejected_unversioned` that there were lines whose version is unknown, and `rejections_seen`
-- how many of the connection's `unattributed_rejections` an activation has considered.
--
-- `largest_sizes` helps to choose which of its next records are ranked, see projection/ranked.py.
CREATE TABLE "streams" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "connection_id" BIGINT,
    "name" TEXT COLLATE "C" NOT NULL,
    "last_version" BIGINT NOT NULL,
    "last_ingested_at" TEXT COLLATE "C",
    "created_at" TEXT COLLATE "C" NOT NULL,
    "record_time_field" TEXT COLLATE "C",
    "record_time_field_since" BIGINT NOT NULL DEFAULT 0,
    "undated_records" BIGINT NOT NULL DEFAULT 0,
    "key_schema" TEXT COLLATE "C",
    "respelled_keys" BOOLEAN NOT NULL DEFAULT FALSE,
    "last_contact_at" TEXT COLLATE "C",
    "rejected_table_version" BIGINT,
    "rejected_unversioned" BOOLEAN NOT NULL DEFAULT FALSE,
    "rejections_seen" BIGINT NOT NULL DEFAULT 0,
    "incarnation" TEXT COLLATE "C" NOT NULL DEFAULT '',
    "removed_through" BIGINT NOT NULL DEFAULT 0,
    "largest_sizes" TEXT COLLATE "C" NOT NULL DEFAULT '',
    FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE
);
CREATE UNIQUE INDEX "streams_connection_id_name" ON "streams" ("connection_id", "name");

-- How many versions of each record of a stream the server retains by itself: the newest `keep`.
--
-- It has been applied to the records whose newest version is `through_version` or older; `applied_at` is
-- when it last was to all.  `versions`, `json_bytes`, `files` and `file_bytes` are what it has removed.
CREATE TABLE "retention_rules" (
    "stream_id" BIGINT NOT NULL PRIMARY KEY,
    "keep" BIGINT NOT NULL CHECK (keep >= 1),
    "set_at" TEXT COLLATE "C" NOT NULL,
    "through_version" BIGINT NOT NULL DEFAULT 0,
    "applied_at" TEXT COLLATE "C",
    "versions" BIGINT NOT NULL DEFAULT 0,
    "json_bytes" BIGINT NOT NULL DEFAULT 0,
    "files" BIGINT NOT NULL DEFAULT 0,
    "file_bytes" BIGINT NOT NULL DEFAULT 0,
    FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE
);

-- The live version of a key.  `table_version` is a Singer table version, if one was sent.
--
-- `has_rollup`: the key has more than this one version, or files; see RetainedSizeRecord.
-- `ranked`: without a rollup, it may be one of the largest; see projection/ranked.py.
-- `record_time` is when the thing happened, if the sender says so; empty if the record was sent again
-- after its field was declared, and has no such time.
CREATE TABLE "records" (
    "stream_id" BIGINT NOT NULL,
    "key" TEXT COLLATE "C" NOT NULL,
    "version" BIGINT NOT NULL,
    "data" TEXT COLLATE "C" NOT NULL,
    "json_bytes" BIGINT NOT NULL,
    "emitted_at" TEXT COLLATE "C",
    "ingested_at" TEXT COLLATE "C" NOT NULL,
    "table_version" BIGINT,
    "record_time" TEXT COLLATE "C",
    "has_rollup" BOOLEAN NOT NULL DEFAULT FALSE,
    "ranked" BOOLEAN NOT NULL DEFAULT TRUE,
    PRIMARY KEY ("stream_id", "key"),
    FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE,
    CHECK (json_bytes = octet_length(data))
);
CREATE INDEX "records_stream_id_version_json_bytes" ON "records" ("stream_id", "version", "json_bytes");
CREATE INDEX records_by_json_bytes ON records (json_bytes, stream_id, key) WHERE ranked AND NOT has_rollup;
CREATE INDEX records_record_time ON records (stream_id, record_time) WHERE record_time IS NOT NULL;
CREATE INDEX records_with_rollup ON records (stream_id, version) WHERE has_rollup;

-- One version, until history is pruned; a tombstone has no data and 0 bytes.
--
-- `previous_version` is the key's version before this one: a record's history is followed from
-- its newest version on, so that no import pays for an index by key.
--
-- On a key's oldest version, `pruned_at` is the time of the key's latest pruned version,
-- by `emitted_at` or else by arrival, and `pruned_digest` that version's SHA-256 (empty: a delete).
CREATE TABLE "record_changes" (
    "stream_id" BIGINT NOT NULL,
    "version" BIGINT NOT NULL,
    "key" TEXT COLLATE "C" NOT NULL,
    "data" TEXT COLLATE "C",
    "json_bytes" BIGINT NOT NULL,
    "emitted_at" TEXT COLLATE "C",
    "ingested_at" TEXT COLLATE "C" NOT NULL,
    "previous_version" BIGINT,
    "pruned_at" TEXT COLLATE "C",
    "pruned_digest" TEXT COLLATE "C",
    PRIMARY KEY ("stream_id", "version"),
    FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE,
    CHECK (json_bytes = COALESCE(octet_length(data), 0))
);
CREATE INDEX "record_changes_stream_id_version_json_bytes" ON "record_changes" ("stream_id", "version", "json_bytes");
CREATE INDEX record_changes_later ON record_changes (stream_id, version, previous_version) WHERE previous_version IS NOT NULL;

-- The spelling of a key that was stored before numbers in keys were compared by value.
CREATE TABLE "key_spellings" (
    "stream_id" BIGINT NOT NULL,
    "key" TEXT COLLATE "C" NOT NULL,
    "spelling" TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY ("stream_id", "key"),
    FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE
);

-- A file's bytes, stored once; `sha256` is its lower-case hex digest.
CREATE TABLE "blobs" (
    "sha256" TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    "byte_length" BIGINT NOT NULL CHECK (byte_length >= 0),
    "created_at" TEXT COLLATE "C" NOT NULL
);

-- A part of a file's bytes, numbered from 0, so that no row is too large for a driver.
CREATE TABLE "blob_chunks" (
    "sha256" TEXT COLLATE "C" NOT NULL,
    "number" BIGINT NOT NULL,
    "data" BYTEA NOT NULL,
    PRIMARY KEY ("sha256", "number"),
    FOREIGN KEY ("sha256") REFERENCES "blobs" ("sha256") ON DELETE CASCADE
);

-- A file that a record holds; `version` is the record's when it was bound.
--
-- `mime_type` and `json_path` are as its sender said: the media type, and the place in the record that
-- refers to the file.
CREATE TABLE "blob_bindings" (
    "stream_id" BIGINT NOT NULL,
    "key" TEXT COLLATE "C" NOT NULL,
    "sha256" TEXT COLLATE "C" NOT NULL,
    "version" BIGINT NOT NULL,
    "byte_length" BIGINT NOT NULL CHECK (byte_length >= 0),
    "bound_at" TEXT COLLATE "C" NOT NULL DEFAULT '',
    "mime_type" TEXT COLLATE "C",
    "json_path" TEXT COLLATE "C",
    PRIMARY KEY ("stream_id", "key", "sha256"),
    FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE,
    FOREIGN KEY ("sha256") REFERENCES "blobs" ("sha256") ON DELETE RESTRICT
);
CREATE INDEX "blob_bindings_sha256" ON "blob_bindings" ("sha256");
CREATE INDEX "blob_bindings_stream_id_version_byte_length" ON "blob_bindings" ("stream_id", "version", "byte_length");
CREATE INDEX "blob_bindings_byte_length_stream_id_key_sha256" ON "blob_bindings" ("byte_length", "stream_id", "key", "sha256");

-- A file that was uploaded before its record, which will be of this stream and key.
--
-- No measure counts it until the record claims it.  `marked` is the cleanup that saw it first; a later one
-- removes it.  A file without a connection is deleted, and removed by the next cleanup.
CREATE TABLE "unclaimed_files" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "connection_id" BIGINT,
    "stream_name" TEXT COLLATE "C" NOT NULL,
    "key" TEXT COLLATE "C" NOT NULL,
    "sha256" TEXT COLLATE "C" NOT NULL,
    "byte_length" BIGINT NOT NULL CHECK (byte_length >= 0),
    "mime_type" TEXT COLLATE "C",
    "json_path" TEXT COLLATE "C",
    "uploaded_at" TEXT COLLATE "C" NOT NULL,
    "marked" TEXT COLLATE "C",
    FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE,
    FOREIGN KEY ("sha256") REFERENCES "blobs" ("sha256") ON DELETE RESTRICT
);
CREATE INDEX "unclaimed_files_sha256" ON "unclaimed_files" ("sha256");
CREATE UNIQUE INDEX "unclaimed_files_connection_id_stream_name_key_sha256" ON "unclaimed_files" ("connection_id", "stream_name", "key", "sha256");

-- What a connector last stored about a stream, to continue from there: `value` is JSON, as received.
CREATE TABLE "connector_states" (
    "connection_id" BIGINT NOT NULL,
    "stream_name" TEXT COLLATE "C" NOT NULL,
    "value" TEXT COLLATE "C" NOT NULL,
    "updated_at" TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY ("connection_id", "stream_name"),
    FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE
);

-- A record, or one file of a record, that its owner erased: what arrives for it is not stored.
--
-- `hmac` is all there is of its names, see `canonical/erased.py`.  `number` is that of the latest change
-- of the row, and `allowed` means that the owner has allowed it again.
CREATE TABLE "erasures" (
    "hmac" TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    "number" BIGINT NOT NULL,
    "allowed" BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX "erasures_number" ON "erasures" ("number");

-- A named bearer token.  `digest` is the SHA-256 of its text, which is not stored.
--
-- `scopes` are separated by spaces.  `connection` is the name of the only one that it may touch, which
-- need not exist; NULL for all.
CREATE TABLE "tokens" (
    "name" TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    "digest" TEXT COLLATE "C" NOT NULL,
    "scopes" TEXT COLLATE "C" NOT NULL,
    "connection" TEXT COLLATE "C",
    "created_at" TEXT COLLATE "C" NOT NULL,
    "expires_at" TEXT COLLATE "C",
    "last_used_at" TEXT COLLATE "C",
    "revoked_at" TEXT COLLATE "C"
);
CREATE UNIQUE INDEX "tokens_digest" ON "tokens" ("digest");

-- The measures of one key that was changed, deleted or given a file.
--
-- It is written with the record itself.  If it is lost or wrong, its stream is `rollups_dirty` until
-- all rows of the stream have been derived again.  A record with one version needs no row: its measures
-- follow from the record.  `version` is the key's newest; `changed_at` the time of that, or of a file.
CREATE TABLE "retained_size_record" (
    "record_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_count >= 0),
    "current_record_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0),
    "record_history_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_count >= 0),
    "record_history_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0),
    "blob_count" BIGINT NOT NULL DEFAULT 0 CHECK (blob_count >= 0),
    "blob_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0),
    "stream_id" BIGINT NOT NULL,
    "key" TEXT COLLATE "C" NOT NULL,
    "version" BIGINT NOT NULL,
    "changed_at" TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY ("stream_id", "key"),
    FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE
);
CREATE INDEX retained_size_record_by_current_record_json_bytes ON retained_size_record (current_record_json_bytes, stream_id, key);
CREATE INDEX retained_size_record_by_record_history_count ON retained_size_record (record_history_count, stream_id, key);
CREATE INDEX retained_size_record_by_record_history_json_bytes ON retained_size_record (record_history_json_bytes, stream_id, key);
CREATE INDEX retained_size_record_by_blob_count ON retained_size_record (blob_count, stream_id, key) WHERE blob_count <> 0;
CREATE INDEX retained_size_record_by_blob_bytes ON retained_size_record (blob_bytes, stream_id, key) WHERE blob_count <> 0;
CREATE INDEX retained_size_record_by_total_retained_bytes ON retained_size_record ((current_record_json_bytes + record_history_json_bytes + blob_bytes), stream_id, key);
CREATE INDEX retained_size_record_deleted ON retained_size_record (stream_id, version) WHERE record_count = 0;

-- `record_times_unknown`, here and for connections: a record is not dated by a declared field.
--
-- The names are those of the canonical rows: equally large rows are ranked by name.
CREATE TABLE "retained_size_stream" (
    "stream_id" BIGINT NOT NULL PRIMARY KEY,
    "record_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_count >= 0),
    "current_record_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0),
    "record_history_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_count >= 0),
    "record_history_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0),
    "blob_count" BIGINT NOT NULL DEFAULT 0 CHECK (blob_count >= 0),
    "blob_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0),
    "dirty" BOOLEAN NOT NULL DEFAULT FALSE,
    "stale_since" TEXT COLLATE "C",
    "computed_at" TEXT COLLATE "C",
    "generation" BIGINT NOT NULL DEFAULT 0,
    "days_disordered" BOOLEAN NOT NULL DEFAULT FALSE,
    "earliest_ingested_at" TEXT COLLATE "C",
    "latest_ingested_at" TEXT COLLATE "C",
    "earliest_record_time" TEXT COLLATE "C",
    "latest_record_time" TEXT COLLATE "C",
    "connection_id" BIGINT NOT NULL,
    "rollups_dirty" BOOLEAN NOT NULL DEFAULT FALSE,
    "record_times_unknown" BOOLEAN NOT NULL DEFAULT FALSE,
    "connection_name" TEXT COLLATE "C" NOT NULL DEFAULT '',
    "stream_name" TEXT COLLATE "C" NOT NULL DEFAULT '',
    FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE,
    FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE
);
CREATE INDEX "retained_size_stream_connection_id_earliest_ingested_at" ON "retained_size_stream" ("connection_id", "earliest_ingested_at");
CREATE INDEX "retained_size_stream_connection_id_latest_ingested_at" ON "retained_size_stream" ("connection_id", "latest_ingested_at");
CREATE INDEX "retained_size_stream_connection_id_earliest_record_time" ON "retained_size_stream" ("connection_id", "earliest_record_time");
CREATE INDEX "retained_size_stream_connection_id_latest_record_time" ON "retained_size_stream" ("connection_id", "latest_record_time");
CREATE INDEX retained_size_stream_dirty ON retained_size_stream (connection_id, stream_id) WHERE dirty;
CREATE INDEX retained_size_stream_by_record_count ON retained_size_stream (record_count DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_current_record_json_bytes ON retained_size_stream (current_record_json_bytes DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_record_history_count ON retained_size_stream (record_history_count DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_record_history_json_bytes ON retained_size_stream (record_history_json_bytes DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_blob_count ON retained_size_stream (blob_count DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_blob_bytes ON retained_size_stream (blob_bytes DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_total_retained_bytes ON retained_size_stream ((current_record_json_bytes + record_history_json_bytes + blob_bytes) DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_filled ON retained_size_stream (connection_name, SUBSTR(stream_name, 1, 150)) WHERE CASE WHEN dirty THEN TRUE ELSE record_history_count > 0 END;
CREATE INDEX retained_size_stream_times_unknown ON retained_size_stream (connection_id) WHERE record_times_unknown;

CREATE TABLE "retained_size_connection" (
    "connection_id" BIGINT NOT NULL PRIMARY KEY,
    "record_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_count >= 0),
    "current_record_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0),
    "record_history_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_count >= 0),
    "record_history_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0),
    "blob_count" BIGINT NOT NULL DEFAULT 0 CHECK (blob_count >= 0),
    "blob_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0),
    "dirty" BOOLEAN NOT NULL DEFAULT FALSE,
    "stale_since" TEXT COLLATE "C",
    "computed_at" TEXT COLLATE "C",
    "generation" BIGINT NOT NULL DEFAULT 0,
    "days_disordered" BOOLEAN NOT NULL DEFAULT FALSE,
    "earliest_ingested_at" TEXT COLLATE "C",
    "latest_ingested_at" TEXT COLLATE "C",
    "earliest_record_time" TEXT COLLATE "C",
    "latest_record_time" TEXT COLLATE "C",
    "stream_count" BIGINT NOT NULL DEFAULT 0 CHECK (stream_count >= 0),
    "record_times_unknown" BOOLEAN NOT NULL DEFAULT FALSE,
    "connection_name" TEXT COLLATE "C" NOT NULL DEFAULT '',
    FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE
);
CREATE INDEX "retained_size_connection_earliest_ingested_at" ON "retained_size_connection" ("earliest_ingested_at");
CREATE INDEX "retained_size_connection_latest_ingested_at" ON "retained_size_connection" ("latest_ingested_at");
CREATE INDEX "retained_size_connection_earliest_record_time" ON "retained_size_connection" ("earliest_record_time");
CREATE INDEX "retained_size_connection_latest_record_time" ON "retained_size_connection" ("latest_record_time");
CREATE INDEX retained_size_connection_dirty ON retained_size_connection (connection_id) WHERE dirty;
CREATE INDEX retained_size_connection_by_record_count ON retained_size_connection (record_count DESC, connection_name);
CREATE INDEX retained_size_connection_by_current_record_json_bytes ON retained_size_connection (current_record_json_bytes DESC, connection_name);
CREATE INDEX retained_size_connection_by_record_history_count ON retained_size_connection (record_history_count DESC, connection_name);
CREATE INDEX retained_size_connection_by_record_history_json_bytes ON retained_size_connection (record_history_json_bytes DESC, connection_name);
CREATE INDEX retained_size_connection_by_blob_count ON retained_size_connection (blob_count DESC, connection_name);
CREATE INDEX retained_size_connection_by_blob_bytes ON retained_size_connection (blob_bytes DESC, connection_name);
CREATE INDEX retained_size_connection_by_total_retained_bytes ON retained_size_connection ((current_record_json_bytes + record_history_json_bytes + blob_bytes) DESC, connection_name);
CREATE INDEX retained_size_connection_silent ON retained_size_connection (latest_ingested_at, connection_id);
CREATE INDEX retained_size_connection_times_unknown ON retained_size_connection (connection_id) WHERE record_times_unknown;

-- One row.  `rebuild_total` is how many versions there were to count when a rebuild began.
CREATE TABLE "retained_size_global" (
    "id" BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    "record_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_count >= 0),
    "current_record_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0),
    "record_history_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_count >= 0),
    "record_history_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0),
    "blob_count" BIGINT NOT NULL DEFAULT 0 CHECK (blob_count >= 0),
    "blob_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0),
    "dirty" BOOLEAN NOT NULL DEFAULT FALSE,
    "stale_since" TEXT COLLATE "C",
    "computed_at" TEXT COLLATE "C",
    "generation" BIGINT NOT NULL DEFAULT 0,
    "days_disordered" BOOLEAN NOT NULL DEFAULT FALSE,
    "earliest_ingested_at" TEXT COLLATE "C",
    "latest_ingested_at" TEXT COLLATE "C",
    "earliest_record_time" TEXT COLLATE "C",
    "latest_record_time" TEXT COLLATE "C",
    "stream_count" BIGINT NOT NULL DEFAULT 0 CHECK (stream_count >= 0),
    "connection_count" BIGINT NOT NULL DEFAULT 0 CHECK (connection_count >= 0),
    "rebuild_status" TEXT COLLATE "C" NOT NULL DEFAULT 'idle' CHECK (rebuild_status IN ('idle', 'running', 'failed')),
    "rebuild_total" BIGINT
);

-- A connector's part of the global row's `record_count`; none if that is 0.
--
-- It is exact when the global row is, and written only by whoever has locked that row.
CREATE TABLE "retained_size_connector" (
    "connector_id" TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    "record_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_count >= 0)
);
CREATE INDEX retained_size_connector_by_record_count ON retained_size_connector (record_count DESC, connector_id);

CREATE TABLE "retained_size_stream_days" (
    "record_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_count >= 0),
    "current_record_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0),
    "record_history_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_count >= 0),
    "record_history_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0),
    "blob_count" BIGINT NOT NULL DEFAULT 0 CHECK (blob_count >= 0),
    "blob_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0),
    "day" TEXT COLLATE "C" NOT NULL,
    "generation" BIGINT NOT NULL DEFAULT 0,
    "previous_generation" BIGINT NOT NULL DEFAULT 0,
    "unknown" BOOLEAN NOT NULL DEFAULT FALSE,
    "stream_id" BIGINT NOT NULL,
    PRIMARY KEY ("stream_id", "day"),
    FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE
);
CREATE INDEX retained_size_stream_days_by_day ON retained_size_stream_days (day, stream_id);

CREATE TABLE "retained_size_connection_days" (
    "record_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_count >= 0),
    "current_record_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0),
    "record_history_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_count >= 0),
    "record_history_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0),
    "blob_count" BIGINT NOT NULL DEFAULT 0 CHECK (blob_count >= 0),
    "blob_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0),
    "day" TEXT COLLATE "C" NOT NULL,
    "generation" BIGINT NOT NULL DEFAULT 0,
    "previous_generation" BIGINT NOT NULL DEFAULT 0,
    "unknown" BOOLEAN NOT NULL DEFAULT FALSE,
    "connection_id" BIGINT NOT NULL,
    PRIMARY KEY ("connection_id", "day"),
    FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE
);
CREATE INDEX retained_size_connection_days_by_day ON retained_size_connection_days (day, connection_id);

CREATE TABLE "retained_size_global_days" (
    "record_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_count >= 0),
    "current_record_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0),
    "record_history_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_count >= 0),
    "record_history_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0),
    "blob_count" BIGINT NOT NULL DEFAULT 0 CHECK (blob_count >= 0),
    "blob_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0),
    "day" TEXT COLLATE "C" NOT NULL,
    "generation" BIGINT NOT NULL DEFAULT 0,
    "previous_generation" BIGINT NOT NULL DEFAULT 0,
    "unknown" BOOLEAN NOT NULL DEFAULT FALSE,
    "id" BIGINT NOT NULL CHECK (id = 1),
    PRIMARY KEY ("id", "day")
);

-- The measures of a stream's versions 1..through_version, if one pass could not count them all.
--
-- `through_version` is the watermark: writers adjust the measures for changes to versions up to it.
CREATE TABLE "retained_size_recounts" (
    "stream_id" BIGINT NOT NULL PRIMARY KEY,
    "record_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_count >= 0),
    "current_record_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0),
    "record_history_count" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_count >= 0),
    "record_history_json_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0),
    "blob_count" BIGINT NOT NULL DEFAULT 0 CHECK (blob_count >= 0),
    "blob_bytes" BIGINT NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0),
    "through_version" BIGINT NOT NULL,
    FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE
);

-- How far the rollups of a stream have been derived again, see `projection/record_rollups.py`.
--
-- Versions up to `through_version` are in RollupCount, and the rows of keys up to `after_key` are right.
CREATE TABLE "retained_size_record_recounts" (
    "stream_id" BIGINT NOT NULL PRIMARY KEY,
    "through_version" BIGINT NOT NULL,
    "after_key" TEXT COLLATE "C" NOT NULL,
    FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE
);

-- The versions of a key up to `version`, while rollups are being derived again.
--
-- A live version is not among them: most keys have no other, and need no row here.
CREATE TABLE "retained_size_record_counts" (
    "stream_id" BIGINT NOT NULL,
    "key" TEXT COLLATE "C" NOT NULL,
    "version" BIGINT NOT NULL,
    "versions" BIGINT NOT NULL,
    "json_bytes" BIGINT NOT NULL,
    PRIMARY KEY ("stream_id", "key"),
    FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE
);

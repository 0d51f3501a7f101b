
PRAGMA page_size=4096;

PRAGMA foreign_keys=OFF;

BEGIN TRANSACTION;

DROP TABLE IF EXISTS blob_bindings;
CREATE TABLE "blob_bindings" ("stream_id" INTEGER NOT NULL, "key" TEXT NOT NULL, "sha256" TEXT NOT NULL, "version" INTEGER NOT NULL, "byte_length" INTEGER NOT NULL CHECK (byte_length >= 0), "bound_at" TEXT NOT NULL DEFAULT '', mime_type TEXT, json_path TEXT, PRIMARY KEY ("stream_id", "key", "sha256"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE, FOREIGN KEY ("sha256") REFERENCES "blobs" ("sha256") ON DELETE RESTRICT) STRICT;
INSERT INTO blob_bindings VALUES(1,'k1','7365d029861e32c521f8089b00a6fb32daf0615025b69b599d1ce53501b845c2',9,6,'2026-11-26T19:00:23.420Z',NULL,NULL);
INSERT INTO blob_bindings VALUES(2,'p','ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5',1,7,'2026-11-26T19:00:23.428Z',NULL,NULL);
CREATE INDEX "blob_bindings_byte_length_stream_id_key_sha256" ON "blob_bindings" ("byte_length", "stream_id", "key", "sha256");
CREATE INDEX "blob_bindings_sha256" ON "blob_bindings" ("sha256");
CREATE INDEX "blob_bindings_stream_id_version_byte_length" ON "blob_bindings" ("stream_id", "version", "byte_length");

DROP TABLE IF EXISTS blob_chunks;
CREATE TABLE "blob_chunks" ("sha256" TEXT NOT NULL, "number" INTEGER NOT NULL, "data" BLOB NOT NULL, PRIMARY KEY ("sha256", "number"), FOREIGN KEY ("sha256") REFERENCES "blobs" ("sha256") ON DELETE CASCADE) STRICT;
INSERT INTO blob_chunks VALUES('7365d029861e32c521f8089b00a6fb32daf0615025b69b599d1ce53501b845c2',0,X'612066696C65');
INSERT INTO blob_chunks VALUES('ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5',0,X'616E6F74686572');

DROP TABLE IF EXISTS blobs;
CREATE TABLE "blobs" ("sha256" TEXT NOT NULL PRIMARY KEY, "byte_length" INTEGER NOT NULL CHECK (byte_length >= 0), "created_at" TEXT NOT NULL) STRICT;
INSERT INTO blobs VALUES('7365d029861e32c521f8089b00a6fb32daf0615025b69b599d1ce53501b845c2',6,'2026-11-26T19:00:23.420Z');
INSERT INTO blobs VALUES('ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5',7,'2026-11-26T19:00:23.428Z');

DROP TABLE IF EXISTS connection_contacts;
CREATE TABLE "connection_contacts" ("connection_id" INTEGER NOT NULL PRIMARY KEY, "last_contact_at" TEXT NOT NULL, "visit_began_at" TEXT NOT NULL, "intervals" TEXT NOT NULL DEFAULT '', "usual_seconds" INTEGER, "silent_from" TEXT, FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO connection_contacts VALUES(1,'2026-11-26T19:00:23.415Z','2026-11-26T19:00:23.415Z','',NULL,NULL);
INSERT INTO connection_contacts VALUES(2,'2026-11-26T19:00:23.422Z','2026-11-26T19:00:23.422Z','',NULL,NULL);
INSERT INTO connection_contacts VALUES(3,'2026-11-26T19:00:23.431Z','2026-11-26T19:00:23.431Z','',NULL,NULL);
CREATE INDEX "connection_contacts_silent_from" ON "connection_contacts" ("silent_from");

DROP TABLE IF EXISTS connections;
CREATE TABLE "connections" ("id" INTEGER NOT NULL PRIMARY KEY, "connector_instance_id" TEXT NOT NULL, "connector_id" TEXT NOT NULL, "created_at" TEXT NOT NULL, "unattributed_rejections" INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO connections VALUES(1,'laptop','files','2026-11-26T19:00:23.396Z',0);
INSERT INTO connections VALUES(2,'phone','camera','2026-11-26T19:00:23.421Z',0);
INSERT INTO connections VALUES(3,'tap','tap','2026-11-26T19:00:23.429Z',0);
CREATE INDEX "connections_connector_id" ON "connections" ("connector_id");
CREATE UNIQUE INDEX "connections_connector_instance_id" ON "connections" ("connector_instance_id");

DROP TABLE IF EXISTS connector_states;
CREATE TABLE "connector_states" ("connection_id" INTEGER NOT NULL, "stream_name" TEXT NOT NULL, "value" TEXT NOT NULL, "updated_at" TEXT NOT NULL, PRIMARY KEY ("connection_id", "stream_name"), FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;

DROP TABLE IF EXISTS erasures;
CREATE TABLE "erasures" ("hmac" TEXT NOT NULL PRIMARY KEY, "number" INTEGER NOT NULL, "allowed" INTEGER NOT NULL DEFAULT FALSE) STRICT;
CREATE INDEX "erasures_number" ON "erasures" ("number");

DROP TABLE IF EXISTS key_spellings;
CREATE TABLE "key_spellings" ("stream_id" INTEGER NOT NULL, "key" TEXT NOT NULL, "spelling" TEXT NOT NULL, PRIMARY KEY ("stream_id", "key"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE) STRICT;

DROP TABLE IF EXISTS pdpp_ref_copying;
CREATE TABLE "pdpp_ref_copying" ("id" INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), "state" TEXT NOT NULL, "progress" TEXT NOT NULL DEFAULT '{}') STRICT;

DROP TABLE IF EXISTS pdpp_ref_schema;
CREATE TABLE "pdpp_ref_schema" ("version" INTEGER NOT NULL PRIMARY KEY, "created_at" TEXT, "unfinished" INTEGER NOT NULL DEFAULT FALSE, history_id TEXT NOT NULL DEFAULT '', erasure_key TEXT NOT NULL DEFAULT '', last_erasure INTEGER NOT NULL DEFAULT 0, cleaned_erasure INTEGER NOT NULL DEFAULT 0, cleaned_pages INTEGER NOT NULL DEFAULT 0, has_remnants INTEGER NOT NULL DEFAULT FALSE) STRICT;
INSERT INTO pdpp_ref_schema VALUES(4,'2026-11-26T19:00:23.390Z',0,'587e39a171738b6a','60fafd0883fcd7d2a3220e98fbbb0cc4335f836b69ca6b70333cfe79c8fd7f1c',0,0,0,1);

DROP TABLE IF EXISTS prunings;
CREATE TABLE "prunings" ("id" TEXT NOT NULL PRIMARY KEY, "connection" TEXT, "stream" TEXT, "keep" INTEGER NOT NULL, "before" TEXT, "expected" INTEGER NOT NULL DEFAULT 0, "started_at" TEXT NOT NULL, "finished_at" TEXT, "next_stream" INTEGER NOT NULL DEFAULT 0, "through_version" INTEGER NOT NULL DEFAULT 0, "versions" INTEGER NOT NULL DEFAULT 0, "json_bytes" INTEGER NOT NULL DEFAULT 0, "files" INTEGER NOT NULL DEFAULT 0, "file_bytes" INTEGER NOT NULL DEFAULT 0, "skipped" INTEGER NOT NULL DEFAULT 0) STRICT;

DROP TABLE IF EXISTS record_changes;
CREATE TABLE "record_changes" ("stream_id" INTEGER NOT NULL, "version" INTEGER NOT NULL, "key" TEXT NOT NULL, "data" TEXT, "json_bytes" INTEGER NOT NULL, "emitted_at" TEXT, "ingested_at" TEXT NOT NULL, "previous_version" INTEGER, "pruned_at" TEXT, "pruned_digest" TEXT, PRIMARY KEY ("stream_id", "version"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE, CHECK (json_bytes = COALESCE(octet_length(data), 0))) STRICT;
INSERT INTO record_changes VALUES(1,1,'0000000','{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T19:00:23.397Z',NULL,NULL,NULL);
INSERT INTO record_changes VALUES(1,2,'0000001','{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T19:00:23.397Z',NULL,NULL,NULL);
INSERT INTO record_changes VALUES(1,3,'0000002','{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T19:00:23.397Z',NULL,NULL,NULL);
INSERT INTO record_changes VALUES(1,4,'0000003','{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T19:00:23.397Z',NULL,NULL,NULL);
INSERT INTO record_changes VALUES(1,5,'0000004','{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T19:00:23.397Z',NULL,NULL,NULL);
INSERT INTO record_changes VALUES(1,6,'0000005','{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T19:00:23.397Z',NULL,NULL,NULL);
INSERT INTO record_changes VALUES(1,7,'k1','{"n":1}',7,NULL,'2026-11-26T19:00:23.400Z',NULL,NULL,NULL);
INSERT INTO record_changes VALUES(1,8,'k1','{"n":2}',7,NULL,'2026-11-26T19:00:23.402Z',7,NULL,NULL);
INSERT INTO record_changes VALUES(1,9,'k1','{"n":3}',7,NULL,'2026-11-26T19:00:23.405Z',8,NULL,NULL);
INSERT INTO record_changes VALUES(1,10,'gone','{"id":"gone"}',13,NULL,'2026-11-26T19:00:23.407Z',NULL,NULL,NULL);
INSERT INTO record_changes VALUES(1,11,'gone',NULL,0,NULL,'2026-11-26T19:00:23.415Z',10,NULL,NULL);
INSERT INTO record_changes VALUES(2,1,'p','{"t":"é"}',10,NULL,'2026-11-26T19:00:23.422Z',NULL,NULL,NULL);
INSERT INTO record_changes VALUES(3,3,'d1','{"at":"2025-05-08"}',19,'2026-01-03T00:00:00.000Z','2026-11-26T19:00:23.431Z',NULL,'2026-01-02T00:00:00.000Z','c1c0f15d498e484626767cb680adb96ae025895e2ec893a03083494baa412a8a');
INSERT INTO record_changes VALUES(4,1,'["1.5","x"]','{"a":1.50,"b":"x"}',18,NULL,'2026-11-26T19:00:23.431Z',NULL,NULL,NULL);
INSERT INTO record_changes VALUES(4,2,'["2","y"]','{"a":2,"b":"y"}',15,'2026-01-02T03:04:05.000Z','2026-11-26T19:00:23.431Z',NULL,NULL,NULL);
INSERT INTO record_changes VALUES(4,3,'["2",null]','{"a":2}',7,NULL,'2026-11-26T19:00:23.431Z',NULL,NULL,NULL);
CREATE INDEX record_changes_later ON record_changes (stream_id, version, previous_version) WHERE previous_version IS NOT NULL;
CREATE INDEX "record_changes_stream_id_version_json_bytes" ON "record_changes" ("stream_id", "version", "json_bytes");

DROP TABLE IF EXISTS records;
CREATE TABLE "records" ("stream_id" INTEGER NOT NULL, "key" TEXT NOT NULL, "version" INTEGER NOT NULL, "data" TEXT NOT NULL, "json_bytes" INTEGER NOT NULL, "emitted_at" TEXT, "ingested_at" TEXT NOT NULL, "table_version" INTEGER, "record_time" TEXT, "has_rollup" INTEGER NOT NULL DEFAULT FALSE, PRIMARY KEY ("stream_id", "key"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE, CHECK (json_bytes = octet_length(data))) STRICT;
INSERT INTO records VALUES(1,'0000000',1,'{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T19:00:23.397Z',NULL,NULL,0);
INSERT INTO records VALUES(1,'0000001',2,'{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T19:00:23.397Z',NULL,NULL,0);
INSERT INTO records VALUES(1,'0000002',3,'{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T19:00:23.397Z',NULL,NULL,0);
INSERT INTO records VALUES(1,'0000003',4,'{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T19:00:23.397Z',NULL,NULL,0);
INSERT INTO records VALUES(1,'0000004',5,'{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T19:00:23.397Z',NULL,NULL,0);
INSERT INTO records VALUES(1,'0000005',6,'{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T19:00:23.397Z',NULL,NULL,0);
INSERT INTO records VALUES(1,'k1',9,'{"n":3}',7,NULL,'2026-11-26T19:00:23.405Z',NULL,NULL,1);
INSERT INTO records VALUES(2,'p',1,'{"t":"é"}',10,NULL,'2026-11-26T19:00:23.422Z',NULL,NULL,1);
INSERT INTO records VALUES(3,'d1',3,'{"at":"2025-05-08"}',19,'2026-01-03T00:00:00.000Z','2026-11-26T19:00:23.431Z',NULL,'2025-05-08T00:00:00.000Z',1);
INSERT INTO records VALUES(4,'["1.5","x"]',1,'{"a":1.50,"b":"x"}',18,NULL,'2026-11-26T19:00:23.431Z',1,NULL,0);
INSERT INTO records VALUES(4,'["2","y"]',2,'{"a":2,"b":"y"}',15,'2026-01-02T03:04:05.000Z','2026-11-26T19:00:23.431Z',2,NULL,0);
INSERT INTO records VALUES(4,'["2",null]',3,'{"a":2}',7,NULL,'2026-11-26T19:00:23.431Z',NULL,NULL,0);
CREATE INDEX records_by_json_bytes ON records (json_bytes, stream_id, key) WHERE NOT has_rollup;
CREATE INDEX records_record_time ON records (stream_id, record_time) WHERE record_time IS NOT NULL;
CREATE INDEX "records_stream_id_version_json_bytes" ON "records" ("stream_id", "version", "json_bytes");
CREATE INDEX records_with_rollup ON records (stream_id, version) WHERE has_rollup;

DROP TABLE IF EXISTS retained_size_connection;
CREATE TABLE "retained_size_connection" ("connection_id" INTEGER NOT NULL PRIMARY KEY, "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "dirty" INTEGER NOT NULL DEFAULT FALSE, "stale_since" TEXT, "computed_at" TEXT, "generation" INTEGER NOT NULL DEFAULT 0, "days_disordered" INTEGER NOT NULL DEFAULT FALSE, "earliest_ingested_at" TEXT, "latest_ingested_at" TEXT, "earliest_record_time" TEXT, "latest_record_time" TEXT, "stream_count" INTEGER NOT NULL DEFAULT 0 CHECK (stream_count >= 0), "record_times_unknown" INTEGER NOT NULL DEFAULT FALSE, connection_name TEXT NOT NULL DEFAULT '', FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO retained_size_connection VALUES(1,7,295,11,322,1,6,1,'2026-11-26T19:00:23.448Z','2026-11-26T19:00:23.420Z',7,0,'2026-11-26T19:00:23.397Z','2026-11-26T19:00:23.405Z',NULL,NULL,1,1,'laptop');
INSERT INTO retained_size_connection VALUES(2,1,10,1,10,1,7,0,NULL,'2026-11-26T19:00:23.428Z',2,0,'2026-11-26T19:00:23.422Z','2026-11-26T19:00:23.422Z',NULL,NULL,1,1,'phone');
INSERT INTO retained_size_connection VALUES(3,4,59,4,59,0,0,0,NULL,'2026-11-26T19:00:23.440Z',2,0,'2026-11-26T19:00:23.431Z','2026-11-26T19:00:23.431Z',NULL,NULL,2,1,'tap');
CREATE INDEX retained_size_connection_by_blob_bytes ON retained_size_connection (blob_bytes DESC, connection_name);
CREATE INDEX retained_size_connection_by_blob_count ON retained_size_connection (blob_count DESC, connection_name);
CREATE INDEX retained_size_connection_by_current_record_json_bytes ON retained_size_connection (current_record_json_bytes DESC, connection_name);
CREATE INDEX retained_size_connection_by_record_count ON retained_size_connection (record_count DESC, connection_name);
CREATE INDEX retained_size_connection_by_record_history_count ON retained_size_connection (record_history_count DESC, connection_name);
CREATE INDEX retained_size_connection_by_record_history_json_bytes ON retained_size_connection (record_history_json_bytes DESC, connection_name);
CREATE INDEX retained_size_connection_by_total_retained_bytes ON retained_size_connection ((current_record_json_bytes + record_history_json_bytes + blob_bytes) DESC, connection_name);
CREATE INDEX retained_size_connection_dirty ON retained_size_connection (connection_id) WHERE dirty;
CREATE INDEX "retained_size_connection_earliest_ingested_at" ON "retained_size_connection" ("earliest_ingested_at");
CREATE INDEX "retained_size_connection_earliest_record_time" ON "retained_size_connection" ("earliest_record_time");
CREATE INDEX "retained_size_connection_latest_ingested_at" ON "retained_size_connection" ("latest_ingested_at");
CREATE INDEX "retained_size_connection_latest_record_time" ON "retained_size_connection" ("latest_record_time");
CREATE INDEX retained_size_connection_silent ON retained_size_connection (latest_ingested_at, connection_id);
CREATE INDEX retained_size_connection_times_unknown ON retained_size_connection (connection_id) WHERE record_times_unknown;

DROP TABLE IF EXISTS retained_size_connection_days;
CREATE TABLE "retained_size_connection_days" ("record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "day" TEXT NOT NULL, "generation" INTEGER NOT NULL DEFAULT 0, "previous_generation" INTEGER NOT NULL DEFAULT 0, "unknown" INTEGER NOT NULL DEFAULT FALSE, "connection_id" INTEGER NOT NULL, PRIMARY KEY ("connection_id", "day"), FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO retained_size_connection_days VALUES(7,295,11,322,1,6,'2026-11-26',7,0,0,1);
INSERT INTO retained_size_connection_days VALUES(1,10,1,10,1,7,'2026-11-26',2,0,0,2);
INSERT INTO retained_size_connection_days VALUES(4,59,4,59,0,0,'2026-11-26',2,0,0,3);
CREATE INDEX retained_size_connection_days_by_day ON retained_size_connection_days (day, connection_id);

DROP TABLE IF EXISTS retained_size_connector;
CREATE TABLE "retained_size_connector" ("connector_id" TEXT NOT NULL PRIMARY KEY, "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0)) STRICT;
INSERT INTO retained_size_connector VALUES('camera',1);
INSERT INTO retained_size_connector VALUES('files',7);
INSERT INTO retained_size_connector VALUES('tap',4);
CREATE INDEX retained_size_connector_by_record_count ON retained_size_connector (record_count DESC, connector_id);

DROP TABLE IF EXISTS retained_size_global;
CREATE TABLE "retained_size_global" ("id" INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "dirty" INTEGER NOT NULL DEFAULT FALSE, "stale_since" TEXT, "computed_at" TEXT, "generation" INTEGER NOT NULL DEFAULT 0, "days_disordered" INTEGER NOT NULL DEFAULT FALSE, "earliest_ingested_at" TEXT, "latest_ingested_at" TEXT, "earliest_record_time" TEXT, "latest_record_time" TEXT, "stream_count" INTEGER NOT NULL DEFAULT 0 CHECK (stream_count >= 0), "connection_count" INTEGER NOT NULL DEFAULT 0 CHECK (connection_count >= 0), "rebuild_status" TEXT NOT NULL DEFAULT 'idle' CHECK (rebuild_status IN ('idle', 'running', 'failed')), "rebuild_total" INTEGER) STRICT;
INSERT INTO retained_size_global VALUES(1,12,364,16,391,2,13,1,'2026-11-26T19:00:23.448Z','2026-11-26T19:00:23.440Z',11,0,'2026-11-26T19:00:23.397Z','2026-11-26T19:00:23.431Z',NULL,NULL,4,3,'idle',NULL);

DROP TABLE IF EXISTS retained_size_global_days;
CREATE TABLE "retained_size_global_days" ("record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "day" TEXT NOT NULL, "generation" INTEGER NOT NULL DEFAULT 0, "previous_generation" INTEGER NOT NULL DEFAULT 0, "unknown" INTEGER NOT NULL DEFAULT FALSE, "id" INTEGER NOT NULL CHECK (id = 1), PRIMARY KEY ("id", "day")) STRICT;
INSERT INTO retained_size_global_days VALUES(12,364,16,391,2,13,'2026-11-26',11,0,0,1);

DROP TABLE IF EXISTS retained_size_record;
CREATE TABLE "retained_size_record" ("record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "stream_id" INTEGER NOT NULL, "key" TEXT NOT NULL, "version" INTEGER NOT NULL, "changed_at" TEXT NOT NULL, PRIMARY KEY ("stream_id", "key"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO retained_size_record VALUES(1,7,3,21,1,6,1,'k1',9,'2026-11-26T19:00:23.420Z');
INSERT INTO retained_size_record VALUES(0,0,2,13,0,0,1,'gone',11,'2026-11-26T19:00:23.415Z');
INSERT INTO retained_size_record VALUES(1,10,1,10,1,7,2,'p',1,'2026-11-26T19:00:23.428Z');
INSERT INTO retained_size_record VALUES(1,19,1,19,0,0,3,'d1',3,'2026-11-26T19:00:23.431Z');
CREATE INDEX retained_size_record_by_blob_bytes ON retained_size_record (blob_bytes, stream_id, key) WHERE blob_count <> 0;
CREATE INDEX retained_size_record_by_blob_count ON retained_size_record (blob_count, stream_id, key) WHERE blob_count <> 0;
CREATE INDEX retained_size_record_by_current_record_json_bytes ON retained_size_record (current_record_json_bytes, stream_id, key);
CREATE INDEX retained_size_record_by_record_history_count ON retained_size_record (record_history_count, stream_id, key);
CREATE INDEX retained_size_record_by_record_history_json_bytes ON retained_size_record (record_history_json_bytes, stream_id, key);
CREATE INDEX retained_size_record_by_total_retained_bytes ON retained_size_record ((current_record_json_bytes + record_history_json_bytes + blob_bytes), stream_id, key);
CREATE INDEX retained_size_record_deleted ON retained_size_record (stream_id, version) WHERE record_count = 0;

DROP TABLE IF EXISTS retained_size_record_counts;
CREATE TABLE "retained_size_record_counts" ("stream_id" INTEGER NOT NULL, "key" TEXT NOT NULL, "version" INTEGER NOT NULL, "versions" INTEGER NOT NULL, "json_bytes" INTEGER NOT NULL, PRIMARY KEY ("stream_id", "key"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE) STRICT;

DROP TABLE IF EXISTS retained_size_record_recounts;
CREATE TABLE "retained_size_record_recounts" ("stream_id" INTEGER NOT NULL PRIMARY KEY, "through_version" INTEGER NOT NULL, "after_key" TEXT NOT NULL, FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE) STRICT;

DROP TABLE IF EXISTS retained_size_recounts;
CREATE TABLE "retained_size_recounts" ("stream_id" INTEGER NOT NULL PRIMARY KEY, "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "through_version" INTEGER NOT NULL, FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE) STRICT;

DROP TABLE IF EXISTS retained_size_stream;
CREATE TABLE "retained_size_stream" ("stream_id" INTEGER NOT NULL PRIMARY KEY, "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "dirty" INTEGER NOT NULL DEFAULT FALSE, "stale_since" TEXT, "computed_at" TEXT, "generation" INTEGER NOT NULL DEFAULT 0, "days_disordered" INTEGER NOT NULL DEFAULT FALSE, "earliest_ingested_at" TEXT, "latest_ingested_at" TEXT, "earliest_record_time" TEXT, "latest_record_time" TEXT, "connection_id" INTEGER NOT NULL, "rollups_dirty" INTEGER NOT NULL DEFAULT FALSE, "record_times_unknown" INTEGER NOT NULL DEFAULT FALSE, connection_name TEXT NOT NULL DEFAULT '', stream_name TEXT NOT NULL DEFAULT '', FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE, FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO retained_size_stream VALUES(1,7,295,11,322,1,6,1,'2026-11-26T19:00:23.447Z','2026-11-26T19:00:23.420Z',7,0,'2026-11-26T19:00:23.397Z','2026-11-26T19:00:23.405Z',NULL,NULL,1,0,1,'laptop','notes');
INSERT INTO retained_size_stream VALUES(2,1,10,1,10,1,7,0,NULL,'2026-11-26T19:00:23.428Z',2,0,'2026-11-26T19:00:23.422Z','2026-11-26T19:00:23.422Z',NULL,NULL,2,0,1,'phone','photos');
INSERT INTO retained_size_stream VALUES(3,1,19,1,19,0,0,0,NULL,'2026-11-26T19:00:23.440Z',2,0,'2026-11-26T19:00:23.431Z','2026-11-26T19:00:23.431Z','2025-05-08T00:00:00.000Z','2025-05-08T00:00:00.000Z',3,0,0,'tap','dated');
INSERT INTO retained_size_stream VALUES(4,3,40,3,40,0,0,0,NULL,'2026-11-26T19:00:23.436Z',1,0,'2026-11-26T19:00:23.431Z','2026-11-26T19:00:23.431Z',NULL,NULL,3,0,1,'tap','pairs');
CREATE INDEX retained_size_stream_by_blob_bytes ON retained_size_stream (blob_bytes DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_blob_count ON retained_size_stream (blob_count DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_current_record_json_bytes ON retained_size_stream (current_record_json_bytes DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_record_count ON retained_size_stream (record_count DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_record_history_count ON retained_size_stream (record_history_count DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_record_history_json_bytes ON retained_size_stream (record_history_json_bytes DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_total_retained_bytes ON retained_size_stream ((current_record_json_bytes + record_history_json_bytes + blob_bytes) DESC, connection_name, SUBSTR(stream_name, 1, 150));
CREATE INDEX "retained_size_stream_connection_id_earliest_ingested_at" ON "retained_size_stream" ("connection_id", "earliest_ingested_at");
CREATE INDEX "retained_size_stream_connection_id_earliest_record_time" ON "retained_size_stream" ("connection_id", "earliest_record_time");
CREATE INDEX "retained_size_stream_connection_id_latest_ingested_at" ON "retained_size_stream" ("connection_id", "latest_ingested_at");
CREATE INDEX "retained_size_stream_connection_id_latest_record_time" ON "retained_size_stream" ("connection_id", "latest_record_time");
CREATE INDEX retained_size_stream_dirty ON retained_size_stream (connection_id, stream_id) WHERE dirty;
CREATE INDEX retained_size_stream_filled ON retained_size_stream (connection_name, SUBSTR(stream_name, 1, 150)) WHERE CASE WHEN dirty THEN TRUE ELSE record_history_count > 0 END;
CREATE INDEX retained_size_stream_times_unknown ON retained_size_stream (connection_id) WHERE record_times_unknown;

DROP TABLE IF EXISTS retained_size_stream_days;
CREATE TABLE "retained_size_stream_days" ("record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "day" TEXT NOT NULL, "generation" INTEGER NOT NULL DEFAULT 0, "previous_generation" INTEGER NOT NULL DEFAULT 0, "unknown" INTEGER NOT NULL DEFAULT FALSE, "stream_id" INTEGER NOT NULL, PRIMARY KEY ("stream_id", "day"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO retained_size_stream_days VALUES(7,295,11,322,1,6,'2026-11-26',7,0,0,1);
INSERT INTO retained_size_stream_days VALUES(1,10,1,10,1,7,'2026-11-26',2,0,0,2);
INSERT INTO retained_size_stream_days VALUES(1,19,1,19,0,0,'2026-11-26',2,0,0,3);
INSERT INTO retained_size_stream_days VALUES(3,40,3,40,0,0,'2026-11-26',1,0,0,4);
CREATE INDEX retained_size_stream_days_by_day ON retained_size_stream_days (day, stream_id);

DROP TABLE IF EXISTS retention_rules;
CREATE TABLE "retention_rules" ("stream_id" INTEGER NOT NULL PRIMARY KEY, "keep" INTEGER NOT NULL CHECK (keep >= 1), "set_at" TEXT NOT NULL, "through_version" INTEGER NOT NULL DEFAULT 0, "applied_at" TEXT, "versions" INTEGER NOT NULL DEFAULT 0, "json_bytes" INTEGER NOT NULL DEFAULT 0, "files" INTEGER NOT NULL DEFAULT 0, "file_bytes" INTEGER NOT NULL DEFAULT 0, FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE) STRICT;

DROP TABLE IF EXISTS streams;
CREATE TABLE "streams" ("id" INTEGER NOT NULL PRIMARY KEY, "connection_id" INTEGER, "name" TEXT NOT NULL, "last_version" INTEGER NOT NULL, "last_ingested_at" TEXT, "created_at" TEXT NOT NULL, "record_time_field" TEXT, "record_time_field_since" INTEGER NOT NULL DEFAULT 0, "undated_records" INTEGER NOT NULL DEFAULT 0, "key_schema" TEXT, "respelled_keys" INTEGER NOT NULL DEFAULT FALSE, "last_contact_at" TEXT, "rejected_table_version" INTEGER, "rejected_unversioned" INTEGER NOT NULL DEFAULT FALSE, "rejections_seen" INTEGER NOT NULL DEFAULT 0, incarnation TEXT NOT NULL DEFAULT '', removed_through INTEGER NOT NULL DEFAULT 0, FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO streams VALUES(1,1,'notes',11,'2026-11-26T19:00:23.415Z','2026-11-26T19:00:23.396Z',NULL,0,0,NULL,0,'2026-11-26T19:00:23.415Z',NULL,0,0,'2579896a4dcbf071',0);
INSERT INTO streams VALUES(2,2,'photos',1,'2026-11-26T19:00:23.422Z','2026-11-26T19:00:23.422Z',NULL,0,0,NULL,0,'2026-11-26T19:00:23.422Z',NULL,0,0,'a1dd72dded42ac6c',0);
INSERT INTO streams VALUES(3,3,'dated',3,'2026-11-26T19:00:23.431Z','2026-11-26T19:00:23.430Z','at',0,0,NULL,0,'2026-11-26T19:00:23.431Z',NULL,0,0,'e45eef99bad9d9b7',0);
INSERT INTO streams VALUES(4,3,'pairs',3,'2026-11-26T19:00:23.431Z','2026-11-26T19:00:23.430Z',NULL,0,0,'[["a", "number"], ["b", "string"]]',0,'2026-11-26T19:00:23.431Z',NULL,0,0,'b9be0ebeb46a5920',0);
CREATE UNIQUE INDEX "streams_connection_id_name" ON "streams" ("connection_id", "name");

DROP TABLE IF EXISTS tokens;
CREATE TABLE "tokens" ("name" TEXT NOT NULL PRIMARY KEY, "digest" TEXT NOT NULL, "scopes" TEXT NOT NULL, "connection" TEXT, "created_at" TEXT NOT NULL, "expires_at" TEXT, "last_used_at" TEXT, "revoked_at" TEXT) STRICT;
CREATE UNIQUE INDEX "tokens_digest" ON "tokens" ("digest");

DROP TABLE IF EXISTS unclaimed_files;
CREATE TABLE "unclaimed_files" ("id" INTEGER NOT NULL PRIMARY KEY, "connection_id" INTEGER, "stream_name" TEXT NOT NULL, "key" TEXT NOT NULL, "sha256" TEXT NOT NULL, "byte_length" INTEGER NOT NULL CHECK (byte_length >= 0), "mime_type" TEXT, "json_path" TEXT, "uploaded_at" TEXT NOT NULL, "marked" TEXT, FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE, FOREIGN KEY ("sha256") REFERENCES "blobs" ("sha256") ON DELETE RESTRICT) STRICT;
CREATE UNIQUE INDEX "unclaimed_files_connection_id_stream_name_key_sha256" ON "unclaimed_files" ("connection_id", "stream_name", "key", "sha256");
CREATE INDEX "unclaimed_files_sha256" ON "unclaimed_files" ("sha256");

COMMIT TRANSACTION;

PRAGMA foreign_keys=ON;

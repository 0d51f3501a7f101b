
PRAGMA page_size=4096;

PRAGMA foreign_keys=OFF;

BEGIN TRANSACTION;

DROP TABLE IF EXISTS blob_bindings;
CREATE TABLE "blob_bindings" ("stream_id" INTEGER NOT NULL, "key" TEXT NOT NULL, "sha256" TEXT NOT NULL, "version" INTEGER NOT NULL, "byte_length" INTEGER NOT NULL CHECK (byte_length >= 0), "bound_at" TEXT NOT NULL DEFAULT '', PRIMARY KEY ("stream_id", "key", "sha256"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE, FOREIGN KEY ("sha256") REFERENCES "blobs" ("sha256") ON DELETE RESTRICT) STRICT;
INSERT INTO blob_bindings VALUES(1,'k1','7365d029861e32c521f8089b00a6fb32daf0615025b69b599d1ce53501b845c2',12,6,'2026-11-26T11:18:53.773Z');
INSERT INTO blob_bindings VALUES(2,'p','ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5',1,7,'2026-11-26T11:18:53.778Z');
CREATE INDEX "blob_bindings_byte_length_stream_id_key_sha256" ON "blob_bindings" ("byte_length", "stream_id", "key", "sha256");
CREATE INDEX "blob_bindings_sha256" ON "blob_bindings" ("sha256");
CREATE INDEX "blob_bindings_stream_id_version_byte_length" ON "blob_bindings" ("stream_id", "version", "byte_length");

DROP TABLE IF EXISTS blob_chunks;
CREATE TABLE "blob_chunks" ("sha256" TEXT NOT NULL, "number" INTEGER NOT NULL, "data" BLOB NOT NULL, PRIMARY KEY ("sha256", "number"), FOREIGN KEY ("sha256") REFERENCES "blobs" ("sha256") ON DELETE CASCADE) STRICT;
INSERT INTO blob_chunks VALUES('7365d029861e32c521f8089b00a6fb32daf0615025b69b599d1ce53501b845c2',0,X'612066696C65');
INSERT INTO blob_chunks VALUES('ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5',0,X'616E6F74686572');

DROP TABLE IF EXISTS blobs;
CREATE TABLE "blobs" ("sha256" TEXT NOT NULL PRIMARY KEY, "byte_length" INTEGER NOT NULL CHECK (byte_length >= 0), "created_at" TEXT NOT NULL) STRICT;
INSERT INTO blobs VALUES('7365d029861e32c521f8089b00a6fb32daf0615025b69b599d1ce53501b845c2',6,'2026-11-26T11:18:53.773Z');
INSERT INTO blobs VALUES('ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5',7,'2026-11-26T11:18:53.778Z');

DROP TABLE IF EXISTS connections;
CREATE TABLE "connections" ("id" INTEGER NOT NULL PRIMARY KEY, "connector_instance_id" TEXT NOT NULL, "connector_id" TEXT NOT NULL, "created_at" TEXT NOT NULL) STRICT;
INSERT INTO connections VALUES(1,'laptop','files','2026-11-26T11:18:53.740Z');
INSERT INTO connections VALUES(2,'phone','camera','2026-11-26T11:18:53.763Z');
INSERT INTO connections VALUES(3,'tap','tap','2026-11-26T11:18:53.796Z');
CREATE INDEX "connections_connector_id" ON "connections" ("connector_id");
CREATE UNIQUE INDEX "connections_connector_instance_id" ON "connections" ("connector_instance_id");

DROP TABLE IF EXISTS pdpp_ref_copying;
CREATE TABLE "pdpp_ref_copying" ("id" INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), "state" TEXT NOT NULL) STRICT;

DROP TABLE IF EXISTS pdpp_ref_schema;
CREATE TABLE "pdpp_ref_schema" ("version" INTEGER NOT NULL PRIMARY KEY) STRICT;
INSERT INTO pdpp_ref_schema VALUES(2);

DROP TABLE IF EXISTS record_changes;
CREATE TABLE "record_changes" ("stream_id" INTEGER NOT NULL, "version" INTEGER NOT NULL, "key" TEXT NOT NULL, "data" TEXT, "json_bytes" INTEGER NOT NULL, "emitted_at" TEXT, "ingested_at" TEXT NOT NULL, "previous_version" INTEGER, PRIMARY KEY ("stream_id", "version"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE, CHECK (json_bytes = COALESCE(octet_length(data), 0))) STRICT;
INSERT INTO record_changes VALUES(1,1,'0000000','{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T11:18:53.742Z',NULL);
INSERT INTO record_changes VALUES(1,2,'0000001','{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T11:18:53.742Z',NULL);
INSERT INTO record_changes VALUES(1,3,'0000002','{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T11:18:53.742Z',NULL);
INSERT INTO record_changes VALUES(1,4,'0000003','{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T11:18:53.742Z',NULL);
INSERT INTO record_changes VALUES(1,5,'0000004','{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T11:18:53.742Z',NULL);
INSERT INTO record_changes VALUES(1,6,'0000005','{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T11:18:53.742Z',NULL);
INSERT INTO record_changes VALUES(1,8,'k1','{"n":11}',8,NULL,'2026-11-26T11:18:53.751Z',NULL);
INSERT INTO record_changes VALUES(1,9,'gone','{"id":"gone"}',13,NULL,'2026-11-26T11:18:53.751Z',NULL);
INSERT INTO record_changes VALUES(1,10,'gone',NULL,0,NULL,'2026-11-26T11:18:53.751Z',9);
INSERT INTO record_changes VALUES(1,11,'k1','{"n":12}',8,NULL,'2026-11-26T11:18:53.753Z',8);
INSERT INTO record_changes VALUES(1,12,'k1','{"n":13}',8,NULL,'2026-11-26T11:18:53.753Z',11);
INSERT INTO record_changes VALUES(2,1,'p','{"t":"é"}',10,NULL,'2026-11-26T11:18:53.765Z',NULL);
INSERT INTO record_changes VALUES(3,1,'["1.50","x"]','{"a":1.50,"b":"x"}',18,NULL,'2026-11-26T11:18:53.798Z',NULL);
INSERT INTO record_changes VALUES(3,2,'["2","y"]','{"a":2,"b":"y"}',15,NULL,'2026-11-26T11:18:53.798Z',NULL);
INSERT INTO record_changes VALUES(4,1,'1.0','{"id":1.0,"t":"one"}',20,NULL,'2026-11-26T11:18:53.798Z',NULL);
INSERT INTO record_changes VALUES(4,2,'2','{"id":2,"t":"two"}',18,NULL,'2026-11-26T11:18:53.798Z',NULL);
INSERT INTO record_changes VALUES(4,3,'1e1','{"id":1e1,"t":"ten"}',20,NULL,'2026-11-26T11:18:53.798Z',NULL);
CREATE INDEX "record_changes_stream_id_version_json_bytes" ON "record_changes" ("stream_id", "version", "json_bytes");

DROP TABLE IF EXISTS records;
CREATE TABLE "records" ("stream_id" INTEGER NOT NULL, "key" TEXT NOT NULL, "version" INTEGER NOT NULL, "data" TEXT NOT NULL, "json_bytes" INTEGER NOT NULL, "emitted_at" TEXT, "ingested_at" TEXT NOT NULL, "source_version" INTEGER, "record_time" TEXT, "touched" INTEGER NOT NULL DEFAULT FALSE, PRIMARY KEY ("stream_id", "key"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE, CHECK (json_bytes = octet_length(data))) STRICT;
INSERT INTO records VALUES(1,'0000000',1,'{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T11:18:53.742Z',NULL,NULL,0);
INSERT INTO records VALUES(1,'0000001',2,'{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T11:18:53.742Z',NULL,NULL,0);
INSERT INTO records VALUES(1,'0000002',3,'{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T11:18:53.742Z',NULL,NULL,0);
INSERT INTO records VALUES(1,'0000003',4,'{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T11:18:53.742Z',NULL,NULL,0);
INSERT INTO records VALUES(1,'0000004',5,'{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T11:18:53.742Z',NULL,NULL,0);
INSERT INTO records VALUES(1,'0000005',6,'{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}',48,NULL,'2026-11-26T11:18:53.742Z',NULL,NULL,0);
INSERT INTO records VALUES(1,'k1',12,'{"n":13}',8,NULL,'2026-11-26T11:18:53.753Z',NULL,NULL,1);
INSERT INTO records VALUES(2,'p',1,'{"t":"é"}',10,NULL,'2026-11-26T11:18:53.765Z',NULL,NULL,1);
INSERT INTO records VALUES(3,'["1.50","x"]',1,'{"a":1.50,"b":"x"}',18,NULL,'2026-11-26T11:18:53.798Z',NULL,NULL,0);
INSERT INTO records VALUES(3,'["2","y"]',2,'{"a":2,"b":"y"}',15,NULL,'2026-11-26T11:18:53.798Z',NULL,NULL,0);
INSERT INTO records VALUES(4,'1.0',1,'{"id":1.0,"t":"one"}',20,NULL,'2026-11-26T11:18:53.798Z',1,NULL,0);
INSERT INTO records VALUES(4,'2',2,'{"id":2,"t":"two"}',18,NULL,'2026-11-26T11:18:53.798Z',1,NULL,0);
INSERT INTO records VALUES(4,'1e1',3,'{"id":1e1,"t":"ten"}',20,NULL,'2026-11-26T11:18:53.798Z',2,NULL,0);
CREATE INDEX records_by_json_bytes ON records (json_bytes, stream_id, key) WHERE NOT touched;
CREATE INDEX records_record_time ON records (stream_id, record_time) WHERE record_time IS NOT NULL;
CREATE INDEX "records_stream_id_version_json_bytes" ON "records" ("stream_id", "version", "json_bytes");

DROP TABLE IF EXISTS retained_size_connection;
CREATE TABLE "retained_size_connection" ("connection_id" INTEGER NOT NULL PRIMARY KEY, "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "dirty" INTEGER NOT NULL DEFAULT FALSE, "stale_since" TEXT, "computed_at" TEXT, "earliest_ingested_at" TEXT, "latest_ingested_at" TEXT, "earliest_record_time" TEXT, "latest_record_time" TEXT, "stream_count" INTEGER NOT NULL DEFAULT 0 CHECK (stream_count >= 0), FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO retained_size_connection VALUES(1,7,296,11,325,1,6,0,NULL,'2026-11-26T11:18:53.789Z','2026-11-26T11:18:53.742Z','2026-11-26T11:18:53.753Z',NULL,NULL,1);
INSERT INTO retained_size_connection VALUES(2,1,10,1,10,1,7,1,'2026-11-26T11:18:53.809Z','2026-11-26T11:18:53.783Z','2026-11-26T11:18:53.765Z','2026-11-26T11:18:53.765Z',NULL,NULL,1);
INSERT INTO retained_size_connection VALUES(3,5,91,5,91,0,0,0,NULL,'2026-11-26T11:18:53.803Z','2026-11-26T11:18:53.798Z','2026-11-26T11:18:53.798Z',NULL,NULL,2);
CREATE INDEX retained_size_connection_by_blob_bytes ON retained_size_connection (blob_bytes);
CREATE INDEX retained_size_connection_by_blob_count ON retained_size_connection (blob_count);
CREATE INDEX retained_size_connection_by_current_record_json_bytes ON retained_size_connection (current_record_json_bytes);
CREATE INDEX retained_size_connection_by_record_count ON retained_size_connection (record_count);
CREATE INDEX retained_size_connection_by_record_history_count ON retained_size_connection (record_history_count);
CREATE INDEX retained_size_connection_by_record_history_json_bytes ON retained_size_connection (record_history_json_bytes);
CREATE INDEX retained_size_connection_by_total_retained_bytes ON retained_size_connection ((current_record_json_bytes + record_history_json_bytes + blob_bytes));
CREATE INDEX retained_size_connection_dirty ON retained_size_connection (connection_id) WHERE dirty;
CREATE INDEX "retained_size_connection_earliest_ingested_at" ON "retained_size_connection" ("earliest_ingested_at");
CREATE INDEX "retained_size_connection_earliest_record_time" ON "retained_size_connection" ("earliest_record_time");
CREATE INDEX "retained_size_connection_latest_ingested_at" ON "retained_size_connection" ("latest_ingested_at");
CREATE INDEX "retained_size_connection_latest_record_time" ON "retained_size_connection" ("latest_record_time");

DROP TABLE IF EXISTS retained_size_connection_days;
CREATE TABLE "retained_size_connection_days" ("record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "connection_id" INTEGER NOT NULL, "day" TEXT NOT NULL, PRIMARY KEY ("connection_id", "day"), FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO retained_size_connection_days VALUES(7,296,11,325,1,6,1,'2026-11-26');
INSERT INTO retained_size_connection_days VALUES(1,10,1,10,1,7,2,'2026-11-26');
INSERT INTO retained_size_connection_days VALUES(5,91,5,91,0,0,3,'2026-11-26');

DROP TABLE IF EXISTS retained_size_global;
CREATE TABLE "retained_size_global" ("id" INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "dirty" INTEGER NOT NULL DEFAULT FALSE, "stale_since" TEXT, "computed_at" TEXT, "earliest_ingested_at" TEXT, "latest_ingested_at" TEXT, "earliest_record_time" TEXT, "latest_record_time" TEXT, "stream_count" INTEGER NOT NULL DEFAULT 0 CHECK (stream_count >= 0), "connection_count" INTEGER NOT NULL DEFAULT 0 CHECK (connection_count >= 0), "rebuild_status" TEXT NOT NULL DEFAULT 'idle' CHECK (rebuild_status IN ('idle', 'running', 'failed')), "rebuild_total" INTEGER) STRICT;
INSERT INTO retained_size_global VALUES(1,13,397,17,426,2,13,1,'2026-11-26T11:18:53.810Z','2026-11-26T11:18:53.803Z','2026-11-26T11:18:53.742Z','2026-11-26T11:18:53.798Z',NULL,NULL,4,3,'idle',NULL);

DROP TABLE IF EXISTS retained_size_global_days;
CREATE TABLE "retained_size_global_days" ("record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "id" INTEGER NOT NULL CHECK (id = 1), "day" TEXT NOT NULL, PRIMARY KEY ("id", "day")) STRICT;
INSERT INTO retained_size_global_days VALUES(13,397,17,426,2,13,1,'2026-11-26');

DROP TABLE IF EXISTS retained_size_record;
CREATE TABLE "retained_size_record" ("record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "stream_id" INTEGER NOT NULL, "key" TEXT NOT NULL, "version" INTEGER NOT NULL, "changed_at" TEXT NOT NULL, PRIMARY KEY ("stream_id", "key"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO retained_size_record VALUES(1,8,3,24,1,6,1,'k1',12,'2026-11-26T11:18:53.753Z');
INSERT INTO retained_size_record VALUES(0,0,2,13,0,0,1,'gone',10,'2026-11-26T11:18:53.751Z');
INSERT INTO retained_size_record VALUES(1,10,1,10,1,7,2,'p',1,'2026-11-26T11:18:53.778Z');
CREATE INDEX retained_size_record_by_blob_bytes ON retained_size_record (blob_bytes, stream_id, key) WHERE blob_count <> 0;
CREATE INDEX retained_size_record_by_blob_count ON retained_size_record (blob_count, stream_id, key) WHERE blob_count <> 0;
CREATE INDEX retained_size_record_by_current_record_json_bytes ON retained_size_record (current_record_json_bytes, stream_id, key);
CREATE INDEX retained_size_record_by_record_history_count ON retained_size_record (record_history_count, stream_id, key);
CREATE INDEX retained_size_record_by_record_history_json_bytes ON retained_size_record (record_history_json_bytes, stream_id, key);
CREATE INDEX retained_size_record_by_total_retained_bytes ON retained_size_record ((current_record_json_bytes + record_history_json_bytes + blob_bytes), stream_id, key);

DROP TABLE IF EXISTS retained_size_recounts;
CREATE TABLE "retained_size_recounts" ("stream_id" INTEGER NOT NULL PRIMARY KEY, "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "through_version" INTEGER NOT NULL, FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE) STRICT;

DROP TABLE IF EXISTS retained_size_stream;
CREATE TABLE "retained_size_stream" ("stream_id" INTEGER NOT NULL PRIMARY KEY, "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "dirty" INTEGER NOT NULL DEFAULT FALSE, "stale_since" TEXT, "computed_at" TEXT, "earliest_ingested_at" TEXT, "latest_ingested_at" TEXT, "earliest_record_time" TEXT, "latest_record_time" TEXT, "connection_id" INTEGER NOT NULL, FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE, FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO retained_size_stream VALUES(1,7,296,11,325,1,6,0,NULL,'2026-11-26T11:18:53.788Z','2026-11-26T11:18:53.742Z','2026-11-26T11:18:53.753Z',NULL,NULL,1);
INSERT INTO retained_size_stream VALUES(2,1,10,1,10,1,7,1,'2026-11-26T11:18:53.808Z','2026-11-26T11:18:53.783Z','2026-11-26T11:18:53.765Z','2026-11-26T11:18:53.765Z',NULL,NULL,2);
INSERT INTO retained_size_stream VALUES(3,2,33,2,33,0,0,0,NULL,'2026-11-26T11:18:53.799Z','2026-11-26T11:18:53.798Z','2026-11-26T11:18:53.798Z',NULL,NULL,3);
INSERT INTO retained_size_stream VALUES(4,3,58,3,58,0,0,0,NULL,'2026-11-26T11:18:53.803Z','2026-11-26T11:18:53.798Z','2026-11-26T11:18:53.798Z',NULL,NULL,3);
CREATE INDEX retained_size_stream_by_blob_bytes ON retained_size_stream (blob_bytes);
CREATE INDEX retained_size_stream_by_blob_count ON retained_size_stream (blob_count);
CREATE INDEX retained_size_stream_by_current_record_json_bytes ON retained_size_stream (current_record_json_bytes);
CREATE INDEX retained_size_stream_by_record_count ON retained_size_stream (record_count);
CREATE INDEX retained_size_stream_by_record_history_count ON retained_size_stream (record_history_count);
CREATE INDEX retained_size_stream_by_record_history_json_bytes ON retained_size_stream (record_history_json_bytes);
CREATE INDEX retained_size_stream_by_total_retained_bytes ON retained_size_stream ((current_record_json_bytes + record_history_json_bytes + blob_bytes));
CREATE INDEX "retained_size_stream_connection_id_earliest_ingested_at" ON "retained_size_stream" ("connection_id", "earliest_ingested_at");
CREATE INDEX "retained_size_stream_connection_id_earliest_record_time" ON "retained_size_stream" ("connection_id", "earliest_record_time");
CREATE INDEX "retained_size_stream_connection_id_latest_ingested_at" ON "retained_size_stream" ("connection_id", "latest_ingested_at");
CREATE INDEX "retained_size_stream_connection_id_latest_record_time" ON "retained_size_stream" ("connection_id", "latest_record_time");
CREATE INDEX retained_size_stream_dirty ON retained_size_stream (connection_id, stream_id) WHERE dirty;

DROP TABLE IF EXISTS streams;
CREATE TABLE "streams" ("id" INTEGER NOT NULL PRIMARY KEY, "connection_id" INTEGER NOT NULL, "name" TEXT NOT NULL, "last_version" INTEGER NOT NULL, "last_ingested_at" TEXT, "created_at" TEXT NOT NULL, "record_time_field" TEXT, "record_time_field_since" INTEGER NOT NULL DEFAULT 0, FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO streams VALUES(1,1,'notes',12,'2026-11-26T11:18:53.753Z','2026-11-26T11:18:53.741Z',NULL,0);
INSERT INTO streams VALUES(2,2,'photos',1,'2026-11-26T11:18:53.765Z','2026-11-26T11:18:53.764Z',NULL,0);
INSERT INTO streams VALUES(3,3,'pairs',2,'2026-11-26T11:18:53.798Z','2026-11-26T11:18:53.797Z',NULL,0);
INSERT INTO streams VALUES(4,3,'rows',3,'2026-11-26T11:18:53.798Z','2026-11-26T11:18:53.797Z',NULL,0);
CREATE UNIQUE INDEX "streams_connection_id_name" ON "streams" ("connection_id", "name");

COMMIT TRANSACTION;

PRAGMA foreign_keys=ON;

PRAGMA page_size=4096;

PRAGMA foreign_keys=OFF;

BEGIN TRANSACTION;

DROP TABLE IF EXISTS blob_bindings;
CREATE TABLE "blob_bindings" ("stream_id" INTEGER NOT NULL, "key" TEXT NOT NULL, "sha256" TEXT NOT NULL, "version" INTEGER NOT NULL, "byte_length" INTEGER NOT NULL CHECK (byte_length >= 0), PRIMARY KEY ("stream_id", "key", "sha256"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE, FOREIGN KEY ("sha256") REFERENCES "blobs" ("sha256") ON DELETE RESTRICT) STRICT;
CREATE INDEX "blob_bindings_sha256" ON "blob_bindings" ("sha256");
CREATE INDEX "blob_bindings_stream_id_version_byte_length" ON "blob_bindings" ("stream_id", "version", "byte_length");

DROP TABLE IF EXISTS blobs;
CREATE TABLE "blobs" ("sha256" TEXT NOT NULL PRIMARY KEY, "byte_length" INTEGER NOT NULL CHECK (byte_length >= 0), "created_at" TEXT NOT NULL) STRICT;

DROP TABLE IF EXISTS connections;
CREATE TABLE "connections" ("id" INTEGER NOT NULL PRIMARY KEY, "connector_instance_id" TEXT NOT NULL, "connector_id" TEXT NOT NULL, "created_at" TEXT NOT NULL) STRICT;
INSERT INTO connections VALUES(1,'laptop','files','2026-11-25T18:00:25.963Z');
INSERT INTO connections VALUES(2,'phone','camera','2026-11-25T18:00:25.970Z');
CREATE INDEX "connections_connector_id" ON "connections" ("connector_id");
CREATE UNIQUE INDEX "connections_connector_instance_id" ON "connections" ("connector_instance_id");

DROP TABLE IF EXISTS pdpp_ref_schema;
CREATE TABLE "pdpp_ref_schema" ("version" INTEGER NOT NULL PRIMARY KEY) STRICT;
INSERT INTO pdpp_ref_schema VALUES(1);

DROP TABLE IF EXISTS record_changes;
CREATE TABLE "record_changes" ("stream_id" INTEGER NOT NULL, "version" INTEGER NOT NULL, "key" TEXT NOT NULL, "data" TEXT, "json_bytes" INTEGER NOT NULL, "emitted_at" TEXT, "ingested_at" TEXT NOT NULL, PRIMARY KEY ("stream_id", "version"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE, CHECK (json_bytes = COALESCE(length(CAST(data AS BLOB)), 0))) STRICT;
INSERT INTO record_changes VALUES(1,1,'k0','{"n":0,"t":""}',14,NULL,'2026-11-25T18:00:25.964Z');
INSERT INTO record_changes VALUES(1,2,'k1','{"n":1,"t":"é"}',16,NULL,'2026-11-25T18:00:25.965Z');
INSERT INTO record_changes VALUES(1,3,'k2','{"n":2,"t":"éé"}',18,NULL,'2026-11-25T18:00:25.966Z');
INSERT INTO record_changes VALUES(1,4,'k3','{"n":3,"t":"ééé"}',20,NULL,'2026-11-25T18:00:25.967Z');
INSERT INTO record_changes VALUES(1,5,'k4','{"n":4,"t":"éééé"}',22,NULL,'2026-11-25T18:00:25.968Z');
INSERT INTO record_changes VALUES(1,6,'k5','{"n":5,"t":"ééééé"}',24,NULL,'2026-11-25T18:00:25.968Z');
INSERT INTO record_changes VALUES(1,7,'k1','{"n":10}',8,NULL,'2026-11-25T18:00:25.969Z');
INSERT INTO record_changes VALUES(1,8,'k1','{"n":11}',8,NULL,'2026-11-25T18:00:25.969Z');
INSERT INTO record_changes VALUES(1,9,'k2',NULL,0,NULL,'2026-11-25T18:00:25.969Z');
INSERT INTO record_changes VALUES(1,10,'k3',NULL,0,NULL,'2026-11-25T18:00:25.969Z');
INSERT INTO record_changes VALUES(1,11,'k3','{"again":true}',14,NULL,'2026-11-25T18:00:25.969Z');
INSERT INTO record_changes VALUES(2,1,'p','{"source_created_at":"2020-01-01T00:00:00Z"}',44,NULL,'2026-11-25T18:00:25.971Z');
INSERT INTO record_changes VALUES(2,2,'q','{"w":1}',7,NULL,'2026-11-25T18:00:25.971Z');
CREATE INDEX "record_changes_stream_id_version_json_bytes" ON "record_changes" ("stream_id", "version", "json_bytes");

DROP TABLE IF EXISTS records;
CREATE TABLE "records" ("stream_id" INTEGER NOT NULL, "key" TEXT NOT NULL, "version" INTEGER NOT NULL, "data" TEXT NOT NULL, "json_bytes" INTEGER NOT NULL, "emitted_at" TEXT, "ingested_at" TEXT NOT NULL, "source_version" INTEGER, PRIMARY KEY ("stream_id", "key"), FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE, CHECK (json_bytes = length(CAST(data AS BLOB)))) STRICT;
INSERT INTO records VALUES(1,'k0',1,'{"n":0,"t":""}',14,NULL,'2026-11-25T18:00:25.964Z',NULL);
INSERT INTO records VALUES(1,'k1',8,'{"n":11}',8,NULL,'2026-11-25T18:00:25.969Z',NULL);
INSERT INTO records VALUES(1,'k3',11,'{"again":true}',14,NULL,'2026-11-25T18:00:25.969Z',NULL);
INSERT INTO records VALUES(1,'k4',5,'{"n":4,"t":"éééé"}',22,NULL,'2026-11-25T18:00:25.968Z',NULL);
INSERT INTO records VALUES(1,'k5',6,'{"n":5,"t":"ééééé"}',24,NULL,'2026-11-25T18:00:25.968Z',NULL);
INSERT INTO records VALUES(2,'p',1,'{"source_created_at":"2020-01-01T00:00:00Z"}',44,NULL,'2026-11-25T18:00:25.971Z',NULL);
INSERT INTO records VALUES(2,'q',2,'{"w":1}',7,NULL,'2026-11-25T18:00:25.971Z',NULL);
CREATE INDEX "records_stream_id_version_json_bytes" ON "records" ("stream_id", "version", "json_bytes");

DROP TABLE IF EXISTS retained_size_connection;
CREATE TABLE "retained_size_connection" ("connection_id" INTEGER NOT NULL PRIMARY KEY, "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "earliest_ingested_at" TEXT, "latest_ingested_at" TEXT, "dirty" INTEGER NOT NULL DEFAULT FALSE, "stale_since" TEXT, "computed_at" TEXT, "stream_count" INTEGER NOT NULL DEFAULT 0 CHECK (stream_count >= 0), FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO retained_size_connection VALUES(1,5,82,11,144,0,0,'2026-11-25T18:00:25.964Z','2026-11-25T18:00:25.969Z',0,NULL,'2026-11-25T18:00:25.969Z',1);
INSERT INTO retained_size_connection VALUES(2,2,51,2,51,0,0,'2026-11-25T18:00:25.971Z','2026-11-25T18:00:25.971Z',1,'2026-11-25T18:00:25.972Z','2026-11-25T18:00:25.971Z',1);
CREATE INDEX retained_size_connection_dirty ON retained_size_connection (connection_id) WHERE dirty;
CREATE INDEX "retained_size_connection_earliest_ingested_at" ON "retained_size_connection" ("earliest_ingested_at");
CREATE INDEX "retained_size_connection_latest_ingested_at" ON "retained_size_connection" ("latest_ingested_at");

DROP TABLE IF EXISTS retained_size_global;
CREATE TABLE "retained_size_global" ("id" INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "earliest_ingested_at" TEXT, "latest_ingested_at" TEXT, "dirty" INTEGER NOT NULL DEFAULT FALSE, "stale_since" TEXT, "computed_at" TEXT, "stream_count" INTEGER NOT NULL DEFAULT 0 CHECK (stream_count >= 0), "connection_count" INTEGER NOT NULL DEFAULT 0 CHECK (connection_count >= 0), "rebuild_status" TEXT NOT NULL DEFAULT 'idle' CHECK (rebuild_status IN ('idle', 'running', 'failed')), "rebuild_total" INTEGER) STRICT;
INSERT INTO retained_size_global VALUES(1,7,133,13,195,0,0,'2026-11-25T18:00:25.964Z','2026-11-25T18:00:25.971Z',1,'2026-11-25T18:00:25.972Z','2026-11-25T18:00:25.971Z',2,2,'idle',NULL);

DROP TABLE IF EXISTS retained_size_recounts;
CREATE TABLE "retained_size_recounts" ("stream_id" INTEGER NOT NULL PRIMARY KEY, "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "through_version" INTEGER NOT NULL, FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE) STRICT;

DROP TABLE IF EXISTS retained_size_stream;
CREATE TABLE "retained_size_stream" ("stream_id" INTEGER NOT NULL PRIMARY KEY, "record_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_count >= 0), "current_record_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (current_record_json_bytes >= 0), "record_history_count" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_count >= 0), "record_history_json_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (record_history_json_bytes >= 0), "blob_count" INTEGER NOT NULL DEFAULT 0 CHECK (blob_count >= 0), "blob_bytes" INTEGER NOT NULL DEFAULT 0 CHECK (blob_bytes >= 0), "earliest_ingested_at" TEXT, "latest_ingested_at" TEXT, "dirty" INTEGER NOT NULL DEFAULT FALSE, "stale_since" TEXT, "computed_at" TEXT, "connection_id" INTEGER NOT NULL, FOREIGN KEY ("stream_id") REFERENCES "streams" ("id") ON DELETE CASCADE, FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO retained_size_stream VALUES(1,5,82,11,144,0,0,'2026-11-25T18:00:25.964Z','2026-11-25T18:00:25.969Z',0,NULL,'2026-11-25T18:00:25.969Z',1);
INSERT INTO retained_size_stream VALUES(2,2,51,2,51,0,0,'2026-11-25T18:00:25.971Z','2026-11-25T18:00:25.971Z',1,'2026-11-25T18:00:25.972Z','2026-11-25T18:00:25.971Z',2);
CREATE INDEX "retained_size_stream_connection_id_earliest_ingested_at" ON "retained_size_stream" ("connection_id", "earliest_ingested_at");
CREATE INDEX "retained_size_stream_connection_id_latest_ingested_at" ON "retained_size_stream" ("connection_id", "latest_ingested_at");
CREATE INDEX retained_size_stream_dirty ON retained_size_stream (connection_id, stream_id) WHERE dirty;

DROP TABLE IF EXISTS streams;
CREATE TABLE "streams" ("id" INTEGER NOT NULL PRIMARY KEY, "connection_id" INTEGER NOT NULL, "name" TEXT NOT NULL, "last_version" INTEGER NOT NULL, "last_ingested_at" TEXT, "created_at" TEXT NOT NULL, FOREIGN KEY ("connection_id") REFERENCES "connections" ("id") ON DELETE CASCADE) STRICT;
INSERT INTO streams VALUES(1,1,'notes',11,'2026-11-25T18:00:25.969Z','2026-11-25T18:00:25.963Z');
INSERT INTO streams VALUES(2,2,'photos',2,'2026-11-25T18:00:25.971Z','2026-11-25T18:00:25.971Z');
CREATE UNIQUE INDEX "streams_connection_id_name" ON "streams" ("connection_id", "name");

COMMIT TRANSACTION;

PRAGMA foreign_keys=ON;

CREATE TABLE public.blob_bindings (
    stream_id bigint NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    sha256 text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    byte_length bigint NOT NULL,
    bound_at text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    mime_type text COLLATE pg_catalog."C",
    json_path text COLLATE pg_catalog."C",
    CONSTRAINT blob_bindings_byte_length_check CHECK ((byte_length >= 0))
);
CREATE TABLE public.blob_chunks (
    sha256 text NOT NULL COLLATE pg_catalog."C",
    number bigint NOT NULL,
    data bytea NOT NULL
);
CREATE TABLE public.blobs (
    sha256 text NOT NULL COLLATE pg_catalog."C",
    byte_length bigint NOT NULL,
    created_at text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT blobs_byte_length_check CHECK ((byte_length >= 0))
);
CREATE TABLE public.connection_contacts (
    connection_id bigint NOT NULL,
    last_contact_at text NOT NULL COLLATE pg_catalog."C",
    visit_began_at text NOT NULL COLLATE pg_catalog."C",
    intervals text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    usual_seconds bigint,
    silent_from text COLLATE pg_catalog."C"
);
CREATE TABLE public.connections (
    id bigint NOT NULL,
    connector_instance_id text NOT NULL COLLATE pg_catalog."C",
    connector_id text NOT NULL COLLATE pg_catalog."C",
    created_at text NOT NULL COLLATE pg_catalog."C",
    unattributed_rejections bigint DEFAULT 0 NOT NULL
);
CREATE SEQUENCE public.connections_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.connections_id_seq OWNED BY public.connections.id;
CREATE TABLE public.connector_states (
    connection_id bigint NOT NULL,
    stream_name text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL COLLATE pg_catalog."C",
    updated_at text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.erasures (
    hmac text NOT NULL COLLATE pg_catalog."C",
    number bigint NOT NULL,
    allowed boolean DEFAULT false NOT NULL
);
CREATE TABLE public.key_spellings (
    stream_id bigint NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    spelling text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.pdpp_ref_copying (
    id bigint NOT NULL,
    state text NOT NULL COLLATE pg_catalog."C",
    progress text DEFAULT '{}'::text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT pdpp_ref_copying_id_check CHECK ((id = 1))
);
CREATE TABLE public.pdpp_ref_schema (
    version bigint NOT NULL,
    created_at text COLLATE pg_catalog."C",
    unfinished boolean DEFAULT false NOT NULL,
    history_id text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    erasure_key text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    last_erasure bigint DEFAULT 0 NOT NULL,
    cleaned_erasure bigint DEFAULT 0 NOT NULL,
    cleaned_pages bigint DEFAULT 0 NOT NULL,
    has_remnants boolean DEFAULT false NOT NULL
);
CREATE TABLE public.prunings (
    id text NOT NULL COLLATE pg_catalog."C",
    connection text COLLATE pg_catalog."C",
    stream text COLLATE pg_catalog."C",
    keep bigint NOT NULL,
    before text COLLATE pg_catalog."C",
    expected bigint DEFAULT 0 NOT NULL,
    started_at text NOT NULL COLLATE pg_catalog."C",
    finished_at text COLLATE pg_catalog."C",
    next_stream bigint DEFAULT 0 NOT NULL,
    through_version bigint DEFAULT 0 NOT NULL,
    versions bigint DEFAULT 0 NOT NULL,
    json_bytes bigint DEFAULT 0 NOT NULL,
    files bigint DEFAULT 0 NOT NULL,
    file_bytes bigint DEFAULT 0 NOT NULL,
    skipped bigint DEFAULT 0 NOT NULL
);
CREATE TABLE public.record_changes (
    stream_id bigint NOT NULL,
    version bigint NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    data text COLLATE pg_catalog."C",
    json_bytes bigint NOT NULL,
    emitted_at text COLLATE pg_catalog."C",
    ingested_at text NOT NULL COLLATE pg_catalog."C",
    previous_version bigint,
    pruned_at text COLLATE pg_catalog."C",
    pruned_digest text COLLATE pg_catalog."C",
    CONSTRAINT record_changes_check CHECK ((json_bytes = COALESCE(octet_length(data), 0)))
);
CREATE TABLE public.records (
    stream_id bigint NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    data text NOT NULL COLLATE pg_catalog."C",
    json_bytes bigint NOT NULL,
    emitted_at text COLLATE pg_catalog."C",
    ingested_at text NOT NULL COLLATE pg_catalog."C",
    table_version bigint,
    record_time text COLLATE pg_catalog."C",
    has_rollup boolean DEFAULT false NOT NULL,
    CONSTRAINT records_check CHECK ((json_bytes = octet_length(data)))
);
CREATE TABLE public.retained_size_connection (
    connection_id bigint NOT NULL,
    record_count bigint DEFAULT 0 NOT NULL,
    current_record_json_bytes bigint DEFAULT 0 NOT NULL,
    record_history_count bigint DEFAULT 0 NOT NULL,
    record_history_json_bytes bigint DEFAULT 0 NOT NULL,
    blob_count bigint DEFAULT 0 NOT NULL,
    blob_bytes bigint DEFAULT 0 NOT NULL,
    dirty boolean DEFAULT false NOT NULL,
    stale_since text COLLATE pg_catalog."C",
    computed_at text COLLATE pg_catalog."C",
    generation bigint DEFAULT 0 NOT NULL,
    days_disordered boolean DEFAULT false NOT NULL,
    earliest_ingested_at text COLLATE pg_catalog."C",
    latest_ingested_at text COLLATE pg_catalog."C",
    earliest_record_time text COLLATE pg_catalog."C",
    latest_record_time text COLLATE pg_catalog."C",
    stream_count bigint DEFAULT 0 NOT NULL,
    record_times_unknown boolean DEFAULT false NOT NULL,
    connection_name text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT retained_size_connection_blob_bytes_check CHECK ((blob_bytes >= 0)),
    CONSTRAINT retained_size_connection_blob_count_check CHECK ((blob_count >= 0)),
    CONSTRAINT retained_size_connection_current_record_json_bytes_check CHECK ((current_record_json_bytes >= 0)),
    CONSTRAINT retained_size_connection_record_count_check CHECK ((record_count >= 0)),
    CONSTRAINT retained_size_connection_record_history_count_check CHECK ((record_history_count >= 0)),
    CONSTRAINT retained_size_connection_record_history_json_bytes_check CHECK ((record_history_json_bytes >= 0)),
    CONSTRAINT retained_size_connection_stream_count_check CHECK ((stream_count >= 0))
);
CREATE TABLE public.retained_size_connection_days (
    record_count bigint DEFAULT 0 NOT NULL,
    current_record_json_bytes bigint DEFAULT 0 NOT NULL,
    record_history_count bigint DEFAULT 0 NOT NULL,
    record_history_json_bytes bigint DEFAULT 0 NOT NULL,
    blob_count bigint DEFAULT 0 NOT NULL,
    blob_bytes bigint DEFAULT 0 NOT NULL,
    day text NOT NULL COLLATE pg_catalog."C",
    generation bigint DEFAULT 0 NOT NULL,
    previous_generation bigint DEFAULT 0 NOT NULL,
    unknown boolean DEFAULT false NOT NULL,
    connection_id bigint NOT NULL,
    CONSTRAINT retained_size_connection_days_blob_bytes_check CHECK ((blob_bytes >= 0)),
    CONSTRAINT retained_size_connection_days_blob_count_check CHECK ((blob_count >= 0)),
    CONSTRAINT retained_size_connection_days_current_record_json_bytes_check CHECK ((current_record_json_bytes >= 0)),
    CONSTRAINT retained_size_connection_days_record_count_check CHECK ((record_count >= 0)),
    CONSTRAINT retained_size_connection_days_record_history_count_check CHECK ((record_history_count >= 0)),
    CONSTRAINT retained_size_connection_days_record_history_json_bytes_check CHECK ((record_history_json_bytes >= 0))
);
CREATE TABLE public.retained_size_connector (
    connector_id text NOT NULL COLLATE pg_catalog."C",
    record_count bigint DEFAULT 0 NOT NULL,
    CONSTRAINT retained_size_connector_record_count_check CHECK ((record_count >= 0))
);
CREATE TABLE public.retained_size_global (
    id bigint NOT NULL,
    record_count bigint DEFAULT 0 NOT NULL,
    current_record_json_bytes bigint DEFAULT 0 NOT NULL,
    record_history_count bigint DEFAULT 0 NOT NULL,
    record_history_json_bytes bigint DEFAULT 0 NOT NULL,
    blob_count bigint DEFAULT 0 NOT NULL,
    blob_bytes bigint DEFAULT 0 NOT NULL,
    dirty boolean DEFAULT false NOT NULL,
    stale_since text COLLATE pg_catalog."C",
    computed_at text COLLATE pg_catalog."C",
    generation bigint DEFAULT 0 NOT NULL,
    days_disordered boolean DEFAULT false NOT NULL,
    earliest_ingested_at text COLLATE pg_catalog."C",
    latest_ingested_at text COLLATE pg_catalog."C",
    earliest_record_time text COLLATE pg_catalog."C",
    latest_record_time text COLLATE pg_catalog."C",
    stream_count bigint DEFAULT 0 NOT NULL,
    connection_count bigint DEFAULT 0 NOT NULL,
    rebuild_status text DEFAULT 'idle'::text NOT NULL COLLATE pg_catalog."C",
    rebuild_total bigint,
    CONSTRAINT retained_size_global_blob_bytes_check CHECK ((blob_bytes >= 0)),
    CONSTRAINT retained_size_global_blob_count_check CHECK ((blob_count >= 0)),
    CONSTRAINT retained_size_global_connection_count_check CHECK ((connection_count >= 0)),
    CONSTRAINT retained_size_global_current_record_json_bytes_check CHECK ((current_record_json_bytes >= 0)),
    CONSTRAINT retained_size_global_id_check CHECK ((id = 1)),
    CONSTRAINT retained_size_global_rebuild_status_check CHECK ((rebuild_status = ANY (ARRAY['idle'::text, 'running'::text, 'failed'::text]))),
    CONSTRAINT retained_size_global_record_count_check CHECK ((record_count >= 0)),
    CONSTRAINT retained_size_global_record_history_count_check CHECK ((record_history_count >= 0)),
    CONSTRAINT retained_size_global_record_history_json_bytes_check CHECK ((record_history_json_bytes >= 0)),
    CONSTRAINT retained_size_global_stream_count_check CHECK ((stream_count >= 0))
);
CREATE TABLE public.retained_size_global_days (
    record_count bigint DEFAULT 0 NOT NULL,
    current_record_json_bytes bigint DEFAULT 0 NOT NULL,
    record_history_count bigint DEFAULT 0 NOT NULL,
    record_history_json_bytes bigint DEFAULT 0 NOT NULL,
    blob_count bigint DEFAULT 0 NOT NULL,
    blob_bytes bigint DEFAULT 0 NOT NULL,
    day text NOT NULL COLLATE pg_catalog."C",
    generation bigint DEFAULT 0 NOT NULL,
    previous_generation bigint DEFAULT 0 NOT NULL,
    unknown boolean DEFAULT false NOT NULL,
    id bigint NOT NULL,
    CONSTRAINT retained_size_global_days_blob_bytes_check CHECK ((blob_bytes >= 0)),
    CONSTRAINT retained_size_global_days_blob_count_check CHECK ((blob_count >= 0)),
    CONSTRAINT retained_size_global_days_current_record_json_bytes_check CHECK ((current_record_json_bytes >= 0)),
    CONSTRAINT retained_size_global_days_id_check CHECK ((id = 1)),
    CONSTRAINT retained_size_global_days_record_count_check CHECK ((record_count >= 0)),
    CONSTRAINT retained_size_global_days_record_history_count_check CHECK ((record_history_count >= 0)),
    CONSTRAINT retained_size_global_days_record_history_json_bytes_check CHECK ((record_history_json_bytes >= 0))
);
CREATE TABLE public.retained_size_record (
    record_count bigint DEFAULT 0 NOT NULL,
    current_record_json_bytes bigint DEFAULT 0 NOT NULL,
    record_history_count bigint DEFAULT 0 NOT NULL,
    record_history_json_bytes bigint DEFAULT 0 NOT NULL,
    blob_count bigint DEFAULT 0 NOT NULL,
    blob_bytes bigint DEFAULT 0 NOT NULL,
    stream_id bigint NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    changed_at text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT retained_size_record_blob_bytes_check CHECK ((blob_bytes >= 0)),
    CONSTRAINT retained_size_record_blob_count_check CHECK ((blob_count >= 0)),
    CONSTRAINT retained_size_record_current_record_json_bytes_check CHECK ((current_record_json_bytes >= 0)),
    CONSTRAINT retained_size_record_record_count_check CHECK ((record_count >= 0)),
    CONSTRAINT retained_size_record_record_history_count_check CHECK ((record_history_count >= 0)),
    CONSTRAINT retained_size_record_record_history_json_bytes_check CHECK ((record_history_json_bytes >= 0))
);
CREATE TABLE public.retained_size_record_counts (
    stream_id bigint NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    versions bigint NOT NULL,
    json_bytes bigint NOT NULL
);
CREATE TABLE public.retained_size_record_recounts (
    stream_id bigint NOT NULL,
    through_version bigint NOT NULL,
    after_key text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.retained_size_recounts (
    stream_id bigint NOT NULL,
    record_count bigint DEFAULT 0 NOT NULL,
    current_record_json_bytes bigint DEFAULT 0 NOT NULL,
    record_history_count bigint DEFAULT 0 NOT NULL,
    record_history_json_bytes bigint DEFAULT 0 NOT NULL,
    blob_count bigint DEFAULT 0 NOT NULL,
    blob_bytes bigint DEFAULT 0 NOT NULL,
    through_version bigint NOT NULL,
    CONSTRAINT retained_size_recounts_blob_bytes_check CHECK ((blob_bytes >= 0)),
    CONSTRAINT retained_size_recounts_blob_count_check CHECK ((blob_count >= 0)),
    CONSTRAINT retained_size_recounts_current_record_json_bytes_check CHECK ((current_record_json_bytes >= 0)),
    CONSTRAINT retained_size_recounts_record_count_check CHECK ((record_count >= 0)),
    CONSTRAINT retained_size_recounts_record_history_count_check CHECK ((record_history_count >= 0)),
    CONSTRAINT retained_size_recounts_record_history_json_bytes_check CHECK ((record_history_json_bytes >= 0))
);
CREATE TABLE public.retained_size_stream (
    stream_id bigint NOT NULL,
    record_count bigint DEFAULT 0 NOT NULL,
    current_record_json_bytes bigint DEFAULT 0 NOT NULL,
    record_history_count bigint DEFAULT 0 NOT NULL,
    record_history_json_bytes bigint DEFAULT 0 NOT NULL,
    blob_count bigint DEFAULT 0 NOT NULL,
    blob_bytes bigint DEFAULT 0 NOT NULL,
    dirty boolean DEFAULT false NOT NULL,
    stale_since text COLLATE pg_catalog."C",
    computed_at text COLLATE pg_catalog."C",
    generation bigint DEFAULT 0 NOT NULL,
    days_disordered boolean DEFAULT false NOT NULL,
    earliest_ingested_at text COLLATE pg_catalog."C",
    latest_ingested_at text COLLATE pg_catalog."C",
    earliest_record_time text COLLATE pg_catalog."C",
    latest_record_time text COLLATE pg_catalog."C",
    connection_id bigint NOT NULL,
    rollups_dirty boolean DEFAULT false NOT NULL,
    record_times_unknown boolean DEFAULT false NOT NULL,
    connection_name text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    stream_name text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT retained_size_stream_blob_bytes_check CHECK ((blob_bytes >= 0)),
    CONSTRAINT retained_size_stream_blob_count_check CHECK ((blob_count >= 0)),
    CONSTRAINT retained_size_stream_current_record_json_bytes_check CHECK ((current_record_json_bytes >= 0)),
    CONSTRAINT retained_size_stream_record_count_check CHECK ((record_count >= 0)),
    CONSTRAINT retained_size_stream_record_history_count_check CHECK ((record_history_count >= 0)),
    CONSTRAINT retained_size_stream_record_history_json_bytes_check CHECK ((record_history_json_bytes >= 0))
);
CREATE TABLE public.retained_size_stream_days (
    record_count bigint DEFAULT 0 NOT NULL,
    current_record_json_bytes bigint DEFAULT 0 NOT NULL,
    record_history_count bigint DEFAULT 0 NOT NULL,
    record_history_json_bytes bigint DEFAULT 0 NOT NULL,
    blob_count bigint DEFAULT 0 NOT NULL,
    blob_bytes bigint DEFAULT 0 NOT NULL,
    day text NOT NULL COLLATE pg_catalog."C",
    generation bigint DEFAULT 0 NOT NULL,
    previous_generation bigint DEFAULT 0 NOT NULL,
    unknown boolean DEFAULT false NOT NULL,
    stream_id bigint NOT NULL,
    CONSTRAINT retained_size_stream_days_blob_bytes_check CHECK ((blob_bytes >= 0)),
    CONSTRAINT retained_size_stream_days_blob_count_check CHECK ((blob_count >= 0)),
    CONSTRAINT retained_size_stream_days_current_record_json_bytes_check CHECK ((current_record_json_bytes >= 0)),
    CONSTRAINT retained_size_stream_days_record_count_check CHECK ((record_count >= 0)),
    CONSTRAINT retained_size_stream_days_record_history_count_check CHECK ((record_history_count >= 0)),
    CONSTRAINT retained_size_stream_days_record_history_json_bytes_check CHECK ((record_history_json_bytes >= 0))
);
CREATE TABLE public.retention_rules (
    stream_id bigint NOT NULL,
    keep bigint NOT NULL,
    set_at text NOT NULL COLLATE pg_catalog."C",
    through_version bigint DEFAULT 0 NOT NULL,
    applied_at text COLLATE pg_catalog."C",
    versions bigint DEFAULT 0 NOT NULL,
    json_bytes bigint DEFAULT 0 NOT NULL,
    files bigint DEFAULT 0 NOT NULL,
    file_bytes bigint DEFAULT 0 NOT NULL,
    CONSTRAINT retention_rules_keep_check CHECK ((keep >= 1))
);
CREATE TABLE public.streams (
    id bigint NOT NULL,
    connection_id bigint,
    name text NOT NULL COLLATE pg_catalog."C",
    last_version bigint NOT NULL,
    last_ingested_at text COLLATE pg_catalog."C",
    created_at text NOT NULL COLLATE pg_catalog."C",
    record_time_field text COLLATE pg_catalog."C",
    record_time_field_since bigint DEFAULT 0 NOT NULL,
    undated_records bigint DEFAULT 0 NOT NULL,
    key_schema text COLLATE pg_catalog."C",
    respelled_keys boolean DEFAULT false NOT NULL,
    last_contact_at text COLLATE pg_catalog."C",
    rejected_table_version bigint,
    rejected_unversioned boolean DEFAULT false NOT NULL,
    rejections_seen bigint DEFAULT 0 NOT NULL,
    incarnation text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    removed_through bigint DEFAULT 0 NOT NULL
);
CREATE SEQUENCE public.streams_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.streams_id_seq OWNED BY public.streams.id;
CREATE TABLE public.tokens (
    name text NOT NULL COLLATE pg_catalog."C",
    digest text NOT NULL COLLATE pg_catalog."C",
    scopes text NOT NULL COLLATE pg_catalog."C",
    connection text COLLATE pg_catalog."C",
    created_at text NOT NULL COLLATE pg_catalog."C",
    expires_at text COLLATE pg_catalog."C",
    last_used_at text COLLATE pg_catalog."C",
    revoked_at text COLLATE pg_catalog."C"
);
CREATE TABLE public.unclaimed_files (
    id bigint NOT NULL,
    connection_id bigint,
    stream_name text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    sha256 text NOT NULL COLLATE pg_catalog."C",
    byte_length bigint NOT NULL,
    mime_type text COLLATE pg_catalog."C",
    json_path text COLLATE pg_catalog."C",
    uploaded_at text NOT NULL COLLATE pg_catalog."C",
    marked text COLLATE pg_catalog."C",
    CONSTRAINT unclaimed_files_byte_length_check CHECK ((byte_length >= 0))
);
CREATE SEQUENCE public.unclaimed_files_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.unclaimed_files_id_seq OWNED BY public.unclaimed_files.id;
ALTER TABLE ONLY public.connections ALTER COLUMN id SET DEFAULT nextval('public.connections_id_seq'::regclass);
ALTER TABLE ONLY public.streams ALTER COLUMN id SET DEFAULT nextval('public.streams_id_seq'::regclass);
ALTER TABLE ONLY public.unclaimed_files ALTER COLUMN id SET DEFAULT nextval('public.unclaimed_files_id_seq'::regclass);
INSERT INTO public.blob_bindings VALUES (1, 'k1', '7365d029861e32c521f8089b00a6fb32daf0615025b69b599d1ce53501b845c2', 9, 6, '2026-11-26T19:00:25.223Z', NULL, NULL);
INSERT INTO public.blob_bindings VALUES (2, 'p', 'ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5', 1, 7, '2026-11-26T19:00:25.273Z', NULL, NULL);
INSERT INTO public.blob_chunks VALUES ('7365d029861e32c521f8089b00a6fb32daf0615025b69b599d1ce53501b845c2', 0, '\x612066696c65');
INSERT INTO public.blob_chunks VALUES ('ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5', 0, '\x616e6f74686572');
INSERT INTO public.blobs VALUES ('7365d029861e32c521f8089b00a6fb32daf0615025b69b599d1ce53501b845c2', 6, '2026-11-26T19:00:25.223Z');
INSERT INTO public.blobs VALUES ('ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5', 7, '2026-11-26T19:00:25.273Z');
INSERT INTO public.connection_contacts VALUES (1, '2026-11-26T19:00:25.204Z', '2026-11-26T19:00:25.204Z', '', NULL, NULL);
INSERT INTO public.connection_contacts VALUES (3, '2026-11-26T19:00:25.285Z', '2026-11-26T19:00:25.285Z', '', NULL, NULL);
INSERT INTO public.connection_contacts VALUES (2, '2026-11-26T19:00:25.249Z', '2026-11-26T19:00:25.249Z', '', NULL, NULL);
INSERT INTO public.connections VALUES (1, 'laptop', 'files', '2026-11-26T19:00:25.113Z', 0);
INSERT INTO public.connections VALUES (2, 'phone', 'camera', '2026-11-26T19:00:25.241Z', 0);
INSERT INTO public.connections VALUES (3, 'tap', 'tap', '2026-11-26T19:00:25.280Z', 0);
INSERT INTO public.pdpp_ref_schema VALUES (4, '2026-11-26T19:00:25.104Z', false, '8ddd6d66421a980e', 'b3aa232b3c41ca8b0baeaaddf67516575571dd0dcf172193575491b64d09b3ec', 0, 0, 0, false);
INSERT INTO public.record_changes VALUES (1, 1, '0000000', '{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 48, NULL, '2026-11-26T19:00:25.123Z', NULL, NULL, NULL);
INSERT INTO public.record_changes VALUES (1, 2, '0000001', '{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 48, NULL, '2026-11-26T19:00:25.123Z', NULL, NULL, NULL);
INSERT INTO public.record_changes VALUES (1, 3, '0000002', '{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 48, NULL, '2026-11-26T19:00:25.123Z', NULL, NULL, NULL);
INSERT INTO public.record_changes VALUES (1, 4, '0000003', '{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 48, NULL, '2026-11-26T19:00:25.123Z', NULL, NULL, NULL);
INSERT INTO public.record_changes VALUES (1, 5, '0000004', '{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 48, NULL, '2026-11-26T19:00:25.123Z', NULL, NULL, NULL);
INSERT INTO public.record_changes VALUES (1, 6, '0000005', '{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 48, NULL, '2026-11-26T19:00:25.123Z', NULL, NULL, NULL);
INSERT INTO public.record_changes VALUES (1, 7, 'k1', '{"n":1}', 7, NULL, '2026-11-26T19:00:25.146Z', NULL, NULL, NULL);
INSERT INTO public.record_changes VALUES (1, 8, 'k1', '{"n":2}', 7, NULL, '2026-11-26T19:00:25.160Z', 7, NULL, NULL);
INSERT INTO public.record_changes VALUES (1, 9, 'k1', '{"n":3}', 7, NULL, '2026-11-26T19:00:25.173Z', 8, NULL, NULL);
INSERT INTO public.record_changes VALUES (1, 10, 'gone', '{"id":"gone"}', 13, NULL, '2026-11-26T19:00:25.186Z', NULL, NULL, NULL);
INSERT INTO public.record_changes VALUES (1, 11, 'gone', NULL, 0, NULL, '2026-11-26T19:00:25.204Z', 10, NULL, NULL);
INSERT INTO public.record_changes VALUES (2, 1, 'p', '{"t":"é"}', 10, NULL, '2026-11-26T19:00:25.249Z', NULL, NULL, NULL);
INSERT INTO public.record_changes VALUES (4, 1, '["1.5","x"]', '{"a":1.50,"b":"x"}', 18, NULL, '2026-11-26T19:00:25.285Z', NULL, NULL, NULL);
INSERT INTO public.record_changes VALUES (4, 2, '["2","y"]', '{"a":2,"b":"y"}', 15, '2026-01-02T03:04:05.000Z', '2026-11-26T19:00:25.285Z', NULL, NULL, NULL);
INSERT INTO public.record_changes VALUES (4, 3, '["2",null]', '{"a":2}', 7, NULL, '2026-11-26T19:00:25.285Z', NULL, NULL, NULL);
INSERT INTO public.record_changes VALUES (3, 3, 'd1', '{"at":"2025-05-08"}', 19, '2026-01-03T00:00:00.000Z', '2026-11-26T19:00:25.285Z', NULL, '2026-01-02T00:00:00.000Z', 'c1c0f15d498e484626767cb680adb96ae025895e2ec893a03083494baa412a8a');
INSERT INTO public.records VALUES (1, '0000000', 1, '{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 48, NULL, '2026-11-26T19:00:25.123Z', NULL, NULL, false);
INSERT INTO public.records VALUES (1, '0000001', 2, '{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 48, NULL, '2026-11-26T19:00:25.123Z', NULL, NULL, false);
INSERT INTO public.records VALUES (1, '0000002', 3, '{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 48, NULL, '2026-11-26T19:00:25.123Z', NULL, NULL, false);
INSERT INTO public.records VALUES (1, '0000003', 4, '{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 48, NULL, '2026-11-26T19:00:25.123Z', NULL, NULL, false);
INSERT INTO public.records VALUES (1, '0000004', 5, '{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 48, NULL, '2026-11-26T19:00:25.123Z', NULL, NULL, false);
INSERT INTO public.records VALUES (1, '0000005', 6, '{"t":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 48, NULL, '2026-11-26T19:00:25.123Z', NULL, NULL, false);
INSERT INTO public.records VALUES (1, 'k1', 9, '{"n":3}', 7, NULL, '2026-11-26T19:00:25.173Z', NULL, NULL, true);
INSERT INTO public.records VALUES (2, 'p', 1, '{"t":"é"}', 10, NULL, '2026-11-26T19:00:25.249Z', NULL, NULL, true);
INSERT INTO public.records VALUES (3, 'd1', 3, '{"at":"2025-05-08"}', 19, '2026-01-03T00:00:00.000Z', '2026-11-26T19:00:25.285Z', NULL, '2025-05-08T00:00:00.000Z', true);
INSERT INTO public.records VALUES (4, '["1.5","x"]', 1, '{"a":1.50,"b":"x"}', 18, NULL, '2026-11-26T19:00:25.285Z', 1, NULL, false);
INSERT INTO public.records VALUES (4, '["2","y"]', 2, '{"a":2,"b":"y"}', 15, '2026-01-02T03:04:05.000Z', '2026-11-26T19:00:25.285Z', 2, NULL, false);
INSERT INTO public.records VALUES (4, '["2",null]', 3, '{"a":2}', 7, NULL, '2026-11-26T19:00:25.285Z', NULL, NULL, false);
INSERT INTO public.retained_size_connection VALUES (2, 1, 10, 1, 10, 1, 7, false, NULL, '2026-11-26T19:00:25.276Z', 2, false, '2026-11-26T19:00:25.249Z', '2026-11-26T19:00:25.249Z', NULL, NULL, 1, true, 'phone');
INSERT INTO public.retained_size_connection VALUES (3, 4, 59, 4, 59, 0, 0, false, NULL, '2026-11-26T19:00:25.311Z', 2, false, '2026-11-26T19:00:25.285Z', '2026-11-26T19:00:25.285Z', NULL, NULL, 2, true, 'tap');
INSERT INTO public.retained_size_connection VALUES (1, 7, 295, 11, 322, 1, 6, true, '2026-11-26T19:00:25.329Z', '2026-11-26T19:00:25.232Z', 7, false, '2026-11-26T19:00:25.123Z', '2026-11-26T19:00:25.173Z', NULL, NULL, 1, true, 'laptop');
INSERT INTO public.retained_size_connection_days VALUES (7, 295, 11, 322, 1, 6, '2026-11-26', 7, 0, false, 1);
INSERT INTO public.retained_size_connection_days VALUES (1, 10, 1, 10, 1, 7, '2026-11-26', 2, 0, false, 2);
INSERT INTO public.retained_size_connection_days VALUES (4, 59, 4, 59, 0, 0, '2026-11-26', 2, 0, false, 3);
INSERT INTO public.retained_size_connector VALUES ('files', 7);
INSERT INTO public.retained_size_connector VALUES ('tap', 4);
INSERT INTO public.retained_size_connector VALUES ('camera', 1);
INSERT INTO public.retained_size_global VALUES (1, 12, 364, 16, 391, 2, 13, true, '2026-11-26T19:00:25.330Z', '2026-11-26T19:00:25.316Z', 11, false, '2026-11-26T19:00:25.123Z', '2026-11-26T19:00:25.285Z', NULL, NULL, 4, 3, 'idle', NULL);
INSERT INTO public.retained_size_global_days VALUES (12, 364, 16, 391, 2, 13, '2026-11-26', 11, 0, false, 1);
INSERT INTO public.retained_size_record VALUES (0, 0, 2, 13, 0, 0, 1, 'gone', 11, '2026-11-26T19:00:25.204Z');
INSERT INTO public.retained_size_record VALUES (1, 7, 3, 21, 1, 6, 1, 'k1', 9, '2026-11-26T19:00:25.223Z');
INSERT INTO public.retained_size_record VALUES (1, 10, 1, 10, 1, 7, 2, 'p', 1, '2026-11-26T19:00:25.273Z');
INSERT INTO public.retained_size_record VALUES (1, 19, 1, 19, 0, 0, 3, 'd1', 3, '2026-11-26T19:00:25.285Z');
INSERT INTO public.retained_size_stream VALUES (2, 1, 10, 1, 10, 1, 7, false, NULL, '2026-11-26T19:00:25.275Z', 2, false, '2026-11-26T19:00:25.249Z', '2026-11-26T19:00:25.249Z', NULL, NULL, 2, false, true, 'phone', 'photos');
INSERT INTO public.retained_size_stream VALUES (4, 3, 40, 3, 40, 0, 0, false, NULL, '2026-11-26T19:00:25.289Z', 1, false, '2026-11-26T19:00:25.285Z', '2026-11-26T19:00:25.285Z', NULL, NULL, 3, false, true, 'tap', 'pairs');
INSERT INTO public.retained_size_stream VALUES (3, 1, 19, 1, 19, 0, 0, false, NULL, '2026-11-26T19:00:25.308Z', 2, false, '2026-11-26T19:00:25.285Z', '2026-11-26T19:00:25.285Z', '2025-05-08T00:00:00.000Z', '2025-05-08T00:00:00.000Z', 3, false, false, 'tap', 'dated');
INSERT INTO public.retained_size_stream VALUES (1, 7, 295, 11, 322, 1, 6, true, '2026-11-26T19:00:25.328Z', '2026-11-26T19:00:25.228Z', 7, false, '2026-11-26T19:00:25.123Z', '2026-11-26T19:00:25.173Z', NULL, NULL, 1, false, true, 'laptop', 'notes');
INSERT INTO public.retained_size_stream_days VALUES (7, 295, 11, 322, 1, 6, '2026-11-26', 7, 0, false, 1);
INSERT INTO public.retained_size_stream_days VALUES (1, 10, 1, 10, 1, 7, '2026-11-26', 2, 0, false, 2);
INSERT INTO public.retained_size_stream_days VALUES (3, 40, 3, 40, 0, 0, '2026-11-26', 1, 0, false, 4);
INSERT INTO public.retained_size_stream_days VALUES (1, 19, 1, 19, 0, 0, '2026-11-26', 2, 0, false, 3);
INSERT INTO public.streams VALUES (1, 1, 'notes', 11, '2026-11-26T19:00:25.204Z', '2026-11-26T19:00:25.120Z', NULL, 0, 0, NULL, false, '2026-11-26T19:00:25.204Z', NULL, false, 0, '5ac7f54677aa1438', 0);
INSERT INTO public.streams VALUES (2, 2, 'photos', 1, '2026-11-26T19:00:25.249Z', '2026-11-26T19:00:25.246Z', NULL, 0, 0, NULL, false, '2026-11-26T19:00:25.249Z', NULL, false, 0, '88fa49006816291b', 0);
INSERT INTO public.streams VALUES (3, 3, 'dated', 3, '2026-11-26T19:00:25.285Z', '2026-11-26T19:00:25.282Z', 'at', 0, 0, NULL, false, '2026-11-26T19:00:25.285Z', NULL, false, 0, '910797760f2f7dcc', 0);
INSERT INTO public.streams VALUES (4, 3, 'pairs', 3, '2026-11-26T19:00:25.285Z', '2026-11-26T19:00:25.283Z', NULL, 0, 0, '[["a", "number"], ["b", "string"]]', false, '2026-11-26T19:00:25.285Z', NULL, false, 0, '63252e489ca298e4', 0);
SELECT pg_catalog.setval('public.connections_id_seq', 3, true);
SELECT pg_catalog.setval('public.streams_id_seq', 4, true);
SELECT pg_catalog.setval('public.unclaimed_files_id_seq', 1, false);
ALTER TABLE ONLY public.blob_bindings
    ADD CONSTRAINT blob_bindings_pkey PRIMARY KEY (stream_id, key, sha256);
ALTER TABLE ONLY public.blob_chunks
    ADD CONSTRAINT blob_chunks_pkey PRIMARY KEY (sha256, number);
ALTER TABLE ONLY public.blobs
    ADD CONSTRAINT blobs_pkey PRIMARY KEY (sha256);
ALTER TABLE ONLY public.connection_contacts
    ADD CONSTRAINT connection_contacts_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY public.connections
    ADD CONSTRAINT connections_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.connector_states
    ADD CONSTRAINT connector_states_pkey PRIMARY KEY (connection_id, stream_name);
ALTER TABLE ONLY public.erasures
    ADD CONSTRAINT erasures_pkey PRIMARY KEY (hmac);
ALTER TABLE ONLY public.key_spellings
    ADD CONSTRAINT key_spellings_pkey PRIMARY KEY (stream_id, key);
ALTER TABLE ONLY public.pdpp_ref_copying
    ADD CONSTRAINT pdpp_ref_copying_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.pdpp_ref_schema
    ADD CONSTRAINT pdpp_ref_schema_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.prunings
    ADD CONSTRAINT prunings_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.record_changes
    ADD CONSTRAINT record_changes_pkey PRIMARY KEY (stream_id, version);
ALTER TABLE ONLY public.records
    ADD CONSTRAINT records_pkey PRIMARY KEY (stream_id, key);
ALTER TABLE ONLY public.retained_size_connection_days
    ADD CONSTRAINT retained_size_connection_days_pkey PRIMARY KEY (connection_id, day);
ALTER TABLE ONLY public.retained_size_connection
    ADD CONSTRAINT retained_size_connection_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY public.retained_size_connector
    ADD CONSTRAINT retained_size_connector_pkey PRIMARY KEY (connector_id);
ALTER TABLE ONLY public.retained_size_global_days
    ADD CONSTRAINT retained_size_global_days_pkey PRIMARY KEY (id, day);
ALTER TABLE ONLY public.retained_size_global
    ADD CONSTRAINT retained_size_global_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.retained_size_record_counts
    ADD CONSTRAINT retained_size_record_counts_pkey PRIMARY KEY (stream_id, key);
ALTER TABLE ONLY public.retained_size_record
    ADD CONSTRAINT retained_size_record_pkey PRIMARY KEY (stream_id, key);
ALTER TABLE ONLY public.retained_size_record_recounts
    ADD CONSTRAINT retained_size_record_recounts_pkey PRIMARY KEY (stream_id);
ALTER TABLE ONLY public.retained_size_recounts
    ADD CONSTRAINT retained_size_recounts_pkey PRIMARY KEY (stream_id);
ALTER TABLE ONLY public.retained_size_stream_days
    ADD CONSTRAINT retained_size_stream_days_pkey PRIMARY KEY (stream_id, day);
ALTER TABLE ONLY public.retained_size_stream
    ADD CONSTRAINT retained_size_stream_pkey PRIMARY KEY (stream_id);
ALTER TABLE ONLY public.retention_rules
    ADD CONSTRAINT retention_rules_pkey PRIMARY KEY (stream_id);
ALTER TABLE ONLY public.streams
    ADD CONSTRAINT streams_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.unclaimed_files
    ADD CONSTRAINT unclaimed_files_pkey PRIMARY KEY (id);
CREATE INDEX blob_bindings_byte_length_stream_id_key_sha256 ON public.blob_bindings USING btree (byte_length, stream_id, key, sha256);
CREATE INDEX blob_bindings_sha256 ON public.blob_bindings USING btree (sha256);
CREATE INDEX blob_bindings_stream_id_version_byte_length ON public.blob_bindings USING btree (stream_id, version, byte_length);
CREATE INDEX connection_contacts_silent_from ON public.connection_contacts USING btree (silent_from);
CREATE INDEX connections_connector_id ON public.connections USING btree (connector_id);
CREATE UNIQUE INDEX connections_connector_instance_id ON public.connections USING btree (connector_instance_id);
CREATE INDEX erasures_number ON public.erasures USING btree (number);
CREATE INDEX record_changes_later ON public.record_changes USING btree (stream_id, version, previous_version) WHERE (previous_version IS NOT NULL);
CREATE INDEX record_changes_stream_id_version_json_bytes ON public.record_changes USING btree (stream_id, version, json_bytes);
CREATE INDEX records_by_json_bytes ON public.records USING btree (json_bytes, stream_id, key) WHERE (NOT has_rollup);
CREATE INDEX records_record_time ON public.records USING btree (stream_id, record_time) WHERE (record_time IS NOT NULL);
CREATE INDEX records_stream_id_version_json_bytes ON public.records USING btree (stream_id, version, json_bytes);
CREATE INDEX records_with_rollup ON public.records USING btree (stream_id, version) WHERE has_rollup;
CREATE INDEX retained_size_connection_by_blob_bytes ON public.retained_size_connection USING btree (blob_bytes DESC, connection_name);
CREATE INDEX retained_size_connection_by_blob_count ON public.retained_size_connection USING btree (blob_count DESC, connection_name);
CREATE INDEX retained_size_connection_by_current_record_json_bytes ON public.retained_size_connection USING btree (current_record_json_bytes DESC, connection_name);
CREATE INDEX retained_size_connection_by_record_count ON public.retained_size_connection USING btree (record_count DESC, connection_name);
CREATE INDEX retained_size_connection_by_record_history_count ON public.retained_size_connection USING btree (record_history_count DESC, connection_name);
CREATE INDEX retained_size_connection_by_record_history_json_bytes ON public.retained_size_connection USING btree (record_history_json_bytes DESC, connection_name);
CREATE INDEX retained_size_connection_by_total_retained_bytes ON public.retained_size_connection USING btree ((((current_record_json_bytes + record_history_json_bytes) + blob_bytes)) DESC, connection_name);
CREATE INDEX retained_size_connection_days_by_day ON public.retained_size_connection_days USING btree (day, connection_id);
CREATE INDEX retained_size_connection_dirty ON public.retained_size_connection USING btree (connection_id) WHERE dirty;
CREATE INDEX retained_size_connection_earliest_ingested_at ON public.retained_size_connection USING btree (earliest_ingested_at);
CREATE INDEX retained_size_connection_earliest_record_time ON public.retained_size_connection USING btree (earliest_record_time);
CREATE INDEX retained_size_connection_latest_ingested_at ON public.retained_size_connection USING btree (latest_ingested_at);
CREATE INDEX retained_size_connection_latest_record_time ON public.retained_size_connection USING btree (latest_record_time);
CREATE INDEX retained_size_connection_silent ON public.retained_size_connection USING btree (latest_ingested_at, connection_id);
CREATE INDEX retained_size_connection_times_unknown ON public.retained_size_connection USING btree (connection_id) WHERE record_times_unknown;
CREATE INDEX retained_size_connector_by_record_count ON public.retained_size_connector USING btree (record_count DESC, connector_id);
CREATE INDEX retained_size_record_by_blob_bytes ON public.retained_size_record USING btree (blob_bytes, stream_id, key) WHERE (blob_count <> 0);
CREATE INDEX retained_size_record_by_blob_count ON public.retained_size_record USING btree (blob_count, stream_id, key) WHERE (blob_count <> 0);
CREATE INDEX retained_size_record_by_current_record_json_bytes ON public.retained_size_record USING btree (current_record_json_bytes, stream_id, key);
CREATE INDEX retained_size_record_by_record_history_count ON public.retained_size_record USING btree (record_history_count, stream_id, key);
CREATE INDEX retained_size_record_by_record_history_json_bytes ON public.retained_size_record USING btree (record_history_json_bytes, stream_id, key);
CREATE INDEX retained_size_record_by_total_retained_bytes ON public.retained_size_record USING btree ((((current_record_json_bytes + record_history_json_bytes) + blob_bytes)), stream_id, key);
CREATE INDEX retained_size_record_deleted ON public.retained_size_record USING btree (stream_id, version) WHERE (record_count = 0);
CREATE INDEX retained_size_stream_by_blob_bytes ON public.retained_size_stream USING btree (blob_bytes DESC, connection_name, substr(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_blob_count ON public.retained_size_stream USING btree (blob_count DESC, connection_name, substr(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_current_record_json_bytes ON public.retained_size_stream USING btree (current_record_json_bytes DESC, connection_name, substr(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_record_count ON public.retained_size_stream USING btree (record_count DESC, connection_name, substr(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_record_history_count ON public.retained_size_stream USING btree (record_history_count DESC, connection_name, substr(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_record_history_json_bytes ON public.retained_size_stream USING btree (record_history_json_bytes DESC, connection_name, substr(stream_name, 1, 150));
CREATE INDEX retained_size_stream_by_total_retained_bytes ON public.retained_size_stream USING btree ((((current_record_json_bytes + record_history_json_bytes) + blob_bytes)) DESC, connection_name, substr(stream_name, 1, 150));
CREATE INDEX retained_size_stream_connection_id_earliest_ingested_at ON public.retained_size_stream USING btree (connection_id, earliest_ingested_at);
CREATE INDEX retained_size_stream_connection_id_earliest_record_time ON public.retained_size_stream USING btree (connection_id, earliest_record_time);
CREATE INDEX retained_size_stream_connection_id_latest_ingested_at ON public.retained_size_stream USING btree (connection_id, latest_ingested_at);
CREATE INDEX retained_size_stream_connection_id_latest_record_time ON public.retained_size_stream USING btree (connection_id, latest_record_time);
CREATE INDEX retained_size_stream_days_by_day ON public.retained_size_stream_days USING btree (day, stream_id);
CREATE INDEX retained_size_stream_dirty ON public.retained_size_stream USING btree (connection_id, stream_id) WHERE dirty;
CREATE INDEX retained_size_stream_filled ON public.retained_size_stream USING btree (connection_name, substr(stream_name, 1, 150)) WHERE 
CASE
    WHEN dirty THEN true
    ELSE (record_history_count > 0)
END;
CREATE INDEX retained_size_stream_times_unknown ON public.retained_size_stream USING btree (connection_id) WHERE record_times_unknown;
CREATE UNIQUE INDEX streams_connection_id_name ON public.streams USING btree (connection_id, name);
CREATE UNIQUE INDEX tokens_digest ON public.tokens USING btree (digest);
CREATE UNIQUE INDEX unclaimed_files_connection_id_stream_name_key_sha256 ON public.unclaimed_files USING btree (connection_id, stream_name, key, sha256);
CREATE INDEX unclaimed_files_sha256 ON public.unclaimed_files USING btree (sha256);
ALTER TABLE ONLY public.blob_bindings
    ADD CONSTRAINT blob_bindings_sha256_fkey FOREIGN KEY (sha256) REFERENCES public.blobs(sha256) ON DELETE RESTRICT;
ALTER TABLE ONLY public.blob_bindings
    ADD CONSTRAINT blob_bindings_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES public.streams(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.blob_chunks
    ADD CONSTRAINT blob_chunks_sha256_fkey FOREIGN KEY (sha256) REFERENCES public.blobs(sha256) ON DELETE CASCADE;
ALTER TABLE ONLY public.connection_contacts
    ADD CONSTRAINT connection_contacts_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connections(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.connector_states
    ADD CONSTRAINT connector_states_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connections(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.key_spellings
    ADD CONSTRAINT key_spellings_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES public.streams(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.record_changes
    ADD CONSTRAINT record_changes_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES public.streams(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.records
    ADD CONSTRAINT records_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES public.streams(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.retained_size_connection
    ADD CONSTRAINT retained_size_connection_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connections(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.retained_size_connection_days
    ADD CONSTRAINT retained_size_connection_days_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connections(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.retained_size_record_counts
    ADD CONSTRAINT retained_size_record_counts_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES public.streams(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.retained_size_record_recounts
    ADD CONSTRAINT retained_size_record_recounts_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES public.streams(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.retained_size_record
    ADD CONSTRAINT retained_size_record_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES public.streams(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.retained_size_recounts
    ADD CONSTRAINT retained_size_recounts_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES public.streams(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.retained_size_stream
    ADD CONSTRAINT retained_size_stream_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connections(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.retained_size_stream_days
    ADD CONSTRAINT retained_size_stream_days_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES public.streams(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.retained_size_stream
    ADD CONSTRAINT retained_size_stream_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES public.streams(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.retention_rules
    ADD CONSTRAINT retention_rules_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES public.streams(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.streams
    ADD CONSTRAINT streams_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connections(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.unclaimed_files
    ADD CONSTRAINT unclaimed_files_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connections(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.unclaimed_files
    ADD CONSTRAINT unclaimed_files_sha256_fkey FOREIGN KEY (sha256) REFERENCES public.blobs(sha256) ON DELETE RESTRICT;

-- Version 4: docs, in the same transactions as tasks.
--
-- Whoever reads a set to decide on it, or writes it or its docs, locks its row first: so the docs of a locked set
-- stay as they are. A batch that names no docs calls none of these functions and touches none of these tables.

CREATE TABLE raftq.doc_set (
    version bigint NOT NULL,
    at bigint NOT NULL,                 -- end of the lease, ms since the epoch
    modified bigint NOT NULL,
    docs bigint NOT NULL,               -- how many are in it, and
    doc_bytes bigint NOT NULL,          -- the bytes of their values
    forget_at bigint,                   -- when the lock is of no use any more; NULL: docs are in it
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    claimant text COLLATE "C" NOT NULL, -- '': nobody
    CONSTRAINT doc_set_pkey PRIMARY KEY (namespace, key)
) WITH (
    fillfactor = 60,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX doc_set_forget ON raftq.doc_set (forget_at) WHERE forget_at IS NOT NULL;

CREATE TABLE raftq.doc (
    created bigint NOT NULL,
    modified bigint NOT NULL,
    kind smallint NOT NULL,             -- 0: the value is JSON text, 1: bytes
    namespace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    secondary_key text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    CONSTRAINT doc_pkey PRIMARY KEY (namespace, id)
) WITH (
    fillfactor = 60,
    toast_tuple_target = 512,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX doc_order ON raftq.doc (namespace, key, secondary_key, id);

ALTER TABLE raftq.node ADD COLUMN empty_sets bigint NOT NULL DEFAULT 0;

-- Forgets the locks of sets without docs whose time has come, and the oldest that nobody holds where there are more
-- than p_kept_max; the node's row (session 0: that of the gone) counts them. Gives how many.
CREATE FUNCTION raftq.forget_sets(p_session bigint, p_now bigint, p_set_bytes bigint, p_kept_max bigint)
RETURNS bigint LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off
AS $$
DECLARE
    v_late bigint := (SELECT sum(n.empty_sets) FROM raftq.node n) - p_kept_max;
    v_count bigint;
    v_bytes bigint;
BEGIN
    IF v_late <= 0 AND NOT EXISTS (SELECT FROM raftq.doc_set s WHERE s.forget_at <= p_now) THEN
        RETURN 0;
    END IF;
    WITH due AS (
        SELECT s.namespace, s.key FROM raftq.doc_set s WHERE s.forget_at <= p_now
        ORDER BY s.forget_at LIMIT 5000 FOR UPDATE SKIP LOCKED
    ), late AS (
        SELECT s.namespace, s.key FROM raftq.doc_set s
        WHERE s.forget_at > p_now AND (s.claimant = '' OR s.at <= p_now)
        ORDER BY s.forget_at LIMIT least(greatest(v_late, 0), 5000) FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM raftq.doc_set s USING (SELECT * FROM due UNION ALL SELECT * FROM late) AS n
        WHERE s.namespace = n.namespace AND s.key = n.key
        RETURNING p_set_bytes + char_length(s.key) AS bytes)
    SELECT count(*), coalesce(sum(gone.bytes), 0) INTO v_count, v_bytes FROM gone;
    IF v_count = 0 THEN
        RETURN 0;
    END IF;
    UPDATE raftq.node n SET empty_sets = n.empty_sets - v_count, value_bytes = n.value_bytes - v_bytes
        WHERE n.session = p_session;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'node session % is gone', p_session USING ERRCODE = 'RQ001';
    END IF;
    RETURN v_count;
END $$;

-- Locks and gives what a batch may look at of docs, in the columns of gather, which is to be called after it:
--   6  a set that was named, or that of a named doc: queue = namespace, id = key, seq = version, at, claimant,
--      modified, created = count of its docs, serial = bytes of their values
--   7  a doc that was named, or one of a set that was named with its docs: queue = namespace, id, claimant = key,
--      err = secondary key, value, kind, created, modified
--   8  the head, once: head = {sets without docs, is_dirty}
CREATE FUNCTION raftq.gather_docs(
    p_session bigint,
    p_clock_ms bigint,          -- NULL: the database's clock
    p_known_ms bigint,
    p_doc_spaces text[],        -- docs that are named: namespaces
    p_doc_ids text[],           -- and ids
    p_set_spaces text[],        -- sets that are named: namespaces
    p_set_keys text[],          -- and keys,
    p_set_wholes boolean[],     -- and whether with all of their docs
    p_row_bytes bigint,         -- that a doc counts for beside its value, in
    p_set_bytes_max bigint,     -- the most that the docs of one set may be to be given, and
    p_all_bytes_max bigint,     -- those of all sets together
    p_lock_bytes bigint,        -- that a set counts for
    p_empty_kept_max bigint     -- sets without docs that are kept
) RETURNS TABLE (
    what integer, seq bigint, is_ready boolean, head bigint[],
    id text, version integer, queue text, at bigint, value bytea, kind smallint, claimant text, claims integer,
    attempt integer, priority integer, err bytea, created bigint, modified bigint, serial bigint
) LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off SET lock_timeout = '5s'
AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := greatest(p_known_ms, coalesce(p_clock_ms, raftq.clock_ms()));
    v_dirty bigint;
    v_spaces text[];
    v_keys text[];
    v_locked_spaces text[];
    v_locked_keys text[];
    v_bytes bigint;
BEGIN
    v_dirty := raftq.forget_sets(p_session, v_now, p_lock_bytes, p_empty_kept_max);
    -- A named doc may have come to be in another set while this waited for its locks: then once more. Given is what
    -- was locked and nothing else; a doc whose set was not given is not there.
    LOOP
        SELECT array_agg(n.namespace ORDER BY n.namespace, n.key), array_agg(n.key ORDER BY n.namespace, n.key)
            INTO v_spaces, v_keys FROM (
                SELECT * FROM unnest(p_set_spaces, p_set_keys) AS s (namespace, key)
                UNION
                SELECT d.namespace, d.key FROM unnest(p_doc_spaces, p_doc_ids) AS m (namespace, id)
                    JOIN raftq.doc d ON d.namespace = m.namespace AND d.id = m.id
            ) AS n (namespace, key);
        EXIT WHEN v_keys IS NULL OR (v_spaces = v_locked_spaces AND v_keys = v_locked_keys);
        RETURN QUERY SELECT 6, s.version, false, NULL::bigint[], s.key, 0, s.namespace, s.at, ''::bytea,
            0::smallint, s.claimant, 0, 0, 0, ''::bytea, s.docs, s.modified, s.doc_bytes
            FROM unnest(v_spaces, v_keys) AS n (namespace, key)
            JOIN raftq.doc_set s ON s.namespace = n.namespace AND s.key = n.key
            ORDER BY s.namespace, s.key FOR UPDATE OF s;
        v_locked_spaces := v_spaces;
        v_locked_keys := v_keys;
    END LOOP;
    RETURN QUERY SELECT 7, 0::bigint, false, NULL::bigint[], d.id, 0, d.namespace, 0::bigint, d.value, d.kind,
        d.key, 0, 0, 0, convert_to(d.secondary_key, 'UTF8'), d.created, d.modified, 0::bigint
        FROM unnest(p_doc_spaces, p_doc_ids) AS m (namespace, id)
        JOIN raftq.doc d ON d.namespace = m.namespace AND d.id = m.id;
    IF true = ANY (p_set_wholes) THEN
        SELECT sum(s.doc_bytes + p_row_bytes * s.docs) INTO v_bytes
            FROM unnest(p_set_spaces, p_set_keys, p_set_wholes) AS n (namespace, key, is_whole)
            JOIN raftq.doc_set s ON s.namespace = n.namespace AND s.key = n.key
            WHERE n.is_whole AND s.doc_bytes + p_row_bytes * s.docs <= p_set_bytes_max;
        IF v_bytes > p_all_bytes_max THEN
            RAISE EXCEPTION 'the docs of these sets have % bytes', v_bytes USING ERRCODE = 'RQ002';
        END IF;
        RETURN QUERY SELECT 7, 0::bigint, false, NULL::bigint[], d.id, 0, d.namespace, 0::bigint, d.value, d.kind,
            d.key, 0, 0, 0, convert_to(d.secondary_key, 'UTF8'), d.created, d.modified, 0::bigint
            FROM unnest(p_set_spaces, p_set_keys, p_set_wholes) AS n (namespace, key, is_whole)
            JOIN raftq.doc_set s ON s.namespace = n.namespace AND s.key = n.key
            JOIN raftq.doc d ON d.namespace = s.namespace AND d.key = s.key
            WHERE n.is_whole AND s.doc_bytes + p_row_bytes * s.docs <= p_set_bytes_max;
    END IF;
    RETURN QUERY SELECT 8, 0::bigint, false,
        ARRAY[(SELECT sum(n.empty_sets) FROM raftq.node n)::bigint, least(v_dirty, 1)],
        ''::text, 0, ''::text, 0::bigint, ''::bytea, 0::smallint, ''::text, 0, 0, 0, ''::bytea, 0::bigint,
        0::bigint, 0::bigint;
END $$;

-- Writes what came of a batch in docs, before store does the rest.
CREATE FUNCTION raftq.store_docs(
    p_session bigint,
    p_empty_sets bigint,        -- how many more there are
    g_set_space text[], g_set_key text[],
    g_doc_space text[], g_doc_id text[],
    s_is_new boolean[], s_space text[], s_key text[], s_version bigint[], s_claimant text[], s_at bigint[],
    s_modified bigint[], s_docs bigint[], s_doc_bytes bigint[], s_forget_at bigint[],
    d_is_new boolean[], d_space text[], d_id text[], d_key text[], d_secondary_key text[], d_value bytea[],
    d_kind smallint[], d_created bigint[], d_modified bigint[]
) RETURNS void LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off SET lock_timeout = '5s'
AS $$
BEGIN
    IF cardinality(g_set_key) > 0 THEN
        DELETE FROM raftq.doc_set s USING unnest(g_set_space, g_set_key) AS n (namespace, key)
            WHERE s.namespace = n.namespace AND s.key = n.key;
    END IF;
    IF cardinality(g_doc_id) > 0 THEN
        DELETE FROM raftq.doc d USING unnest(g_doc_space, g_doc_id) AS n (namespace, id)
            WHERE d.namespace = n.namespace AND d.id = n.id;
    END IF;
    IF false = ANY (s_is_new) THEN
        UPDATE raftq.doc_set s
            SET version = n.version, claimant = n.claimant, at = n.at, modified = n.modified, docs = n.docs,
                doc_bytes = n.doc_bytes, forget_at = n.forget_at
            FROM unnest(s_is_new, s_space, s_key, s_version, s_claimant, s_at, s_modified, s_docs, s_doc_bytes,
                s_forget_at)
                AS n (is_new, namespace, key, version, claimant, at, modified, docs, doc_bytes, forget_at)
            WHERE NOT n.is_new AND s.namespace = n.namespace AND s.key = n.key;
    END IF;
    IF true = ANY (s_is_new) THEN
        INSERT INTO raftq.doc_set
                (namespace, key, version, claimant, at, modified, docs, doc_bytes, forget_at)
            SELECT n.namespace, n.key, n.version, n.claimant, n.at, n.modified, n.docs, n.doc_bytes, n.forget_at
            FROM unnest(s_is_new, s_space, s_key, s_version, s_claimant, s_at, s_modified, s_docs, s_doc_bytes,
                s_forget_at)
                AS n (is_new, namespace, key, version, claimant, at, modified, docs, doc_bytes, forget_at)
            WHERE n.is_new;
    END IF;
    IF false = ANY (d_is_new) THEN
        UPDATE raftq.doc d
            SET key = n.key, secondary_key = n.secondary_key, value = n.value, kind = n.kind,
                created = n.created, modified = n.modified
            FROM unnest(d_is_new, d_space, d_id, d_key, d_secondary_key, d_value, d_kind, d_created, d_modified)
                AS n (is_new, namespace, id, key, secondary_key, value, kind, created, modified)
            WHERE NOT n.is_new AND d.namespace = n.namespace AND d.id = n.id;
    END IF;
    IF true = ANY (d_is_new) THEN
        INSERT INTO raftq.doc (namespace, id, key, secondary_key, value, kind, created, modified)
            SELECT n.namespace, n.id, n.key, n.secondary_key, n.value, n.kind, n.created, n.modified
            FROM unnest(d_is_new, d_space, d_id, d_key, d_secondary_key, d_value, d_kind, d_created, d_modified)
                AS n (is_new, namespace, id, key, secondary_key, value, kind, created, modified)
            WHERE n.is_new;
    END IF;
    IF p_empty_sets <> 0 THEN
        UPDATE raftq.node n SET empty_sets = n.empty_sets + p_empty_sets WHERE n.session = p_session;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'node session % is gone', p_session USING ERRCODE = 'RQ001';
        END IF;
    END IF;
END $$;

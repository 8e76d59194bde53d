-- Version 2: the two functions through which every batch of operations goes.
--
-- gather locks and gives what a batch of operations may look at; the node then runs the state machine on
-- exactly that; store writes what came of it. Both in one transaction. Locks are taken in one order (queues,
-- tasks by id, tasks by integer id), and what is only a candidate is never waited for.

CREATE FUNCTION raftq.clock_ms() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

-- Rows come with "what" first:
--   0  the head, once: head = {now_ms, settings_version, seq_block, tasks, value_bytes, keys, key_bytes,
--      next_due_ms (-1: none, -2: not looked for), nodes, log_index, log_ms, is_dirty}
--   1  a task that was named by id or integer id       2  one that may be claimed, or has arrived;
--      head = {pos} where it may be at random
--   3  an idempotency record: id = key, err = mark, at = expires_at, seq = bytes, value = outcome
--   4  a queue that gives integer ids: queue, serial = next_serial, is_ready = serial_born
--   5  a queue that is about to give its first one: queue, seq = count of its tasks
CREATE FUNCTION raftq.gather(
    p_session bigint,
    p_is_alone boolean,         -- wait for all other batches, and let none begin: settings change
    p_clock_ms bigint,          -- NULL: the database's clock
    p_known_ms bigint,          -- time does not go back behind this
    p_ids text[],               -- tasks that are named
    p_settle_queues text[],     -- tasks that are named by integer id, and
    p_settle_serials bigint[],
    p_numbering text[],         -- queues that may give integer ids, sorted; and
    p_numbering_inserts boolean[], -- whether to a new task
    p_claim_queues text[],      -- queues that are claimed from, and
    p_claim_counts integer[],   -- how many tasks at most, and
    p_claim_orders text[],      -- and their orders,
    p_claim_starts bigint[],    -- where to begin in one at random, and
    p_claim_lanes bigint[],     -- places before which nothing is ready, for certain: dead rows
    p_claim_floors bigint[],    -- there, which a long transaction keeps from being removed, are not looked at
    p_waiting_floor bigint,     -- a time before which nothing waits, for the same reason
    p_wants_due boolean,        -- whether to look for the next arrival
    p_keys text[]
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
    v_now bigint;
    v_log_ms bigint;
    v_nodes bigint;
    v_totals bigint[];
    v_version bigint;
    v_dirty bigint := 0;
    v_due bigint;
    v_named text[] := p_ids;
    v_found bigint;
    v_bytes bigint;
    i integer;
BEGIN
    IF p_is_alone THEN
        PERFORM pg_advisory_xact_lock(7677, 'raftq.state'::regclass::oid::integer);
    ELSE
        PERFORM pg_advisory_xact_lock_shared(7677, 'raftq.state'::regclass::oid::integer);
    END IF;
    SELECT s.settings_version INTO v_version FROM raftq.state s;
    SELECT max(n.now_ms), count(*) - 1,
           ARRAY[sum(n.tasks), sum(n.value_bytes), sum(n.keys), sum(n.key_bytes)]::bigint[]
        INTO v_log_ms, v_nodes, v_totals FROM raftq.node n;
    v_log_ms := greatest(v_log_ms, p_known_ms);
    v_now := greatest(v_log_ms, coalesce(p_clock_ms, raftq.clock_ms()));

    -- Keys whose window has passed. Others that do the same take the rest.
    WITH old AS (
        DELETE FROM raftq.key k WHERE k.key IN (
            SELECT e.key FROM raftq.key e WHERE e.expires_at <= v_now
            ORDER BY e.expires_at LIMIT 5000 FOR UPDATE SKIP LOCKED)
        RETURNING k.bytes)
    SELECT count(*), coalesce(sum(old.bytes), 0) INTO v_found, v_bytes FROM old;
    IF v_found > 0 THEN
        v_dirty := 1;
        UPDATE raftq.node n SET keys = n.keys - v_found, key_bytes = n.key_bytes - v_bytes
            WHERE n.session = p_session;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'node session % is gone', p_session USING ERRCODE = 'RQ001';
        END IF;
        v_totals := ARRAY[v_totals[1], v_totals[2], v_totals[3] - v_found, v_totals[4] - v_bytes];
    END IF;

    IF cardinality(p_numbering) > 0 THEN
        RETURN QUERY SELECT 4, 0::bigint, q.serial_born, NULL::bigint[], ''::text, 0, q.name, 0::bigint,
            ''::bytea, 0::smallint, ''::text, 0, 0, 0, ''::bytea, 0::bigint, 0::bigint, q.next_serial
            FROM raftq.queue q WHERE q.name = ANY (p_numbering) ORDER BY q.name FOR UPDATE;
        RETURN QUERY SELECT 5, (SELECT count(*) FROM raftq.task t WHERE t.queue = n.name), false,
            NULL::bigint[], ''::text, 0, n.name, 0::bigint, ''::bytea, 0::smallint, ''::text, 0, 0, 0,
            ''::bytea, 0::bigint, 0::bigint, 0::bigint
            FROM unnest(p_numbering, p_numbering_inserts) AS n (name, is_insert)
            WHERE n.is_insert AND NOT EXISTS (SELECT FROM raftq.queue q WHERE q.name = n.name);
    END IF;

    IF cardinality(p_ids) > 0 THEN
        RETURN QUERY SELECT 1, t.seq, t.lane IS NOT NULL, ARRAY[t.pos], t.id, t.version, t.queue, t.at,
            t.value, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err, t.created, t.modified, t.serial
            FROM raftq.task t WHERE t.id = ANY (p_ids) ORDER BY t.id FOR UPDATE;
    END IF;

    IF cardinality(p_settle_queues) > 0 THEN
        RETURN QUERY SELECT 1, t.seq, t.lane IS NOT NULL, ARRAY[t.pos], t.id, t.version, t.queue, t.at,
            t.value, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err, t.created, t.modified, t.serial
            FROM unnest(p_settle_queues, p_settle_serials) AS n (queue, serial)
            JOIN raftq.task t ON t.queue = n.queue AND t.serial = n.serial AND t.serial > 0
            FOR UPDATE OF t;
    END IF;

    FOR i IN 1 .. cardinality(p_claim_queues) LOOP
        IF p_claim_orders[i] <> 'random' THEN
            RETURN QUERY SELECT 2, t.seq, true, NULL::bigint[], t.id, t.version, t.queue, t.at,
                t.value, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err, t.created, t.modified, t.serial
                FROM raftq.task t
                WHERE t.queue = p_claim_queues[i] AND t.lane IS NOT NULL AND NOT (t.id = ANY (p_ids))
                    AND (t.lane, t.pos) >= (p_claim_lanes[i], p_claim_floors[i])
                ORDER BY t.lane, t.pos LIMIT p_claim_counts[i] FOR UPDATE SKIP LOCKED;
            CONTINUE;
        END IF;
        RETURN QUERY SELECT 2, t.seq, true, ARRAY[t.pos], t.id, t.version, t.queue, t.at,
            t.value, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err, t.created, t.modified, t.serial
            FROM raftq.task t
            WHERE t.queue = p_claim_queues[i] AND t.lane = 0 AND t.pos >= p_claim_starts[i]
                AND NOT (t.id = ANY (p_ids))
            ORDER BY t.pos LIMIT p_claim_counts[i] FOR UPDATE SKIP LOCKED;
        GET DIAGNOSTICS v_found = ROW_COUNT;
        IF v_found < p_claim_counts[i] THEN
            RETURN QUERY SELECT 2, t.seq, true, ARRAY[t.pos], t.id, t.version, t.queue, t.at,
                t.value, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err, t.created, t.modified, t.serial
                FROM raftq.task t
                WHERE t.queue = p_claim_queues[i] AND t.lane = 0
                    AND t.pos >= p_claim_floors[i] AND t.pos < p_claim_starts[i]
                    AND NOT (t.id = ANY (p_ids))
                ORDER BY t.pos LIMIT p_claim_counts[i] - v_found FOR UPDATE SKIP LOCKED;
        END IF;
    END LOOP;

    RETURN QUERY SELECT 2, t.seq, false, NULL::bigint[], t.id, t.version, t.queue, t.at,
        t.value, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err, t.created, t.modified, t.serial
        FROM raftq.task t
        WHERE t.lane IS NULL AND t.at > p_waiting_floor AND t.at <= v_now AND NOT (t.id = ANY (p_ids))
        ORDER BY t.at LIMIT 1000 FOR UPDATE SKIP LOCKED;
    IF p_wants_due OR p_waiting_floor < 0 THEN
        SELECT t.at INTO v_due FROM raftq.task t
            WHERE t.lane IS NULL AND t.at > v_now ORDER BY t.at LIMIT 1;
    END IF;

    IF cardinality(p_keys) > 0 THEN
        RETURN QUERY SELECT 3, k.bytes::bigint, false, NULL::bigint[], k.key, 0, ''::text, k.expires_at,
            k.outcome, 0::smallint, ''::text, 0, 0, 0, k.mark, 0::bigint, 0::bigint, 0::bigint
            FROM raftq.key k WHERE k.key = ANY (p_keys) AND k.expires_at > v_now ORDER BY k.expires_at;
    END IF;

    RETURN QUERY SELECT 0, 0::bigint, false,
        ARRAY[v_now, v_version, nextval('raftq.seq_block')]
            || v_totals
            || ARRAY[coalesce(v_due, CASE WHEN p_wants_due OR p_waiting_floor < 0 THEN -1 ELSE -2 END), v_nodes, (SELECT l.last_value FROM raftq.log_index l), v_log_ms, v_dirty],
        ''::text, 0, ''::text, 0::bigint, ''::bytea, 0::smallint, ''::text, 0, 0, 0, ''::bytea, 0::bigint,
        0::bigint, 0::bigint;
END $$;

-- Writes what came of a batch; gives {log_index, tasks, value_bytes, keys, key_bytes}, the totals after it.
CREATE FUNCTION raftq.store(
    p_session bigint, p_batch bigint, p_now_ms bigint, p_tasks bigint, p_value_bytes bigint,
    d_id text[],
    -- tasks that only changed hands or times
    u_id text[], u_version integer[], u_at bigint[], u_lane bigint[], u_pos bigint[], u_claimant text[],
    u_claims integer[], u_modified bigint[], u_serial bigint[],
    -- tasks that are deleted and written anew, or new
    i_id text[], i_seq bigint[], i_lane bigint[], i_pos bigint[], i_version integer[], i_queue text[], i_at bigint[],
    i_value bytea[], i_kind smallint[], i_claimant text[], i_claims integer[], i_attempt integer[],
    i_priority integer[], i_err bytea[], i_created bigint[], i_modified bigint[], i_serial bigint[],
    k_gone text[], k_key text[], k_mark bytea[], k_expires_at bigint[], k_bytes integer[], k_outcome bytea[],
    q_name text[], q_next_serial bigint[], q_serial_born boolean[],
    p_channel text, p_news text[]
) RETURNS bigint[] LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_keys bigint := 0;
    v_key_bytes bigint := 0;
    v_version bigint;
    v_totals bigint[];
BEGIN
    IF cardinality(d_id) > 0 THEN
        DELETE FROM raftq.task WHERE id = ANY (d_id);
    END IF;
    IF cardinality(u_id) > 0 THEN
        UPDATE raftq.task t
            SET version = n.version, at = n.at, lane = n.lane, pos = n.pos, claimant = n.claimant,
                claims = n.claims, modified = n.modified, serial = n.serial
            FROM unnest(u_id, u_version, u_at, u_lane, u_pos, u_claimant, u_claims, u_modified, u_serial)
                AS n (id, version, at, lane, pos, claimant, claims, modified, serial)
            WHERE t.id = n.id;
    END IF;
    IF cardinality(i_id) > 0 THEN
        INSERT INTO raftq.task (id, seq, lane, pos, version, queue, at, value, kind, claimant, claims,
            attempt, priority, err, created, modified, serial)
            SELECT * FROM unnest(i_id, i_seq, i_lane, i_pos, i_version, i_queue, i_at, i_value, i_kind,
                i_claimant, i_claims, i_attempt, i_priority, i_err, i_created, i_modified, i_serial);
    END IF;
    IF cardinality(k_gone) > 0 THEN
        WITH gone AS (DELETE FROM raftq.key WHERE key = ANY (k_gone) RETURNING bytes)
        SELECT -count(*), -coalesce(sum(bytes), 0) INTO v_keys, v_key_bytes FROM gone;
    END IF;
    IF cardinality(k_key) > 0 THEN
        INSERT INTO raftq.key (key, mark, expires_at, bytes, outcome)
            SELECT * FROM unnest(k_key, k_mark, k_expires_at, k_bytes, k_outcome);
        v_keys := v_keys + cardinality(k_key);
        v_key_bytes := v_key_bytes + (SELECT sum(b) FROM unnest(k_bytes) AS n (b));
    END IF;
    IF cardinality(q_name) > 0 THEN
        UPDATE raftq.queue q SET next_serial = n.next_serial
            FROM unnest(q_name, q_next_serial) AS n (name, next_serial) WHERE q.name = n.name;
        IF EXISTS (SELECT FROM unnest(q_name) AS n (name)
                WHERE NOT EXISTS (SELECT FROM raftq.queue q WHERE q.name = n.name)) THEN
            UPDATE raftq.state SET settings_version = settings_version + 1
                RETURNING settings_version INTO v_version;
            INSERT INTO raftq.queue (name, next_serial, serial_born, version)
                SELECT n.*, v_version
                FROM unnest(q_name, q_next_serial, q_serial_born) AS n (name, next_serial, serial_born)
                WHERE NOT EXISTS (SELECT FROM raftq.queue q WHERE q.name = n.name);
        END IF;
    END IF;
    UPDATE raftq.node SET batch = p_batch, now_ms = p_now_ms, tasks = tasks + p_tasks,
        value_bytes = value_bytes + p_value_bytes, keys = keys + v_keys, key_bytes = key_bytes + v_key_bytes,
        seen_at = now()
        WHERE session = p_session;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'node session % is gone', p_session USING ERRCODE = 'RQ001';
    END IF;
    IF cardinality(p_news) > 0 THEN
        PERFORM pg_notify(p_channel, n.news) FROM unnest(p_news) AS n (news);
    END IF;
    SELECT ARRAY[sum(tasks), sum(value_bytes), sum(keys), sum(key_bytes)]::bigint[]
        INTO v_totals FROM raftq.node;
    RETURN nextval('raftq.log_index') || v_totals;
END $$;

-- Version 6: counts of queues, kept as tasks come and go; and nothing that is found by searching past dead rows.
--
-- Beside a transaction that stays open nothing dead is removed. A row that is changed with every batch has a
-- million dead versions after an hour, and whoever looks for it by its key meets all of them. So such rows are made anew under
-- a number that grows (share, tally), or have one in their index (queue), and are looked for from the
-- greatest number down. Where a search begins at the small end (ready, waiting and expiring rows), nodes know a place
-- before which nothing lives ("floors"), also when there are several nodes.

-- A node's share of all counts, as of its last batch. What is counted in "node" is added to it.
CREATE TABLE raftq.share (
    session bigint NOT NULL,
    batch bigint NOT NULL,              -- grows by one
    now_ms bigint NOT NULL,             -- the last time that it used
    seq_block bigint NOT NULL,          -- and the last insertion numbers
    tasks bigint NOT NULL,
    value_bytes bigint NOT NULL,
    keys bigint NOT NULL,
    key_bytes bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT share_pkey PRIMARY KEY (session, batch)
) WITH (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

-- A node's share of the counts of a queue. Newest first: so one descent finds the next queue, whatever is dead.
CREATE TABLE raftq.tally (
    session bigint NOT NULL,
    batch bigint NOT NULL,
    tasks bigint NOT NULL,
    ready bigint NOT NULL,
    held bigint NOT NULL,               -- claimed, and the lease has not ended
    claims bigint[] NOT NULL,           -- number of claims, how many tasks have it, and so on
    queue text COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

CREATE UNIQUE INDEX tally_order ON raftq.tally (session, queue, batch DESC);

-- Where tasks became ready before places that other nodes may hold for dead; kept for a minute.
CREATE TABLE raftq.returned (
    session bigint NOT NULL,
    batch bigint NOT NULL,
    lane bigint NOT NULL,
    pos bigint NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    queue text COLLATE "C" NOT NULL,
    CONSTRAINT returned_pkey PRIMARY KEY (session, batch, queue)
) WITH (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

-- When the oldest of a queue arrived.
-- (By its condition no plan for anything else can use it.)
CREATE INDEX task_age ON raftq.task (queue, at) WHERE lane IS NOT NULL AND at >= 0;

-- Numbers of a queue: the newest version of its row stands last.
ALTER TABLE raftq.queue DROP CONSTRAINT queue_pkey;
CREATE UNIQUE INDEX queue_last ON raftq.queue (name, next_serial);

-- What programs inserted and no node has counted yet, by transaction: all below the oldest that runs are counted.
DROP TABLE raftq.inserted;
CREATE TABLE raftq.inserted (
    xid bigint NOT NULL DEFAULT txid_current(),
    number bigint GENERATED ALWAYS AS IDENTITY,
    at bigint NOT NULL,
    value_bytes bigint NOT NULL,
    queue text COLLATE "C" NOT NULL,
    CONSTRAINT inserted_pkey PRIMARY KEY (number)
) WITH (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX inserted_order ON raftq.inserted (xid);

ALTER TABLE raftq.node ADD COLUMN version text NOT NULL DEFAULT '';

-- The server's, when a node looked last; 0: nobody has.
ALTER TABLE raftq.state ADD COLUMN timeline bigint NOT NULL DEFAULT 0;

-- What there is when this comes to be is the share of those that are gone.
INSERT INTO raftq.share (session, batch, now_ms, seq_block, tasks, value_bytes, keys, key_bytes)
    SELECT 0, 0, 0, 0, 0, 0, 0, 0;
UPDATE raftq.node SET
    now_ms = (SELECT max(n.now_ms) FROM raftq.node n),
    tasks = (SELECT count(*) FROM raftq.task),
    value_bytes = (SELECT sum(n.value_bytes) FROM raftq.node n),
    keys = (SELECT sum(n.keys) FROM raftq.node n),
    key_bytes = (SELECT sum(n.key_bytes) FROM raftq.node n)
    WHERE session = 0;
DELETE FROM raftq.node WHERE session <> 0;
-- Counts all queues anew, as the share of those that are gone, when no other node has one.
CREATE FUNCTION raftq.recount() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_batch bigint := (SELECT max(h.batch) FROM raftq.share h WHERE h.session = 0);
BEGIN
    DELETE FROM raftq.tally;
    WITH claimed AS (
        SELECT t.queue, t.claims::bigint AS claims, count(*) AS tasks FROM raftq.task t
        WHERE t.claims > 0 GROUP BY t.queue, t.claims
    ), numbers AS (
        SELECT c.queue, array_agg(x.v ORDER BY c.claims, x.o) AS claims
        FROM claimed c CROSS JOIN LATERAL (VALUES (0, c.claims), (1, c.tasks)) AS x (o, v) GROUP BY c.queue)
    INSERT INTO raftq.tally (session, batch, tasks, ready, held, claims, queue)
        SELECT 0, v_batch, count(*), count(t.lane), count(*) FILTER (WHERE t.lane IS NULL AND t.claimant <> '' AND t.version > 0),
            coalesce((SELECT n.claims FROM numbers n WHERE n.queue = t.queue), '{}'), t.queue
        FROM raftq.task t GROUP BY t.queue;
END $$;
SELECT raftq.recount();

CREATE FUNCTION raftq.lock_of(p_session bigint) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT (p_session & 2147483647)::integer $$;

DROP FUNCTION raftq.gather;
DROP FUNCTION raftq.store;

-- As in version 2. Further rows:
--   9  what another node made ready: queue, head = {lane, pos}
--   10 a life of another node: seq = session, at = its last batch
--   11 where in a queue that is claimed from the living begin: queue, head = {lane, pos}, NULL if nothing is ready
--   12 what programs inserted and is counted by this batch: queue, seq = tasks, at = bytes
-- The head goes on: server (which changes when another one answers), bound_ms and bound_block (see below), the floors
-- of waiting tasks and of keys that are certain now, keys and key_bytes that were taken away, floor of p_taken_floor's kind.
CREATE FUNCTION raftq.gather(
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
    p_claim_draws float8[],     -- at random in [0, 1): where to begin,
    p_claim_lanes bigint[],     -- places before which nothing is ready, for certain: dead rows
    p_claim_floors bigint[],    -- there, which a long transaction keeps from being removed, are not looked at
    p_claim_learns boolean[],   -- and whether to say from where on something is ready
    p_waiting_floor bigint,     -- a time before which nothing waits, for the same reason
    p_key_floor bigint,         -- a time before which no idempotency record expires
    p_wants_due boolean,        -- whether to look for the next arrival
    p_keys text[],
    p_session bigint,
    p_seen_sessions bigint[],   -- lives of nodes, and
    p_seen_batches bigint[],    -- their last batches, as of which the floors are true
    p_takes_over boolean,       -- whether a batch is to follow: then what programs inserted is counted, of transactions
    p_taken_floor bigint        -- not before this one
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
    v_found bigint;
    v_keys_gone bigint := 0;
    v_key_bytes_gone bigint := 0;
    v_key_floor bigint := p_key_floor;
    v_waiting_floor bigint := p_waiting_floor;
    v_learned_waiting bigint;
    v_block bigint;
    v_bound_ms bigint;
    v_bound_block bigint;
    v_is_there boolean;
    v_sessions bigint[];     -- of the others
    v_batches bigint[];
    v_times bigint[];
    v_blocks bigint[];
    v_has_returned boolean := false;
    v_lane bigint;
    v_pos bigint;
    v_first bigint[];
    v_start bigint;
    v_taken bigint[] := '{}';
    v_taken_xid bigint := p_taken_floor;
    v_oldest bigint;
    i integer;
BEGIN
    IF p_is_alone THEN
        PERFORM pg_advisory_xact_lock(7677, 'raftq.state'::regclass::oid::integer);
    ELSE
        PERFORM pg_advisory_xact_lock_shared(7677, 'raftq.state'::regclass::oid::integer);
    END IF;
    -- Who is at it, for the floors of others: the session is told by the number of the lock.
    PERFORM pg_advisory_xact_lock_shared('raftq.share'::regclass::oid::integer, raftq.lock_of(p_session));
    v_block := nextval('raftq.seq_block');  -- not before the lock: see below
    SELECT s.settings_version INTO v_version FROM raftq.state s;
    SELECT max(greatest(n.now_ms, s.now_ms)), count(*) - 1,
           ARRAY[sum(n.tasks + s.tasks), sum(n.value_bytes + s.value_bytes), sum(n.keys + s.keys),
               sum(n.key_bytes + s.key_bytes)]::bigint[],
           bool_or(n.session = p_session),
           array_agg(n.session) FILTER (WHERE n.session <> p_session),
           array_agg(s.batch) FILTER (WHERE n.session <> p_session),
           array_agg(s.now_ms) FILTER (WHERE n.session <> p_session),
           array_agg(s.seq_block) FILTER (WHERE n.session <> p_session)
        INTO v_log_ms, v_nodes, v_totals, v_is_there, v_sessions, v_batches, v_times, v_blocks
        FROM raftq.node n CROSS JOIN LATERAL (
            SELECT * FROM raftq.share h WHERE h.session = n.session ORDER BY h.batch DESC LIMIT 1) AS s;

    IF p_takes_over AND NOT v_is_there THEN
        RAISE EXCEPTION 'node session % is gone', p_session USING ERRCODE = 'RQ001';
    END IF;

    -- The bound: whatever another node writes and this one does not see yet has this time, and this insertion
    -- number, or later ones. A batch that begins from now on sees the greatest time that was committed above; of one
    -- that has begun, its node's last batch before it tells.
    v_bound_ms := v_log_ms;
    v_bound_block := v_block;
    IF v_nodes > 1 THEN
        SELECT least(v_bound_ms, min(b.now_ms)), least(v_bound_block, min(b.seq_block))
            INTO v_bound_ms, v_bound_block
            FROM unnest(v_sessions, v_times, v_blocks) AS b (session, now_ms, seq_block)
            WHERE raftq.lock_of(b.session) IN (
                SELECT l.objid::bigint FROM pg_locks l
                WHERE l.locktype = 'advisory' AND l.classid = 'raftq.share'::regclass::oid AND l.granted);
    END IF;
    -- Alone, nothing has changed, and none of these questions is asked.
    IF v_sessions <> p_seen_sessions OR v_batches <> p_seen_batches THEN
        RETURN QUERY SELECT 10, b.session, false, NULL::bigint[], ''::text, 0, ''::text, b.batch, ''::bytea,
            0::smallint, ''::text, 0, 0, 0, ''::bytea, 0::bigint, 0::bigint, 0::bigint
            FROM unnest(v_sessions, v_batches) AS b (session, batch);
        RETURN QUERY SELECT 9, 0::bigint, false, ARRAY[r.lane, r.pos], ''::text, 0, r.queue, 0::bigint,
            ''::bytea, 0::smallint, ''::text, 0, 0, 0, ''::bytea, 0::bigint, 0::bigint, 0::bigint
            FROM unnest(v_sessions) AS b (session)
            LEFT JOIN unnest(p_seen_sessions, p_seen_batches) AS n (session, batch) ON n.session = b.session
            CROSS JOIN LATERAL (SELECT * FROM raftq.returned o
                WHERE o.session = b.session AND o.batch > coalesce(n.batch, -1) OFFSET 0) AS r
            ;
        v_has_returned := FOUND;
    END IF;
    v_log_ms := greatest(v_log_ms, p_known_ms);
    v_now := greatest(v_log_ms, coalesce(p_clock_ms, raftq.clock_ms()));

    -- Keys whose window has passed. Others that do the same take the rest.
    SELECT e.expires_at INTO v_oldest FROM raftq.key e
        WHERE e.expires_at > p_key_floor AND e.expires_at <= v_now ORDER BY e.expires_at LIMIT 1;
    v_key_floor := greatest(p_key_floor, least(coalesce(v_oldest - 1, v_now), v_bound_ms));
    IF v_oldest IS NOT NULL THEN
        WITH old AS (
            DELETE FROM raftq.key k WHERE k.key IN (
                SELECT e.key FROM raftq.key e WHERE e.expires_at >= v_oldest AND e.expires_at <= v_now
                ORDER BY e.expires_at LIMIT 5000 FOR UPDATE SKIP LOCKED)
            RETURNING k.bytes)
        SELECT count(*), coalesce(sum(old.bytes), 0) INTO v_keys_gone, v_key_bytes_gone FROM old;
    END IF;
    IF v_keys_gone > 0 THEN
        v_dirty := 1;
        v_totals := ARRAY[v_totals[1], v_totals[2], v_totals[3] - v_keys_gone, v_totals[4] - v_key_bytes_gone];
    END IF;

    FOR i IN 1 .. cardinality(p_numbering) LOOP
        -- The newest version stands last, before all dead ones.
        RETURN QUERY SELECT 4, 0::bigint, q.serial_born, NULL::bigint[], ''::text, 0, q.name, 0::bigint,
            ''::bytea, 0::smallint, ''::text, 0, 0, 0, ''::bytea, 0::bigint, 0::bigint, q.next_serial
            FROM raftq.queue q WHERE q.name = p_numbering[i] ORDER BY q.next_serial DESC LIMIT 1 FOR UPDATE;
        IF NOT FOUND AND p_numbering_inserts[i] THEN
            RETURN QUERY SELECT 5, (SELECT count(*) FROM raftq.task t WHERE t.queue = p_numbering[i]), false,
                NULL::bigint[], ''::text, 0, p_numbering[i], 0::bigint, ''::bytea, 0::smallint, ''::text, 0, 0, 0,
                ''::bytea, 0::bigint, 0::bigint, 0::bigint;
        END IF;
    END LOOP;

    IF cardinality(p_ids) > 0 THEN
        RETURN QUERY SELECT 1, t.seq, t.lane IS NOT NULL, ARRAY[t.pos], t.id, t.version, t.queue, t.at,
            t.value, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err, t.created, t.modified, t.serial
            FROM raftq.task t WHERE t.id = ANY (p_ids) ORDER BY t.id FOR UPDATE;
    END IF;

    IF cardinality(p_settle_queues) > 0 THEN
        RETURN QUERY SELECT 1, t.seq, t.lane IS NOT NULL, ARRAY[t.pos], t.id, t.version, t.queue, t.at,
            t.value, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err, t.created, t.modified, t.serial
            FROM unnest(p_settle_queues, p_settle_serials) AS n (queue, serial) CROSS JOIN LATERAL (
                SELECT * FROM raftq.task o WHERE o.queue = n.queue AND o.serial = n.serial AND o.serial > 0
                LIMIT 1 FOR UPDATE) AS t;
    END IF;

    FOR i IN 1 .. cardinality(p_claim_queues) LOOP
        v_lane := p_claim_lanes[i];
        v_pos := p_claim_floors[i];
        IF v_has_returned AND p_claim_orders[i] <> 'random' THEN
            SELECT f.lane, f.pos INTO v_lane, v_pos FROM (
                SELECT r.lane, r.pos FROM unnest(v_sessions) AS b (session)
                    LEFT JOIN unnest(p_seen_sessions, p_seen_batches) AS n (session, batch) ON n.session = b.session
                    CROSS JOIN LATERAL (SELECT * FROM raftq.returned o
                        WHERE o.session = b.session AND o.batch > coalesce(n.batch, -1) OFFSET 0) AS r
                    WHERE r.queue = p_claim_queues[i]
                UNION ALL SELECT v_lane, v_pos) AS f ORDER BY f.lane, f.pos LIMIT 1;
        END IF;
        IF p_claim_orders[i] <> 'random' THEN
            IF p_claim_learns[i] THEN
                -- Without a lock: what others have locked may yet stay. What is seen first is where the living begin.
                SELECT t.lane, t.pos INTO v_lane, v_pos FROM raftq.task t
                    WHERE t.queue = p_claim_queues[i] AND t.lane IS NOT NULL AND (t.lane, t.pos) >= (v_lane, v_pos)
                    ORDER BY t.lane, t.pos LIMIT 1;
                RETURN QUERY SELECT 11, 0::bigint, false, ARRAY[v_lane, v_pos], ''::text, 0, p_claim_queues[i],
                    0::bigint, ''::bytea, 0::smallint, ''::text, 0, 0, 0, ''::bytea, 0::bigint, 0::bigint, 0::bigint;
                CONTINUE WHEN v_lane IS NULL;
            END IF;
            RETURN QUERY SELECT 2, t.seq, true, NULL::bigint[], t.id, t.version, t.queue, t.at,
                t.value, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err, t.created, t.modified, t.serial
                FROM raftq.task t
                WHERE t.queue = p_claim_queues[i] AND t.lane IS NOT NULL AND NOT (t.id = ANY (p_ids))
                    AND (t.lane, t.pos) >= (v_lane, v_pos)
                ORDER BY t.lane, t.pos LIMIT p_claim_counts[i] FOR UPDATE SKIP LOCKED;
            CONTINUE;
        END IF;
        -- Among up to 64 each is as likely as any other. Of more, a claim in eight begins with one of the oldest, and
        -- the others at a random moment of the time in which they arrived.
        SELECT array_agg(f.pos ORDER BY f.pos) INTO v_first FROM (
            SELECT t.pos FROM raftq.task t
            WHERE t.queue = p_claim_queues[i] AND t.lane = 0 AND t.pos >= v_pos ORDER BY t.pos LIMIT 65) AS f;
        IF p_claim_learns[i] THEN
            RETURN QUERY SELECT 11, 0::bigint, false, ARRAY[CASE WHEN v_first IS NOT NULL THEN 0 END, v_first[1]],
                ''::text, 0, p_claim_queues[i],
                0::bigint, ''::bytea, 0::smallint, ''::text, 0, 0, 0, ''::bytea, 0::bigint, 0::bigint, 0::bigint;
        END IF;
        CONTINUE WHEN v_first IS NULL;
        IF cardinality(v_first) <= 64 THEN
            v_start := v_first[1 + floor(p_claim_draws[i] * cardinality(v_first))::integer];
        ELSIF p_claim_draws[i] < 0.125 THEN
            v_start := v_first[1 + floor(p_claim_draws[i] * 8 * 64)::integer];
        ELSE
            v_start := v_first[1] + floor(
                (p_claim_draws[i] - 0.125) / 0.875 * greatest((v_now << 20) - v_first[1], 0)::float8)::bigint;
        END IF;
        RETURN QUERY SELECT 2, t.seq, true, ARRAY[t.pos], t.id, t.version, t.queue, t.at,
                t.value, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err, t.created, t.modified, t.serial
            FROM raftq.task t
            WHERE t.queue = p_claim_queues[i] AND t.lane = 0 AND t.pos >= v_start
                AND NOT (t.id = ANY (p_ids))
            ORDER BY t.pos LIMIT p_claim_counts[i] FOR UPDATE SKIP LOCKED;
        GET DIAGNOSTICS v_found = ROW_COUNT;
        IF v_found < p_claim_counts[i] AND v_start > v_first[1] THEN
            RETURN QUERY SELECT 2, t.seq, true, ARRAY[t.pos], t.id, t.version, t.queue, t.at,
                t.value, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err, t.created, t.modified, t.serial
                FROM raftq.task t
                WHERE t.queue = p_claim_queues[i] AND t.lane = 0
                    AND t.pos >= v_first[1] AND t.pos < v_start
                    AND NOT (t.id = ANY (p_ids))
                ORDER BY t.pos LIMIT p_claim_counts[i] - v_found FOR UPDATE SKIP LOCKED;
        END IF;
    END LOOP;

    -- What programs inserted comes late: as of the beginning of their transactions.
    IF p_takes_over THEN
        -- What is seen now has ended; what has not has one of these numbers or a later one.
        v_taken_xid := txid_snapshot_xmin(txid_current_snapshot());
    END IF;
    IF p_takes_over AND EXISTS (SELECT FROM raftq.inserted f WHERE f.xid >= p_taken_floor) THEN
        WITH found AS (
            SELECT f.number, f.at FROM raftq.inserted f WHERE f.xid >= p_taken_floor
            ORDER BY f.xid LIMIT 10000 FOR UPDATE SKIP LOCKED)
        SELECT coalesce(array_agg(found.number), '{}'), min(found.at) INTO v_taken, v_oldest FROM found;
        v_waiting_floor := least(v_waiting_floor, v_oldest - 1);
        IF cardinality(v_taken) = 10000 THEN
            v_taken_xid := p_taken_floor;
        END IF;
    END IF;
    SELECT t.at INTO v_oldest FROM raftq.task t
        WHERE t.lane IS NULL AND t.at > v_waiting_floor AND t.at <= v_now ORDER BY t.at LIMIT 1;
    v_learned_waiting := greatest(v_waiting_floor, least(coalesce(v_oldest - 1, v_now), v_bound_ms));
    v_found := 0;
    IF v_oldest IS NOT NULL THEN
        RETURN QUERY SELECT 2, t.seq, false, NULL::bigint[], t.id, t.version, t.queue, t.at,
            t.value, t.kind, t.claimant, t.claims, t.attempt, t.priority, t.err, t.created, t.modified, t.serial
            FROM raftq.task t
            WHERE t.lane IS NULL AND t.at >= v_oldest AND t.at <= v_now AND NOT (t.id = ANY (p_ids))
            ORDER BY t.at LIMIT 1000 FOR UPDATE SKIP LOCKED;
        GET DIAGNOSTICS v_found = ROW_COUNT;
    END IF;
    IF cardinality(v_taken) > 0 THEN
        IF v_found < 1000 THEN  -- or else those that came late might wait for ever: once more
            RETURN QUERY WITH gone AS (
                    DELETE FROM raftq.inserted f WHERE f.number = ANY (v_taken) RETURNING f.queue, f.value_bytes)
                SELECT 12, count(*), false, NULL::bigint[], ''::text, 0, gone.queue, sum(gone.value_bytes)::bigint,
                    ''::bytea, 0::smallint, ''::text, 0, 0, 0, ''::bytea, 0::bigint, 0::bigint, 0::bigint
                FROM gone GROUP BY gone.queue;
            v_dirty := 1;
        ELSE
            v_taken_xid := p_taken_floor;
        END IF;
    END IF;
    IF p_wants_due OR p_waiting_floor < 0 THEN
        SELECT t.at INTO v_due FROM raftq.task t
            WHERE t.lane IS NULL AND t.at > v_now
                -- Leases that were given up have left dead rows there. Nodes look again every second.
                AND t.at <= CASE WHEN p_waiting_floor < 0 THEN 9223372036854775807 ELSE v_now + 2000 END
            ORDER BY t.at LIMIT 1;
    END IF;

    IF cardinality(p_keys) > 0 THEN
        RETURN QUERY SELECT 3, k.bytes::bigint, false, NULL::bigint[], k.key, 0, ''::text, k.expires_at,
            k.outcome, 0::smallint, ''::text, 0, 0, 0, k.mark, 0::bigint, 0::bigint, 0::bigint
            FROM raftq.key k WHERE k.key = ANY (p_keys) AND k.expires_at > v_now ORDER BY k.expires_at;
    END IF;

    RETURN QUERY SELECT 0, 0::bigint, false,
        ARRAY[v_now, v_version, v_block]
            || v_totals
            || ARRAY[coalesce(v_due, CASE WHEN p_wants_due OR p_waiting_floor < 0 THEN -1 ELSE -2 END), v_nodes,
                (SELECT l.last_value FROM raftq.log_index l), v_log_ms, v_dirty,
                (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, v_bound_ms, v_bound_block,
                v_learned_waiting, v_key_floor, v_keys_gone, v_key_bytes_gone, v_taken_xid],
        ''::text, 0, ''::text, 0::bigint, ''::bytea, 0::smallint, ''::text, 0, 0, 0, ''::bytea, 0::bigint,
        0::bigint, 0::bigint;
END $$;

-- Writes what came of a batch; gives {log_index, keys, key_bytes}: by how many records, and bytes of them, there are more.
CREATE FUNCTION raftq.store(
    p_session bigint, p_last_batch bigint, p_now_ms bigint, p_seq_block bigint, p_tasks bigint, p_value_bytes bigint,
    p_keys bigint, p_key_bytes bigint,          -- that gather took away
    d_id text[],
    -- tasks that only changed hands or times
    u_id text[], u_version integer[], u_at bigint[], u_lane bigint[], u_pos bigint[], u_claimant text[],
    u_claims integer[], u_modified bigint[], u_serial bigint[],
    -- tasks that are deleted and written anew, or new
    i_id text[], i_seq bigint[], i_lane bigint[], i_pos bigint[], i_version integer[], i_queue text[], i_at bigint[],
    i_value bytea[], i_kind smallint[], i_claimant text[], i_claims integer[], i_attempt integer[],
    i_priority integer[], i_err bytea[], i_created bigint[], i_modified bigint[], i_serial bigint[],
    k_gone text[], k_key text[], k_mark bytea[], k_expires_at bigint[], k_bytes integer[], k_outcome bytea[],
    q_name text[], q_before bigint[], q_next_serial bigint[], q_serial_born boolean[],     -- before: 0 if it is new
    -- counts of queues, and numbers of claims with how many tasks have them
    t_queue text[], t_last_batch bigint[], t_tasks bigint[], t_ready bigint[], t_held bigint[], t_claims text[],
    t_gone text[], t_gone_batch bigint[],
    -- where tasks became ready that others may not expect there; and batches of which everybody knows
    r_queue text[], r_lane bigint[], r_pos bigint[], r_gone bigint[],
    p_channel text, p_news text[]
) RETURNS bigint[] LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_keys bigint := 0;
    v_key_bytes bigint := 0;
    v_version bigint;
    v_last raftq.share;
BEGIN
    -- Rows of counts are not changed but made anew, under a greater number: who looks for the newest one does not meet
    -- the dead ones, of which there may be any number. If the last is gone, so is what this node remembers.
    DELETE FROM raftq.share h WHERE h.session = p_session AND h.batch = p_last_batch RETURNING h.* INTO v_last;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'node session % is gone', p_session USING ERRCODE = 'RQ001';
    END IF;
    IF cardinality(d_id) > 0 THEN
        DELETE FROM raftq.task WHERE id = ANY (d_id);
    END IF;
    IF cardinality(u_id) > 0 THEN
        UPDATE raftq.task t
            SET version = n.version, at = n.at, lane = n.lane, pos = n.pos, claimant = n.claimant,
                claims = n.claims, modified = n.modified, serial = n.serial
            FROM unnest(u_id, u_version, u_at, u_lane, u_pos, u_claimant, u_claims, u_modified, u_serial)
                AS n (id, version, at, lane, pos, claimant, claims, modified, serial)
            CROSS JOIN LATERAL (SELECT o.ctid FROM raftq.task o WHERE o.id = n.id LIMIT 1) AS f
            WHERE t.ctid = f.ctid;  -- it is locked, and no plan can look at all
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
        FOR i IN 1 .. cardinality(q_name) LOOP
            UPDATE raftq.queue q SET next_serial = q_next_serial[i]
                WHERE q.name = q_name[i] AND q.next_serial = q_before[i];
        END LOOP;
        IF 0 = ANY (q_before) THEN
            -- Not the next number: a node may remember it of commits that a failover has lost.
            UPDATE raftq.state SET settings_version = settings_version + 1 + (random() * 1000000)::bigint
                RETURNING settings_version INTO v_version;
            INSERT INTO raftq.queue (name, next_serial, serial_born, version)
                SELECT n.name, n.next_serial, n.serial_born, v_version
                FROM unnest(q_name, q_before, q_next_serial, q_serial_born)
                    AS n (name, before, next_serial, serial_born)
                WHERE n.before = 0;
        END IF;
    END IF;
    IF cardinality(t_queue) > 0 THEN
        -- One by one: a join might be done the other way round, through all dead rows of the session.
        FOR i IN 1 .. cardinality(t_queue) LOOP
            IF t_last_batch[i] >= 0 THEN
                DELETE FROM raftq.tally c
                    WHERE c.session = p_session AND c.queue = t_queue[i] AND c.batch = t_last_batch[i];
            END IF;
        END LOOP;
        INSERT INTO raftq.tally (session, queue, batch, tasks, ready, held, claims)
            SELECT p_session, n.queue, p_last_batch + 1, n.tasks, n.ready, n.held, n.claims::bigint[]
            FROM unnest(t_queue, t_tasks, t_ready, t_held, t_claims) AS n (queue, tasks, ready, held, claims);
    END IF;
    IF cardinality(t_gone) > 0 THEN
        FOR i IN 1 .. cardinality(t_gone) LOOP
            DELETE FROM raftq.tally c
                WHERE c.session = p_session AND c.queue = t_gone[i] AND c.batch = t_gone_batch[i];
        END LOOP;
    END IF;
    IF cardinality(r_queue) > 0 THEN
        INSERT INTO raftq.returned (session, batch, queue, lane, pos)
            SELECT p_session, p_last_batch + 1, n.* FROM unnest(r_queue, r_lane, r_pos) AS n (queue, lane, pos);
    END IF;
    IF cardinality(r_gone) > 0 THEN
        DELETE FROM raftq.returned r WHERE r.session = p_session AND r.batch = ANY (r_gone);
    END IF;
    INSERT INTO raftq.share (session, batch, now_ms, seq_block, tasks, value_bytes, keys, key_bytes)
        VALUES (p_session, p_last_batch + 1, p_now_ms, p_seq_block, v_last.tasks + p_tasks,
            v_last.value_bytes + p_value_bytes, v_last.keys + v_keys - p_keys,
            v_last.key_bytes + v_key_bytes - p_key_bytes);
    IF cardinality(p_news) > 0 THEN
        PERFORM pg_notify(p_channel, n.news) FROM unnest(p_news) AS n (news);
    END IF;
    RETURN ARRAY[nextval('raftq.log_index'), v_keys, v_key_bytes];
END $$;

-- Adds the share of a node that is gone, or that is silent for so long that it counts as gone, to that of session 0.
-- If it lives after all, its next batch fails and begins a new session.
CREATE FUNCTION raftq.fold(p_session bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_node raftq.node;
    v_batch bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(7678, 'raftq.state'::regclass::oid::integer);
    -- Its batch that is under way ends first. That one made the row anew, and another batch may have begun since.
    LOOP
        PERFORM FROM raftq.share h WHERE h.session = p_session FOR UPDATE;
        EXIT WHEN FOUND OR NOT EXISTS (SELECT FROM raftq.share h WHERE h.session = p_session);
    END LOOP;
    DELETE FROM raftq.node n WHERE n.session = p_session AND p_session <> 0 RETURNING n.* INTO v_node;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE raftq.node n SET tasks = n.tasks + v_node.tasks, value_bytes = n.value_bytes + v_node.value_bytes,
        keys = n.keys + v_node.keys, key_bytes = n.key_bytes + v_node.key_bytes,
        empty_sets = n.empty_sets + v_node.empty_sets
        WHERE n.session = 0;
    SELECT h.batch INTO v_batch FROM raftq.share h WHERE h.session = 0 ORDER BY h.batch DESC LIMIT 1;
    WITH gone AS (DELETE FROM raftq.share h WHERE h.session IN (0, p_session) RETURNING h.*)
    INSERT INTO raftq.share (session, batch, now_ms, seq_block, tasks, value_bytes, keys, key_bytes)
        SELECT 0, v_batch + 1, max(gone.now_ms), max(gone.seq_block), sum(gone.tasks), sum(gone.value_bytes),
            sum(gone.keys), sum(gone.key_bytes) FROM gone;
    WITH gone AS (
        DELETE FROM raftq.tally c WHERE c.session = p_session
            OR (c.session = 0 AND c.queue IN (SELECT x.queue FROM raftq.tally x WHERE x.session = p_session))
        RETURNING c.*
    ), claimed AS (
        SELECT p.queue, array_agg(p.v ORDER BY p.claims, p.o) AS claims FROM (
            SELECT x.queue, x.claims, x.o, CASE x.o WHEN 0 THEN x.claims ELSE x.tasks END AS v FROM (
                SELECT gone.queue, gone.claims[i] AS claims, sum(gone.claims[i + 1])::bigint AS tasks
                FROM gone, generate_series(1, cardinality(gone.claims), 2) AS i
                GROUP BY gone.queue, gone.claims[i] HAVING sum(gone.claims[i + 1]) <> 0) AS d
            CROSS JOIN LATERAL (VALUES (d.queue, d.claims, 0, d.tasks), (d.queue, d.claims, 1, d.tasks))
                AS x (queue, claims, o, tasks)) AS p
        GROUP BY p.queue)
    INSERT INTO raftq.tally (session, queue, batch, tasks, ready, held, claims)
        SELECT 0, gone.queue, v_batch + 1, sum(gone.tasks), sum(gone.ready), sum(gone.held),
            coalesce((SELECT claimed.claims FROM claimed WHERE claimed.queue = gone.queue), '{}')
        FROM gone GROUP BY gone.queue;
    DELETE FROM raftq.returned r WHERE r.session = 0 AND r.made_at < now() - interval '1 minute';
    WITH gone AS (DELETE FROM raftq.returned r WHERE r.session = p_session RETURNING r.*)
    INSERT INTO raftq.returned (session, batch, queue, lane, pos)
        SELECT DISTINCT ON (gone.queue) 0, v_batch + 1, gone.queue, gone.lane, gone.pos
        FROM gone ORDER BY gone.queue, gone.lane, gone.pos;
    RETURN true;
END $$;

-- As in version 3; what it inserted is written down with its queue and time.
CREATE OR REPLACE FUNCTION raftq.insert_bytes(
    queue text, value bytea, id text DEFAULT NULL, at bigint DEFAULT NULL, delay_ms bigint DEFAULT 0,
    priority integer DEFAULT 0, attempt integer DEFAULT 0, kind integer DEFAULT 1
) RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_schema constant text := split_part('raftq.', '.', 1);
    v_now bigint := raftq.clock_ms();
    v_at bigint;
    v_id text := insert_bytes.id;
BEGIN
    IF insert_bytes.queue IS NULL OR insert_bytes.queue !~ '^[^[:space:][:cntrl:]]+$'
            OR octet_length(insert_bytes.queue) > 256 THEN
        RAISE EXCEPTION 'raftq: a queue''s name has 1 to 256 bytes, and no space or control character'
            USING ERRCODE = '22023';
    END IF;
    IF v_id IS NOT NULL AND (v_id !~ '^[^[:space:][:cntrl:]]+$' OR octet_length(v_id) > 64) THEN
        RAISE EXCEPTION 'raftq: an id has 1 to 64 bytes, and no space or control character'
            USING ERRCODE = '22023';
    END IF;
    IF insert_bytes.value IS NULL OR octet_length(insert_bytes.value) > 16777216 THEN
        RAISE EXCEPTION 'raftq: a value has at most 16777216 bytes' USING ERRCODE = '22023';
    END IF;
    IF insert_bytes.kind NOT IN (0, 1) OR insert_bytes.delay_ms < 0 OR insert_bytes.attempt < 0
            OR (insert_bytes.at IS NOT NULL AND insert_bytes.delay_ms > 0) THEN
        RAISE EXCEPTION 'raftq: at most one of at and delay_ms may be given; delay_ms and attempt are 0 or more'
            USING ERRCODE = '22023';
    END IF;
    v_id := coalesce(v_id, md5(random()::text || clock_timestamp()::text || txid_current()::text));
    v_at := greatest(coalesce(insert_bytes.at, v_now + insert_bytes.delay_ms), v_now);
    INSERT INTO raftq.task (seq, at, created, modified, serial, lane, pos, version, claims, attempt, priority,
        kind, id, queue, claimant, err, value)
        VALUES (nextval('raftq.seq_block') * 65536, v_at, v_now, v_now, 0, NULL, NULL, 0, 0, insert_bytes.attempt,
            insert_bytes.priority, insert_bytes.kind, v_id, insert_bytes.queue, '', '', insert_bytes.value);
    INSERT INTO raftq.inserted (at, value_bytes, queue)
        VALUES (v_at, octet_length(insert_bytes.value), insert_bytes.queue);
    PERFORM nextval('raftq.log_index');
    PERFORM pg_notify(v_schema || '_ready', '[0, {}, ' || v_at || ']');
    RETURN v_id;
END $$;

-- The counts of the queues whose names begin so, one row for each node that has a share. One descent a row, however
-- many tasks there are, and however many dead rows.
CREATE FUNCTION raftq.counts_from(p_prefix text)
RETURNS TABLE (queue text, tasks bigint, ready bigint, held bigint, claims bigint[])
LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    WITH RECURSIVE found AS (
        SELECT n.session, (SELECT c.queue FROM raftq.tally c WHERE c.session = n.session AND c.queue >= p_prefix
                ORDER BY c.queue, c.batch DESC LIMIT 1) AS queue
            FROM raftq.node n
        UNION ALL
        SELECT f.session, (SELECT c.queue FROM raftq.tally c WHERE c.session = f.session AND c.queue > f.queue
                ORDER BY c.queue, c.batch DESC LIMIT 1)
            FROM found f WHERE starts_with(f.queue, p_prefix))
    SELECT f.queue, l.tasks, l.ready, l.held, l.claims
    FROM found f CROSS JOIN LATERAL (SELECT * FROM raftq.tally c
        WHERE c.session = f.session AND c.queue = f.queue ORDER BY c.batch DESC LIMIT 1) AS l
    WHERE starts_with(f.queue, p_prefix)
$$;

-- The same for names.
CREATE FUNCTION raftq.counts_of(p_names text[])
RETURNS TABLE (queue text, tasks bigint, ready bigint, held bigint, claims bigint[])
LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    SELECT q.name, l.tasks, l.ready, l.held, l.claims
    FROM unnest(p_names) AS q (name) CROSS JOIN raftq.node n CROSS JOIN LATERAL (SELECT * FROM raftq.tally c
        WHERE c.session = n.session AND c.queue = q.name ORDER BY c.batch DESC LIMIT 1) AS l
$$;

-- When the first of the ready tasks of queues arrived, after a time each, and whether TaskQ made the queue.
CREATE FUNCTION raftq.oldest(p_queues text[], p_floors bigint[])
RETURNS TABLE (queue text, oldest bigint, serial_born boolean)
LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    SELECT n.queue,
        (SELECT t.at FROM raftq.task t WHERE t.queue = n.queue AND t.lane IS NOT NULL AND t.at >= 0 AND t.at > n.floor
            ORDER BY t.at LIMIT 1),
        (SELECT q.serial_born FROM raftq.queue q WHERE q.name = n.queue ORDER BY q.next_serial DESC LIMIT 1)
    FROM unnest(p_queues, p_floors) AS n (queue, floor)
$$;

-- The nodes that live, and how many milliseconds ago each was heard of.
CREATE FUNCTION raftq.nodes()
RETURNS TABLE (session bigint, name text, http text, text text, version text, silent_ms bigint)
LANGUAGE sql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    SELECT n.session, n.name, n.http, n.text, n.version,
        greatest(extract(epoch FROM clock_timestamp() - s.seen_at) * 1000, 0)::bigint
    FROM raftq.node n CROSS JOIN LATERAL (
        SELECT h.seen_at FROM raftq.share h WHERE h.session = n.session ORDER BY h.batch DESC LIMIT 1) AS s
    WHERE n.session <> 0 ORDER BY n.name, n.session
$$;

-- Counts, times, and whether there is something to do: what a node looks at every second. Of the waiting tasks
-- only those that arrive after p_after_ms and before p_before_ms.
CREATE FUNCTION raftq.look(p_after_ms bigint, p_before_ms bigint, p_taken_floor bigint)
RETURNS TABLE (tasks bigint, value_bytes bigint, keys bigint, key_bytes bigint, log_ms bigint, log_index bigint,
    due_ms bigint, now_ms bigint, cluster_id text, has_inserted boolean)
LANGUAGE sql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    SELECT sum(n.tasks + s.tasks)::bigint, sum(n.value_bytes + s.value_bytes)::bigint,
        sum(n.keys + s.keys)::bigint, sum(n.key_bytes + s.key_bytes)::bigint, max(greatest(n.now_ms, s.now_ms)),
        (SELECT l.last_value FROM raftq.log_index l),
        (SELECT t.at FROM raftq.task t WHERE t.lane IS NULL AND t.at > p_after_ms AND t.at < p_before_ms
            ORDER BY t.at LIMIT 1),
        raftq.clock_ms(), (SELECT e.cluster_id FROM raftq.state e),
        EXISTS (SELECT FROM raftq.inserted i WHERE i.xid >= p_taken_floor)
    FROM raftq.node n CROSS JOIN LATERAL (
        SELECT * FROM raftq.share h WHERE h.session = n.session ORDER BY h.batch DESC LIMIT 1) AS s
$$;

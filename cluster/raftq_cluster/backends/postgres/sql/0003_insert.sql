-- Version 3: inserting in a transaction of one's own.
--
--     SELECT raftq.insert('/mail/out', '{"to": "ada@example.org"}');
--
-- The task is there exactly if the transaction commits. It comes as one that waits until now; the next batch of any
-- node lets it arrive, in the order that the queue has by then. So nothing is locked until the end of a
-- transaction that may be long. Whoever may use the schema may insert, and needs no right on its tables.

-- What was inserted this way and is in no node's counts yet; nodes take it over once a second.
CREATE TABLE raftq.inserted (
    tasks bigint NOT NULL,
    value_bytes bigint NOT NULL
);

CREATE FUNCTION raftq.insert_bytes(
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
    INSERT INTO raftq.inserted VALUES (1, octet_length(insert_bytes.value));
    PERFORM nextval('raftq.log_index');
    PERFORM pg_notify(v_schema || '_ready', '[0, {}, ' || v_at || ']');
    RETURN v_id;
END $$;

CREATE FUNCTION raftq.insert(
    queue text, value json, id text DEFAULT NULL, at bigint DEFAULT NULL, delay_ms bigint DEFAULT 0,
    priority integer DEFAULT 0, attempt integer DEFAULT 0
) RETURNS text LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT raftq.insert_bytes(queue, convert_to(value::text, 'UTF8'), id, at, delay_ms, priority, attempt, 0)
$$;

-- Version 1: the tables. "raftq." stands for the schema's name, which may be another one.
--
-- A task is either ready (lane and pos say where in its queue's order) or waiting (both are NULL, "at" says
-- until when). It changes from waiting to ready by an UPDATE once its time has come, as in the state
-- machine. So each index holds exactly the rows that are looked for in it: claims never pass over
-- tasks that wait, and the calendar never over tasks that are ready.

CREATE TABLE raftq.migration (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE raftq.task (
    seq bigint NOT NULL,                -- number of its insertion
    at bigint NOT NULL,                 -- arrival time or end of the lease, ms since the epoch
    created bigint NOT NULL,
    modified bigint NOT NULL,
    serial bigint NOT NULL,             -- integer id in its queue (TaskQ's), 0: none
    lane bigint,                        -- minus the priority in a queue by priority, else 0
    pos bigint,                         -- seq in a queue in order, else at random
    version integer NOT NULL,
    claims integer NOT NULL,
    attempt integer NOT NULL,
    priority integer NOT NULL,
    kind smallint NOT NULL,             -- 0: the value is JSON text, 1: bytes
    id text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    claimant text COLLATE "C" NOT NULL, -- '': nobody
    err bytea NOT NULL,                 -- UTF-8: an error text may hold what a text may not
    value bytea NOT NULL,
    CONSTRAINT task_pkey PRIMARY KEY (id)
) WITH (
    -- Rows live for seconds. Room for the version that a claim makes, and a vacuum that comes by
    -- count and not by share, and does not sleep.
    fillfactor = 60,
    toast_tuple_target = 512,           -- larger values stand aside, so that claims do not copy them
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.2
);

CREATE INDEX task_ready ON raftq.task (queue, lane, pos) WHERE lane IS NOT NULL;
CREATE INDEX task_waiting ON raftq.task (at) WHERE lane IS NULL;
CREATE UNIQUE INDEX task_serial ON raftq.task (queue, serial) WHERE serial > 0;

-- Insertion numbers are given out in blocks of 65,536, one a batch, so that a node can number
-- what it inserts before it does.
CREATE SEQUENCE raftq.seq_block;

-- Counts batches that changed something: the log index of answers.
CREATE SEQUENCE raftq.log_index;

-- Idempotency keys: which request used one, and what it was answered.
CREATE TABLE raftq.key (
    expires_at bigint NOT NULL,
    bytes integer NOT NULL,             -- that the key counts for in the limit on all of them
    key text COLLATE "C" NOT NULL,
    mark bytea NOT NULL,
    outcome bytea NOT NULL,
    CONSTRAINT key_pkey PRIMARY KEY (key)
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX key_expiry ON raftq.key (expires_at);

-- Queues that give integer ids; they outlive their last task, so that no id repeats. "version" is the
-- settings_version by which a node learns that there is one more.
CREATE TABLE raftq.queue (
    next_serial bigint NOT NULL,
    version bigint NOT NULL,
    serial_born boolean NOT NULL,
    name text COLLATE "C" NOT NULL,
    CONSTRAINT queue_pkey PRIMARY KEY (name)
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

CREATE INDEX queue_version ON raftq.queue (version);

CREATE TABLE raftq.setting (
    pattern text COLLATE "C" PRIMARY KEY,
    ordering text,
    paused boolean,
    lease_ms bigint
);

-- One row. What a node remembers of settings and queues is as of a settings_version.
CREATE TABLE raftq.state (
    settings_version bigint NOT NULL,
    cluster_id text NOT NULL
);

-- One row for each life of a node: its share of the counts, the last time it used, and its last
-- batch, by which a node whose connection broke learns whether that one was committed.
CREATE TABLE raftq.node (
    session bigint NOT NULL,
    batch bigint NOT NULL,
    now_ms bigint NOT NULL,
    tasks bigint NOT NULL,
    value_bytes bigint NOT NULL,
    keys bigint NOT NULL,
    key_bytes bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    name text NOT NULL,
    http text NOT NULL DEFAULT '',
    text text NOT NULL DEFAULT '',
    CONSTRAINT node_pkey PRIMARY KEY (session)
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- What nodes that are gone counted.
INSERT INTO raftq.node (session, batch, now_ms, tasks, value_bytes, keys, key_bytes, name)
    VALUES (0, 0, 0, 0, 0, 0, 0, '');

INSERT INTO raftq.state VALUES (1, md5(random()::text || clock_timestamp()::text));

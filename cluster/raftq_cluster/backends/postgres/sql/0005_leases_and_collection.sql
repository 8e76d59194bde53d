-- Version 5: bounds of leases as settings, and what finds queues that may be collected (gc= in their names).

ALTER TABLE raftq.setting ADD COLUMN lease_ms_min bigint, ADD COLUMN lease_ms_max bigint;

-- Sets of docs in such namespaces.
CREATE INDEX doc_set_marked ON raftq.doc_set (namespace, key) WHERE docs > 0 AND namespace LIKE '%gc=%';

-- Names of queues that say "gc=" somewhere and have ready tasks; what they say is read by the node.
CREATE INDEX task_marked ON raftq.task (queue) WHERE lane IS NOT NULL AND queue LIKE '%gc=%';

"""Files that somebody made up: whatever passes the check of shapes, the machine refuses or lives with."""

from random import Random
from typing import Any

import pytest
from tests.support import moves
from tests.support.doc_table import DocTable
from tests.support.machine_pair import Pair
from tests.support.moves import Cut, cut
from tests.support.task_table import START_MS
from tests.unit.core.test_importing import full

from raftq_cluster.codec.errors import CodecError
from raftq_cluster.codec.record_shapes import check_records
from raftq_cluster.core import importing
from raftq_cluster.core.outcomes import Imported, Refused
from raftq_cluster.core.restoring import restore
from raftq_cluster.core.snapshot import DOC_SET, QUEUE

Q: Any = (QUEUE, "/a", 1, False)
IDS = tuple(f"t{number}" for number in range(10))
STRANGE = (
    None, True, 0, 1, 2, 7, -1, 2**31, 2**53, -(2**53), "", "/a", "t0", "w1", "k1", "fifo", "priority", b"", b"1",
    (), START_MS, START_MS + 61_000, START_MS - 10**9, 1 << 40,
)  # fmt: skip


def forged(record: Any, random: Random) -> Any:
    """Put something strange into a record, at any depth."""
    place = random.randrange(len(record))
    item = record[place]
    if isinstance(item, tuple) and item and random.random() < 0.9:
        item = forged(item, random)
    else:
        item = random.choice(STRANGE)
    return (*record[:place], item, *record[place + 1 :])


def is_of_good_shape(record: Any) -> bool:
    try:
        check_records([record])
    except CodecError:
        return False
    return True


def made_up(random: Random) -> Cut:
    """Parts of a true state in which something was changed, doubled, left out or put elsewhere."""
    pair = Pair(random.choice, IDS)
    for _ in range(25):
        pair.entry(random.getrandbits(64))
    whole = cut(pair.machine if random.random() < 0.7 else full().machine)
    records = [record for part in whole.cut for record in part] or [Q]
    for _ in range(random.choice((0, 1, 1, 2, 10))):
        place = random.randrange(len(records))
        other = forged(records[place], random)
        if is_of_good_shape(other):
            records[place] = other
        if random.random() < 0.3:
            records.insert(random.randrange(len(records)), random.choice(records))
        if random.random() < 0.3 and len(records) > 1:
            records.pop(random.randrange(len(records)))
    state = Cut([], "0" * 32)
    state.seq = random.choice((10**6, 2**53))
    edge = random.randrange(1, len(records) + 1)
    rest, context = records[edge:], [item for item in records[:edge] if item[0] in (QUEUE, DOC_SET)]
    state.cut = [records[:edge], [*context[-1:], *rest]]
    return state


@pytest.mark.parametrize("first", range(0, 400, 20))
def test_a_made_up_file_is_refused_or_lived_with(first: int) -> None:
    for seed in range(first, first + 20):
        random = Random(seed)
        state = made_up(random)
        table = DocTable()
        outcomes = [table.do(step) for step in state.steps()]
        if isinstance(outcomes[-1], Refused):
            assert outcomes[-1].code == importing.REFUSED
            assert table.do(moves.abandon()).parts < len(state.cut)
            continue
        assert outcomes[-1] == Imported(2)
        live(table, random)


def live(table: DocTable, random: Random) -> None:
    """Go on with what is there: an exception would have stopped every node."""
    maker = Pair(random.choice, IDS).maker
    for number in range(40):
        table.now_ms += random.choice((0, 1, 900, 61_000, 301_000))
        maker.model.now_ms = table.now_ms
        maker.model.rows = {row.id: row for row in table.tasks(ids=list(table.machine.tasks)[:50])}
        table.entry(*[maker.operation() for _ in range(3)])
        if number % 10 == 0:
            restored = restore([list(chunk) for chunk in table.machine.snapshot(50)])
            assert restored.digest() == table.machine.digest()
            table.machine = restored
    table.queues()
    table.pass_ms(10**10)

"""Golden data: what bytes and digests must be, for ever. ``scripts/vectors`` writes them.

A JSON file cannot hold bytes; here they stand as ``{"hex": "…"}``. The golden log is
the zlib stream of its entries, each after its length in four bytes, big-endian.

Imports what ``replay_golden_log`` may import, since that is run by Pythons that have nothing else.
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from raftq_cluster.codec.entries import encode_entry, encode_segment
from raftq_cluster.codec.snapshots import encode_chunk
from raftq_cluster.core import importing
from raftq_cluster.core import operations as op
from raftq_cluster.core.machine import Machine
from tests.support.doc_table import DocTable, claim_docs, doc, held, transact
from tests.support.machine_pair import START_MS, Pair
from tests.support.moves import Cut
from tests.support.task_table import claim, configure, modify, renew

VECTORS: Final = Path(__file__).parents[1] / "vectors"
ENTRIES: Final = VECTORS / "entries.json"
SNAPSHOT: Final = VECTORS / "snapshot.json"
OLD_SNAPSHOT: Final = VECTORS / "snapshot_v2.json"  # what was written before, to be read for ever
LOG: Final = VECTORS / "golden_log.zlib"
LOG_DIGESTS: Final = VECTORS / "golden_log.json"

EXPORT_ID: Final = "0123456789abcdef" * 2

LOG_ENTRIES: Final = 2_500
CHECKPOINT_ENTRIES: Final = 250  # between two digests
LOG_IDS: Final = tuple(f"task-{number}" for number in range(120))
LENGTH_BYTES: Final = 4
KEY: Final = ("key é", b"\x01\x02\x03\x04\x05\x06\x07\x08")


class EntryVector(NamedTuple):
    """An entry by its parts."""

    name: str
    now_ms: int
    seed: int
    segments: list[list[Any]]

    def encoded(self) -> bytes:
        segments = [encode_segment(segment) for segment in self.segments]
        return encode_entry(self.now_ms, self.seed, segments)


def entry_vectors() -> list[EntryVector]:
    """Every kind of operation, with fields at their edges."""
    operations = {
        "claim": op.Claim(op.CLAIM, *KEY, "w1", ("/a", "/é"), 30_000, 10, False),
        "deq": op.Claim(op.CLAIM, "", b"", op.ANONYMOUS, ("q",), 0, 1, True),
        "insert": modify(inserts=[op.Insert("/a", "id1", op.AT, 2**53, b'{"n":1}', op.JSON, 2**31 - 1,
                                            -(2**31), "boom\n", False)]),
        "enq": modify(inserts=[op.Insert("q", "id2", value=bytes(range(256)), kind=op.BYTES, serial=True)]),
        "change nothing": modify(changes=[op.Change("id1", 0)]),
        "change everything": modify(changes=[op.Change("id1", 2**31 - 1, "/b", op.LEASE, 1, b"", op.BYTES,
                                                       0, 0, "")], key=KEY[0], mark=KEY[1]),
        "delete and depend": modify(deletes=[op.Target("id1", 3)], depends=[op.Target("id2", 0)]),
        "renew": renew(op.Target("id1", 1), op.Target("id2", 2), lease_ms=604_800_000),
        "ack": op.Settle(op.SETTLE, "", b"", op.ACK, "q", 2**63 - 1, 0),
        "nack": op.Settle(op.SETTLE, *KEY, op.NACK, "q", 1, 5_000),
        "configure": configure("/a*", order="priority", paused=True, lease_ms=1_000),
        "remove settings": configure("*"),
        "transact": transact(
            key=KEY[0], mark=KEY[1], inserts=[op.Insert("/a", "id1")], changes=[op.Change("id2", 1)],
            deletes=[op.Target("id3", 2)], depends=[op.Target("id4", 3)], queues=[("id2", "/é")],
            resets=["id2"], doc_inserts=[doc("d1", "k", "s", arrival=op.LEASE, ms=5, value=b"\xff", kind=op.BYTES)],
            doc_changes=[op.DocChange("/ns", "d2", 7, op.HOLD_UNTIL, 2**53, b"1")],
            doc_deletes=[op.DocTarget("/ns", "d3", 0)],
            doc_depends=[op.DocTarget("/ns", "d4", 1), op.DocTarget("/ns", "", 2, "é")],
            doc_leases=[op.SetLease("/ns", "", 3)],
        ),
        "transact nothing": transact(claimant=""),
        "claim docs": claim_docs(held("k"), held("", omit_docs=True), key=KEY[0], mark=KEY[1]),
        "claim docs for a task": claim_docs(held("k"), lease_ms=0, task=("id1", 3, "/é")),
        "guarded transaction": op.Guarded(op.GUARD, *KEY, (("/a*", 9),), transact()),
        "tick": op.Tick(),
        "forget": op.Forget(op.FORGET, ("k1", "k2")),
        "verify": op.Verify(),
        **_later_operations(),
    }  # fmt: skip
    vectors = [
        EntryVector(name, START_MS, number, [[operation]])
        for number, (name, operation) in enumerate(operations.items())
    ]
    ticks = [op.Tick(), op.Tick()]
    return [
        *vectors,
        EntryVector("no segments", 0, 0, []),
        EntryVector("segments without operations", 1, 2**64 - 1, [[], []]),
        EntryVector("several segments", 2**53, 1, [ticks, [operations["claim"]], ticks]),
    ]


def _later_operations() -> dict[str, Any]:
    return {
        "bounded leases": op.ConfigureBounded(
            op.CONFIGURE_BOUNDED, *KEY, "/a*", None, None, 5_000, 1_000, 2**53
        ),
        "collect": op.Collect(op.COLLECT, "/a/gc=0", 200),
        "collect docs": op.CollectDocs(op.COLLECT_DOCS, "/ns/gc=0", "k", ("d1", "é")),
        "import begins": op.Import(op.IMPORT, importing.BEGIN, EXPORT_ID, 2**53),
        "import goes on": op.Import(
            op.IMPORT, importing.PART, EXPORT_ID, 0, tuple(export_parts()[0])
        ),
        "import ends": op.Import(op.IMPORT, importing.END, EXPORT_ID, 1),
        "import is abandoned": op.Import(op.IMPORT, importing.ABANDON, ""),
    }


def snapshot_records() -> list[tuple[Any, ...]]:
    """Give a small state that has something of everything."""
    table = DocTable()
    table.configure("/b*", order="fifo", paused=False, lease_ms=5)
    table.insert("/a", "ready", value=b"\xff", kind=op.BYTES, attempt=1, priority=-1, err="é")
    table.insert("/b", "other")
    table.insert("/a", "late", arrival=op.DELAY, ms=9_000, value=b"null")
    table.enq("q", b"1")
    table.deq("q")
    table.do(claim("/a", key=KEY[0], mark=KEY[1]))
    table.do(modify(deletes=[op.Target("none", 0)], key="refused"))
    table.do(configure("/c", lease_ms=1, key="done"))
    table.put_doc("d1", "k", "s", value=b"\xff", kind=op.BYTES)
    table.put_doc("d2", "", namespace="/é")
    table.do(claim_docs(held("k"), held("empty"), key="held"))
    table.do(transact(doc_deletes=[op.DocTarget("/ns", "d1", 0)], key="stale"))
    table.do(transact(doc_changes=[op.DocChange("/ns", "d1", 1, op.LEASE, 5)], key="changed"))
    (records,) = table.machine.snapshot()
    return records


def export_parts() -> list[list[Any]]:
    """Give the parts into which that state is cut for an export."""
    return Cut([snapshot_records()]).cut


def fingerprint(machine: Machine) -> str:
    """Digest and chain."""
    return f"{machine.digest()} {machine.chain:016x}"


def golden_log() -> tuple[list[bytes], dict[str, str]]:
    """Make a log of varied operations, and the digests of its states at some indexes."""
    random = Random(20_260_101)
    pair = Pair(random.choice, LOG_IDS)
    digests = {}
    for number in range(1, LOG_ENTRIES + 1):
        pair.entry(random.getrandbits(64))
        if number % CHECKPOINT_ENTRIES == 0:
            digests[str(number)] = fingerprint(pair.machine)
    pair.all_agree()
    return pair.log, digests


# --- files ------------------------------------------------------------------------------------------


def to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value


def from_json(value: Any) -> Any:
    """Read back what ``to_json`` wrote; lists become the tuples that decoding gives."""
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    return tuple(from_json(item) for item in value) if isinstance(value, list) else value


def entries_text() -> str:
    return _lines(
        {"name": name, "now_ms": now_ms, "seed": seed, "segments": to_json(segments),
         "hex": EntryVector(name, now_ms, seed, segments).encoded().hex()}
        for name, now_ms, seed, segments in entry_vectors()
    )  # fmt: skip


def snapshot_text() -> str:
    records = snapshot_records()
    return _lines(
        {"record": to_json(record), "hex": encode_chunk([record]).hex()} for record in records
    )


def _lines(rows: Iterator[dict[str, Any]]) -> str:
    """Write one row a line, so that a difference shows what differs."""
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


def write_log(entries: list[bytes]) -> bytes:
    framed = b"".join(len(entry).to_bytes(LENGTH_BYTES, "big") + entry for entry in entries)
    return zlib.compress(framed, 9)


def read_log(data: bytes) -> Iterator[bytes]:
    framed = zlib.decompress(data)
    position = 0
    while position < len(framed):
        begin = position + LENGTH_BYTES
        position = begin + int.from_bytes(framed[position:begin], "big")
        yield framed[begin:position]


def main() -> None:
    VECTORS.mkdir(exist_ok=True)
    ENTRIES.write_text(entries_text(), encoding="utf-8")
    SNAPSHOT.write_text(snapshot_text(), encoding="utf-8")
    entries, digests = golden_log()
    LOG.write_bytes(write_log(entries))
    LOG_DIGESTS.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""The golden file of ``raftq export``: what such files must be, for ever. ``scripts/vectors`` writes it."""

from typing import Final

from raftq.wire.export_file import Counts, Header, Writer
from raftq_cluster.codec.snapshots import encode_chunk
from tests.support.golden import EXPORT_ID, VECTORS, snapshot_records
from tests.support.machine_pair import START_MS
from tests.support.moves import Cut

EXPORT: Final = VECTORS / "export_v1.raftq"


def export_file() -> bytes:
    """Give a whole file of ``raftq export``."""
    state, writer = Cut([snapshot_records()]), Writer()
    header = Header(
        format=1, records=3, id=EXPORT_ID, made_at=START_MS, version="0.1.0", backend="raft",
        cluster_id="c1", index=21, seq=state.seq,
    )  # fmt: skip
    pieces = [writer.header(header), *[writer.part(encode_chunk(part)) for part in state.cut]]
    return b"".join([*pieces, writer.footer(Counts(**state.counts), state.said)])


if __name__ == "__main__":
    EXPORT.write_bytes(export_file())

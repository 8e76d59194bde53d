"""A program: applies the golden log and prints the digests of its states as JSON.

Run by other Pythons and under other hash seeds: it imports nothing but the core, the codec and
MessagePack.
"""

import json
import sys
from zlib import crc32

from raftq_cluster.codec.entries import decode_entry
from raftq_cluster.core.machine import Machine
from tests.support.golden import CHECKPOINT_ENTRIES, LOG, fingerprint, read_log


def digests(machine: Machine, entries: list[bytes]) -> dict[str, str]:
    """Apply the entries that the machine has not seen, and give the digests on the way."""
    found = {}
    for data in entries[machine.index :]:
        machine.apply(machine.index + 1, *decode_entry(data), crc32(data))
        if machine.index % CHECKPOINT_ENTRIES == 0:
            found[str(machine.index)] = fingerprint(machine)
    return found


if __name__ == "__main__":
    json.dump(digests(Machine(), list(read_log(LOG.read_bytes()))), sys.stdout)

"""The chain: one number that says what all entries up to an index have done here.

Two machines that applied the same entries with the same effects have the same chain; from the first
effect that differs on, they never have again. So nodes that compare one number at one index have compared
everything that ever came of their logs, at the price of a hash per entry. What goes into a link is at
hand when an entry has been applied:

    the chain before it; index, time, and ``check``, a checksum of the entry's bytes
    how much chance it used; how many tasks, keys and queues there are now, with their bytes
    which tasks and sets of docs were claimed and changed, in this order (``State.trail``)
    of which shape the outcome of each operation is: a refusal has another one than a success
    how many tasks became claimable, by queue

It does not see a task that is held with a wrong value, as long as nothing comes of it: the digest of the whole state does
(:mod:`raftq_cluster.core.digest`).
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from struct import Struct, pack
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from raftq_cluster.core.outcomes import Outcome
    from raftq_cluster.core.state import State

_BYTES: Final = 8
_MASK: Final = 2 ** (8 * _BYTES) - 1
_fixed = Struct("<13Q").pack


def linked(
    state: "State",
    check: int,
    outcomes: Sequence[Sequence["Outcome"]],
    ready: Mapping[str, int],
) -> int:
    """Give the chain, 0 to 2**64 - 1, behind an entry that has just been applied.

    Takes the state's trail. About 3 us an entry and 0.05 us for each operation (``scripts/bench``, core).
    """
    trail, state.trail = state.trail, []
    keys = state.keys
    parts = [
        _fixed(
            state.chain,
            state.index,
            state.now_ms & _MASK,
            check & _MASK,
            state.seeds.state & _MASK,
            state.seq,
            len(state.tasks),
            state.value_bytes,
            len(keys),
            keys.size_bytes,
            len(state.queues),
            len(trail),
            len(outcomes),
        ),
        pack(f"<{len(trail)}Q", *trail),
    ]
    parts += [b"%d:%b" % (len(told), bytes(map(len, told))) for told in outcomes]
    parts += [b"%b=%d;" % (queue.encode(), ready[queue]) for queue in sorted(ready)]
    return int.from_bytes(blake2b(b"".join(parts), digest_size=_BYTES).digest(), "little")


def passed(chain: int, index: int, check: int) -> int:
    """Give the chain behind an entry that is not the machine's, such as a member list."""
    data = pack("<3Q", chain, index, check & _MASK)
    return int.from_bytes(blake2b(data, digest_size=_BYTES).digest(), "little")

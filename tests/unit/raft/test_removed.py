"""What shows a node that it is a member no longer: a committed list without it that is newer than what it knows."""

import pytest

from raftq_cluster.backends.raft.commands import Member, encode_members
from raftq_cluster.backends.raft.formation import is_removed
from raftq_cluster.backends.raft.questions import Formed
from raftq_cluster.backends.raft.storage.data_dir import Identity


def answer_of_a_list(index: int) -> Formed:
    """What a member says in whose list node ``n5`` is not."""
    members = encode_members(
        [Member(id_, f"{id_}:1", voter=True, birth="") for id_ in ("n2", "n3")]
    )
    return Formed(
        cluster_id="c", node_id="n2", birth="", members=members, index=index,
        is_committed=True, first_members=members, first_index=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("list_index", "config_index", "is_gone"),
    [
        (1117, 0, False),  # it has just joined, its log is empty, and a member lags
        (1618, 0, True),
        (1618, 1700, False),
        (1701, 1700, True),
        (1700, 1700, True),  # the list that its own log ends with
        (1617, 0, False),  # it joined with the list of this entry: whoever says so has cut it
    ],
)
def test_a_list_older_than_the_one_a_node_joined_with_does_not_remove_it(
    list_index: int, config_index: int, is_gone: bool
) -> None:
    me = Identity(cluster_id="c", node_id="n5", birth="5" * 16, first_index=1617)
    assert is_removed(answer_of_a_list(list_index), me, config_index) is is_gone

"""What a node learns of the members while it hears no leader."""

import pytest

from raftq_cluster.backends.raft.commands import Member, Members, encode_members
from raftq_cluster.backends.raft.formation import Alone
from raftq_cluster.backends.raft.peer_api import AskError
from raftq_cluster.backends.raft.questions import Formed, encode
from raftq_cluster.backends.raft.searching import LONELY_S, Searching
from raftq_cluster.backends.raft.storage.data_dir import Identity

pytestmark = pytest.mark.asyncio


def members(*ids: str) -> Members:
    return tuple(Member(id_, f"{id_}:1", voter=True, birth=id_[1] * 16) for id_ in ids)


class Asking:
    """A node ``n1`` whose log has the list of entry 5; ``lists`` is what others say, by address."""

    def __init__(self) -> None:
        me = Identity(cluster_id="c", node_id="n1", birth="1" * 16)
        self.lists: dict[str, tuple[Members, int, bool]] = {}
        self.failed: list[str] = []
        self.searching = Searching(me, Alone(), self._ask, self.failed.append, lambda: None)

    async def _ask(self, address: str, _question: bytes, _timeout_s: float) -> bytes:
        if address not in self.lists:
            raise AskError("it is away")
        listed, entry, is_committed = self.lists[address]
        return encode(Formed(
            cluster_id="c", node_id=address[:2], birth="", members=encode_members(listed), index=entry,
            is_committed=is_committed, first_members=encode_members(listed), first_index=0,
        ))  # fmt: skip

    async def search(self) -> None:
        for _ in range(LONELY_S):
            self.searching.each_second(members("n1", "n2", "n3"), 5, is_lonely=True)
        task = self.searching._task
        assert task is not None
        await task


def ids(listed: Members) -> list[str]:
    return sorted(member.id for member in listed)


async def test_a_committed_list_replaces_an_older_one() -> None:
    node = Asking()
    node.lists = {"n2:1": (members("n1", "n2", "n4"), 9, True), "n3:1": (members("n1"), 8, True)}
    await node.search()
    assert (ids(node.searching.known.members), node.searching.known.entry) == (
        ["n1", "n2", "n4"],
        9,
    )
    assert node.searching.rumoured.members == ()


async def test_lists_that_may_not_be_committed_are_rumours_and_all_count() -> None:
    node = Asking()
    node.lists = {
        "n2:1": (members("n1", "n2", "n4"), 9, False),
        "n3:1": (members("n1", "n3", "n5"), 7, False),
    }
    await node.search()
    rumoured = node.searching.rumoured
    assert (ids(rumoured.members), rumoured.entry) == (["n1", "n2", "n3", "n4", "n5"], 9)
    assert node.searching.known.entry == 0


async def test_silence_ends_no_rumour_and_other_lists_do() -> None:
    node = Asking()
    node.lists = {"n2:1": (members("n1", "n2", "n4"), 9, False)}
    await node.search()
    node.lists = {}
    await node.search()
    assert ids(node.searching.rumoured.members) == ["n1", "n2", "n4"]
    node.lists = {"n2:1": (members("n1", "n2", "n5"), 8, False)}
    await node.search()
    assert ids(node.searching.rumoured.members) == ["n1", "n2", "n5"]


async def test_what_the_log_has_already_is_no_rumour() -> None:
    node = Asking()
    node.lists = {"n2:1": (members("n1", "n2", "n4"), 5, False)}
    await node.search()
    assert node.searching.rumoured.members == ()
    assert not node.failed

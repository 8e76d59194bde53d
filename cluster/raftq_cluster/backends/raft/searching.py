"""What a node does that has heard of no leader for a while: it asks whether it was removed, and looks elsewhere.

A node that was removed is not talked to any more, so it has to ask. And where all members have moved at once, no
record of theirs is right: the flags with which the node was started may be. ``--initial-cluster`` names members with addresses,
``--join`` addresses only, and whoever answers there says who it is. Flags and records are tried in turn, since either may
be the older one; a wrong address costs nothing, because a handshake names the node that is meant.
"""

import asyncio
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Final

from raftq_cluster.backends.raft.commands import Members, decode_members
from raftq_cluster.backends.raft.formation import Initial, Join, Plan, is_removed, removed
from raftq_cluster.backends.raft.membership import NOBODY, Listed
from raftq_cluster.backends.raft.peer_api import AskError, PeerError
from raftq_cluster.backends.raft.questions import Answer, Formed, Who, decode_answer, encode
from raftq_cluster.backends.raft.settling import first_members
from raftq_cluster.backends.raft.storage.data_dir import Identity

# After so many seconds without a leader a node begins to search, and so often it goes on.
LONELY_S: Final = 3
ASK_S: Final = 2.0

Ask = Callable[[str, bytes, float], Awaitable[bytes]]
"""Asks the node at an address one question, within so many seconds; ``peer_api.Network.ask``."""


class Searching:
    """For node ``me``, whose flags said ``plan``. ``turn`` is called when ``addresses`` have changed."""

    def __init__(
        self,
        me: Identity,
        plan: Plan,
        ask: Ask,
        fail: Callable[[str], None],
        turn: Callable[[], None],
    ) -> None:
        self._me = me
        self._join = plan.addresses if isinstance(plan, Join) else ()
        self._hints = dict(plan.addresses) if isinstance(plan, Initial) else {}
        self._ask = ask
        self._fail = fail
        self._turn = turn
        self._uses_hints = False
        self.known = Listed(first_members(me), me.first_index)
        """The newest member list that is known to be committed, from outside the log.

        Members may have come while this node was away. One of them may lead, and must be let in to tell of itself.
        """
        self.rumoured = NOBODY
        """Of newer lists of which nobody knows whether they are committed: while nobody leads, nobody may.

        One of their members may be the only one who can lead, and must be let in to ask for votes.
        """
        self._lonely_s = 0
        self._task: asyncio.Task[None] | None = None

    def addresses(self, members: Members) -> dict[str, str]:
        """Where to look for these members, this node left out: by id."""
        found = {item.id: item.peer for item in members if item.id != self._me.node_id}
        if self._uses_hints:
            found |= {id_: address for id_, address in self._hints.items() if id_ in found}
        return {id_: address for id_, address in found.items() if address}

    def each_second(self, members: Members, config_index: int, *, is_lonely: bool) -> None:
        """Begin to search when it is time. ``config_index`` is that of the member list in force."""
        self._lonely_s = self._lonely_s + 1 if is_lonely else 0
        if self._lonely_s < LONELY_S or self._task is not None:
            return
        self._lonely_s = 0
        self._task = asyncio.create_task(self._search(members, config_index), name="raft search")

    async def _search(self, members: Members, config_index: int) -> None:
        rumours: list[Listed] = []
        try:
            places = [*self.addresses(members).values(), *self._join]
            for place in dict.fromkeys(places):
                answer = await self._who(place)
                if answer is None:
                    continue
                if is_removed(answer, self._me, config_index):
                    self._fail(removed(self._me.node_id, self._me.cluster_id))
                    return
                if isinstance(answer, Formed) and answer.cluster_id == self._me.cluster_id:
                    self._take_hints(place, answer, config_index, rumours)
            self._take_rumours(rumours)
            if self._hints:
                self._uses_hints = not self._uses_hints
                self._turn()
        finally:
            self._task = None

    async def _who(self, address: str) -> Answer | None:
        try:
            return decode_answer(await self._ask(address, encode(Who()), ASK_S))
        except (AskError, PeerError):
            return None

    def _take_hints(
        self, address: str, answer: Formed, config_index: int, rumours: list[Listed]
    ) -> None:
        """Learn where the one who answered is, and what a newer member list than ours says."""
        if answer.index > config_index:
            listed = Listed(decode_members(answer.members), answer.index)
            if not answer.is_committed:
                rumours.append(listed)
            elif listed.entry > self.known.entry:
                self.known = listed
                self._turn()
            self._hints |= {member.id: member.peer for member in listed.members if member.peer}
        if address in self._join:
            self._hints[answer.node_id] = address

    def _take_rumours(self, rumours: list[Listed]) -> None:
        """Remember whom the lists of one search name, those of the highest index as they are there."""
        rumours = sorted(rumours, key=attrgetter("entry"))
        if not rumours:
            return
        found = {member.id: member for listed in rumours for member in listed.members}
        rumoured = Listed(tuple(found.values()), rumours[-1].entry)
        if rumoured != self.rumoured:
            self.rumoured = rumoured
            self._turn()

    def close(self) -> None:
        """Search no more."""
        if self._task is not None:
            self._task.cancel()
